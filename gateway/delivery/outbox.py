"""What waits to go down one connection: control frames, and subscriptions with news.

Control frames first, then the subscriptions in turn, at most 64 KiB of each, joined into messages
of at most 256 KiB (docs/protocol.md). Events do not queue here: a subscription only stands in line
and is pulled when its turn comes. Nothing here knows the transport.
"""

import asyncio
from collections.abc import Callable

from gateway.delivery.feed import CHUNK_BYTES
from gateway.delivery.subscription import Need, Subscription

TURN_BYTES = 64 * 1024
MESSAGE_BYTES = 256 * 1024
CONTROL_BYTES = 256 * 1024
"""With more than this waiting no further command is answered until some went out."""
CONTROL_LIMIT_FRAMES = 4096
"""What cannot wait, pongs and refusals, may pile up to; then the client is a slow consumer."""


class Outbox:
    """Bounded: `room` makes producers wait, `overflowing` means that the client is lost.

    `need(subscription, need)` is called when a subscription left the line and is not caught up; it
    comes back by `ready`.
    """

    __slots__ = ("_control_bytes", "_need", "_room", "closed", "control_frames", "line")

    def __init__(self, need: Callable[[Subscription, Need], None]) -> None:
        self._need = need
        self.closed = False
        self.control_frames: list[bytes] = []
        self._control_bytes = 0
        self.line: list[Subscription] = []
        self._room: asyncio.Event | None = None  # while too much waits

    async def room(self) -> None:
        """Returns when few control frames wait: before an answer is worked out, not after."""
        if self._room is not None:
            await self._room.wait()

    def _make_room(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None

    def close(self) -> None:
        """Nothing goes out any more, whatever comes: nobody waits for room."""
        self.closed = True
        self.control_frames.clear()
        self._control_bytes = 0
        for subscription in self.line:
            subscription.in_line = False
        self.line.clear()
        self._make_room()

    @property
    def overflowing(self) -> bool:
        """Whether the bound is broken."""
        return len(self.control_frames) > CONTROL_LIMIT_FRAMES

    def control(self, frame: bytes) -> None:
        """A frame that is no event; goes out before all events that are not yet out."""
        if self.closed:
            return
        self.control_frames.append(frame)
        self._control_bytes += len(frame)
        if self._control_bytes > CONTROL_BYTES and self._room is None:
            self._room = asyncio.Event()

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self.line and not self.control_frames

    def ready(self, subscription: Subscription) -> None:
        """There may be something to pull."""
        if not subscription.in_line:
            subscription.in_line = True
            self.line.append(subscription)

    def forget(self, subscription: Subscription) -> None:
        """The subscription is over."""
        if subscription.in_line:
            subscription.in_line = False
            self.line.remove(subscription)

    def take(self) -> tuple[bytes, int]:
        """The next message and how many frames it holds; none: nothing more waits."""
        line = self.line
        if len(line) == 1 and not self.control_frames:
            # the usual case, and all that most connections ever need
            only = line[0]
            if frame := only.newest():
                only.in_line = False
                line.clear()
                return frame, 1
            if (chunk := only.chunk()) is not None:
                only.in_line = False
                line.clear()
                return chunk.message, chunk.frames
        pieces, size = self._take_control()
        count = len(pieces)
        while line and size < MESSAGE_BYTES:
            subscription = line.pop(0)
            if size <= MESSAGE_BYTES - CHUNK_BYTES and (chunk := subscription.chunk()) is not None:
                subscription.in_line = False
                if chunk.frames:
                    pieces.append(chunk.message)
                    count += chunk.frames
                    size += len(chunk.message) + 1
                continue
            room = min(TURN_BYTES, MESSAGE_BYTES - size)
            pulled, need = subscription.pull(room, must=not pieces)
            pieces += pulled
            count += len(pulled)
            size += sum(map(len, pulled)) + len(pulled)
            if need is not Need.TURN:
                subscription.in_line = False
                if need is not Need.NEWS:
                    self._need(subscription, need)
            elif pulled:
                line.append(subscription)
            else:  # its next frame does not fit any more: first in the next message
                line.insert(0, subscription)
                break
        return b"\n".join(pieces), count

    def _take_control(self) -> tuple[list[bytes], int]:
        waiting, size = self.control_frames, 0
        for at, frame in enumerate(waiting):
            if at and size + len(frame) > MESSAGE_BYTES:
                frames = waiting[:at]
                del waiting[:at]
                break
            size += len(frame) + 1
        else:
            frames = waiting.copy()
            waiting.clear()
        self._control_bytes -= size - len(frames)
        if self._control_bytes <= CONTROL_BYTES:
            self._make_room()
        return frames, size
