"""What a peer's server sends down one WebSocket: counts events, says what must be answered.

No sockets here. Servers send whole, unmasked frames; an event is a text frame that holds the
payload, whatever its product wraps around it. All other texts are small: Engine.IO's packets.
"""

import msgspec

from loadtest.errors import LoadError
from loadtest.frames import PING, PONG, TEXT, masked

TEXT_BYTES = 200
ENGINE_PING, ENGINE_PONG = b"2", b"3"


class Broken(LoadError):
    """The server sent what none of the peers sends."""


class Inbox(msgspec.Struct):
    """The incoming side of one socket. `texts` keeps what is no event, oldest first."""

    events: int = 0
    rest: bytes = b""
    texts: list[bytes] = []
    answers: bytes = b""  # to be sent back: pongs

    def feed(self, data: bytes) -> int:
        """Events among the bytes that came; an incomplete frame waits for the next call.

        Raises:
            Broken: a close, or a frame that is neither text, ping nor pong.
        """
        if self.rest:
            data = self.rest + data
        at, end, events = 0, len(data), 0
        while end - at >= 2:
            size, body = data[at + 1], at + 2
            if size >= 126:
                wide = 2 if size == 126 else 8
                body += wide
                size = int.from_bytes(data[at + 2 : body], "big")
            after = body + size
            if body > end or after > end:
                break
            if data[at] == TEXT and size >= TEXT_BYTES:
                events += 1
            else:
                self._other(data[at], data[body:after])
            at = after
        self.rest = data[at:]
        self.events += events
        return events

    def _other(self, first: int, payload: bytes) -> None:
        if first == PING:
            self.answers += masked(payload, PONG)
        elif first == TEXT and payload == ENGINE_PING:
            self.answers += masked(ENGINE_PONG)
        elif first == TEXT:
            self.texts.append(payload)
        elif first != PONG:
            raise Broken(f"frame {first:#x} with {payload[:80]!r}")
