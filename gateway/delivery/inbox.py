"""What a client sends: messages as frames, and how much of them may be wrong, or too much."""

import re
from collections.abc import Iterator

from gateway.delivery.delivery import Delivery
from gateway.limits import Strikes, TokenBucket
from protocol import commands as cmd
from protocol.codec import decode_up
from protocol.errors import ProtocolError, malformed

MALFORMED_LIMIT, MALFORMED_WITHIN_S = 10, 60.0
FLOOD_LIMIT, FLOOD_WITHIN_S = 50, 10.0
SMALL_COST = 0.1  # of an ack or a pong, against a command's 1
SMALL = (cmd.Ack, cmd.PingUp, cmd.PongUp)
ACK = re.compile(
    r'\{"type":"ack","session":"([A-Za-z0-9_-]{1,64})","seq":(0|[1-9][0-9]{0,14})\}'
).fullmatch
"""An ack as our clients write it; any other goes to the decoder."""


class Inbox:
    """The messages of one connection."""

    __slots__ = ("_bucket", "_counts", "_floods", "_in", "_malformed")

    def __init__(self, delivery: Delivery) -> None:
        settings = delivery.settings
        self._in = delivery
        self._counts = delivery.hub.counts
        self._bucket = TokenBucket(settings.frames_per_s, settings.frames_burst, delivery.clock)
        # made for the first offence
        self._malformed: Strikes | None = None
        self._floods: Strikes | None = None

    def ack(self, message: str | bytes) -> tuple[str, int] | None:
        """A single ack, which is most of what comes, if nothing is against it: session and seq."""
        if (
            not isinstance(message, str)
            or (ack := ACK(message)) is None
            or len(message) > self._in.settings.max_frame_bytes
            or not self._bucket.take(SMALL_COST)
        ):
            return None
        self._counts.frames_up += 1
        self._counts.bytes_up += len(message)
        session, seq = ack.groups()
        return session, int(seq)

    def frames(self, message: str | bytes) -> Iterator[cmd.AnyUp | ProtocolError]:
        """One at a time: most of a flood is never looked at."""
        up = self._counts
        up.bytes_up += len(message)
        if isinstance(message, bytes):
            yield malformed("Frames are text, this message is binary.")
            return
        most, start = self._in.settings.max_frame_bytes, 0
        while (end := message.find("\n", start)) >= 0:
            up.frames_up += 1
            yield decode_up(message[start:end], most)[0]
            start = end + 1
        up.frames_up += 1
        yield decode_up(message[start:] if start else message, most)[0]

    def takes(self, frame: cmd.AnyUp | ProtocolError) -> bool:
        """Whether it may send one more at this rate."""
        return self._bucket.take(SMALL_COST if isinstance(frame, SMALL) else 1)

    def flooded(self) -> bool:
        """One was too many; True if that has happened too often."""
        if self._floods is None:
            self._floods = Strikes(FLOOD_LIMIT, FLOOD_WITHIN_S, self._in.clock)
        return self._floods.strike()

    def misread(self) -> bool:
        """One could not be read; True if that has happened too often."""
        if self._malformed is None:
            self._malformed = Strikes(MALFORMED_LIMIT, MALFORMED_WITHIN_S, self._in.clock)
        return self._malformed.strike()
