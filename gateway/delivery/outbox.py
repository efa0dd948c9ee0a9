"""What waits to go down one connection: control frames, and subscriptions with news.

Control frames first, then the subscriptions in turn, at most 64 KiB of each, joined into messages
of at most 256 KiB (docs/protocol.md). Events do not queue here: a subscription only stands in line
and is pulled when its turn comes. Nothing here knows the transport.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from gateway.delivery.subscription import Need, Subscription

TURN_BYTES = 64 * 1024
MESSAGE_BYTES = 256 * 1024
CONTROL_BYTES = 256 * 1024
"""With more than this waiting no further command is answered until some went out."""
CONTROL_LIMIT_BYTES = 2 * 1024 * 1024
"""What answers that cannot wait may pile up to; then the client is a slow consumer."""


class Outbox:
    """Bounded: `room` makes producers wait, `overflowing` means that the client is lost.

    `need(subscription, need)` is called when a subscription left the line for any reason but its
    turn; it comes back by `ready`.
    """

    def __init__(self, need: Callable[[Subscription, Need], None]) -> None:
        self._need = need
        self._control: deque[bytes] = deque()
        self._control_bytes = 0
        self._line: deque[Subscription] = deque()
        self._room = asyncio.Event()
        self._room.set()

    async def room(self) -> None:
        """Returns when few control frames wait: before an answer is worked out, not after."""
        await self._room.wait()

    def close(self) -> None:
        """Nothing goes out any more: nobody waits for room."""
        self._control.clear()
        for subscription in self._line:
            subscription.in_line = False
        self._line.clear()
        self._room.set()

    @property
    def overflowing(self) -> bool:
        """Whether the bound is broken."""
        return self._control_bytes > CONTROL_LIMIT_BYTES

    def control(self, frame: bytes) -> None:
        """A frame that is no event; goes out before all events that are not yet out."""
        self._control.append(frame)
        self._control_bytes += len(frame)
        if self._control_bytes > CONTROL_BYTES:
            self._room.clear()

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._line and not self._control

    def ready(self, subscription: Subscription) -> None:
        """There may be something to pull."""
        if not subscription.in_line:
            subscription.in_line = True
            self._line.append(subscription)

    def forget(self, subscription: Subscription) -> None:
        """The subscription is over."""
        if subscription.in_line:
            subscription.in_line = False
            self._line.remove(subscription)

    def take(self) -> tuple[bytes, int]:
        """The next message and how many frames it holds; empty if nothing waits."""
        if len(self._line) == 1 and not self._control:
            # the usual case, and all that most connections ever need
            subscription = self._line[0]
            if (chunk := subscription.chunk()) is not None:
                self._line.clear()
                subscription.in_line = False
                return chunk.message, chunk.frames
        frames, size = self._take_control()
        while self._line and size < MESSAGE_BYTES:
            subscription = self._line.popleft()
            room = min(TURN_BYTES, MESSAGE_BYTES - size)
            pulled, need = subscription.pull(room, must=not frames)
            frames += pulled
            size += sum(map(len, pulled)) + len(pulled)
            if need is not Need.TURN:
                subscription.in_line = False
                self._need(subscription, need)
            elif pulled:
                self._line.append(subscription)
            else:  # its next frame does not fit any more: first in the next message
                self._line.appendleft(subscription)
                break
        return b"\n".join(frames), len(frames)

    def _take_control(self) -> tuple[list[bytes], int]:
        frames: list[bytes] = []
        size = 0
        while self._control and (not frames or size + len(self._control[0]) <= MESSAGE_BYTES):
            frame = self._control.popleft()
            frames.append(frame)
            size += len(frame) + 1
            self._control_bytes -= len(frame)
        if frames and self._control_bytes <= CONTROL_BYTES:
            self._room.set()
        return frames, size
