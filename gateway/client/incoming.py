"""What the connection machine reads of a frame down: as little as it needs, from untrusted bytes.

Bodies stay bytes; who needs them decodes them. So a field that only a newer gateway knows, or a
value of a new kind, never costs an event its place.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from protocol.codec import event_head
from protocol.errors import ProtocolError


class Place(Struct, frozen=True):
    """An event's place in its session; only frames with `time` are events."""

    type: str
    session: str
    seq: int
    from_seq: int | None


class Caps(Struct, frozen=True):
    """The limit that a client must know before it sends."""

    max_frame_bytes: int | None = None


class Control(Struct, frozen=True):
    """Any frame that is not an event, with what the machine looks at."""

    type: str
    id: str | None = None
    session: str = ""
    seq: int = 0
    epoch: str = ""
    recovered: bool = False
    detail: str = ""
    state: Raw = Raw()
    code: str = ""
    retryable: bool = False
    reconnect_after_ms: int = 0
    limits: Caps | None = None


_control = msgspec.json.Decoder(Control)


def read(line: bytes) -> Place | Control | None:
    """The head of a frame; None for what is no frame."""
    try:
        head = event_head(line)
        if head.time is not None:
            return Place(head.type, head.session, head.seq, head.from_seq)
        return _control.decode(line)
    except (ProtocolError, msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def refusal(answered: str, code: str, message: str) -> bytes:
    """The `error` frame of a command that never left this client."""
    frame: dict[str, Any] = {"type": "error", "id": answered, "code": code, "message": message}
    return msgspec.json.encode({**frame, "retryable": False})
