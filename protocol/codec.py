"""Bytes to frames and back: NDJSON batches, one typed error for every way bytes can be bad.

One WebSocket text message holds one or more frames, one JSON object per line, split on `\\n` only.
Decoding is total: a line is a frame or a `ProtocolError`, whatever it holds.
"""

import re
from typing import Any, cast

import msgspec
from msgspec import Struct, structs

from protocol.commands import AnySessionCommand, AnyUp, MessageSend
from protocol.errors import ProtocolError, excerpt, malformed
from protocol.events import AnyEvent, Event
from protocol.frames import AnyDown
from protocol.values import ContentPart, DataPart, TextPart, Tool

MIN_INT, MAX_INT = -(2**63), 2**64 - 1
"""Integers within anything that may be any JSON: what MessagePack and most readers can hold."""

MAX_DEPTH = 64
MAX_MALFORMED = 10
"""After so many malformed frames the rest of a message is not read: the connection ends anyway."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MISSING = re.compile(r"missing required field `([^`]*)`")
_PATH = re.compile(r" - at `(.*)`\Z", re.DOTALL)
_NEWER = re.compile(r"Invalid (enum )?value '")
_BAD = (msgspec.DecodeError, UnicodeError, RecursionError, ValueError)

_up = msgspec.json.Decoder(AnyUp)
_session_command = msgspec.json.Decoder(AnySessionCommand)
_event = msgspec.json.Decoder(AnyEvent)
_down = msgspec.json.Decoder(AnyDown)
encode = msgspec.json.Encoder().encode
"""A frame or an event as JSON without a trailing newline."""


class Head(Struct):
    """What can be read of any frame."""

    type: Any = None
    id: Any = None
    session: Any = None


class EventHead(Struct, omit_defaults=True):
    """The place of an event frame: only frames with `time` are events and move the cursor."""

    type: str = ""
    session: str = ""
    seq: int = 0
    from_seq: int | None = None
    time: str | None = None


_head = msgspec.json.Decoder(Head)
_event_head = msgspec.json.Decoder(EventHead)


def decode_up(message: str | bytes, max_bytes: int) -> list[AnyUp | ProtocolError]:
    """The frames of one WebSocket message, in order, an error in the place of each bad one.

    Nothing comes after the `MAX_MALFORMED`th malformed frame.
    """
    if isinstance(message, str):
        message = message.encode(errors="surrogatepass")  # unpaired ones fail as UTF-8, below
    size = len(message)
    if size > max_bytes:
        text = f"The message has {size} bytes; the limit is {max_bytes}."
        return [ProtocolError("frame.too_large", text)]
    frames: list[AnyUp | ProtocolError] = []
    malformed_frames = 0
    for line in message.split(b"\n"):
        frame = _frame(line, _up)
        frames.append(frame)
        malformed_frames += isinstance(frame, ProtocolError) and frame.code == "frame.malformed"
        if malformed_frames == MAX_MALFORMED:
            break
    return frames


def decode_session_command(body: bytes) -> AnySessionCommand:
    """One session command. Raises `ProtocolError` otherwise."""
    frame = _frame(body, _session_command)
    if isinstance(frame, ProtocolError):
        raise frame
    return frame


def _frame(line: bytes, decoder: "msgspec.json.Decoder[Any]") -> Any:
    try:
        frame = decoder.decode(line)
        _check(frame)
    except _BAD as error:
        return _explain(line, error, decoder)
    if isinstance(frame, MessageSend) and isinstance(frame.content, list):
        return structs.replace(frame, content=[_theirs(p) for p in frame.content])
    return frame


def _theirs(part: ContentPart) -> ContentPart:
    """A client's part: `provider` is the gateway's own field, from a client it means nothing."""
    return TextPart(part.text) if isinstance(part, TextPart) else part


def _check(frame: Struct) -> None:
    """Refuses what a JSON reader downstream could not keep: huge integers, absurd depth."""
    for field in _ANY_FIELDS.get(type(frame), ()):
        check_json(getattr(frame, field), f"$.{field}")


def check_json(value: Any, path: str = "$", depth: int = 0) -> None:
    """Raises ValueError unless every reader can keep this JSON value."""
    if depth > MAX_DEPTH:
        raise ValueError(f"Nested deeper than {MAX_DEPTH} - at `{path}`")
    if isinstance(value, int) and not MIN_INT <= value <= MAX_INT:
        raise ValueError(f"Integer out of range - at `{path}`")
    for step, item in _inside(value):
        check_json(item, path + step, depth + 1)


def _inside(value: Any) -> list[tuple[str, Any]]:
    """The values inside a value, with their steps of the path."""
    if isinstance(value, DataPart):
        return [(".value", value.value)]
    if isinstance(value, Tool):
        return [(".parameters", value.parameters)]
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return [(f".{excerpt(key, 32)}", item) for key, item in pairs]
    if isinstance(value, list):
        return [(f"[{i}]", item) for i, item in enumerate(cast("list[Any]", value))]
    return []


def _any_fields(union: Any) -> dict[type, tuple[str, ...]]:
    """Frame type -> the fields that may hold any JSON."""
    free: dict[type, tuple[str, ...]] = {}
    for struct in union.__args__:
        names = tuple(f.name for f in msgspec.structs.fields(struct) if f.name in FREE_FIELDS)
        if names:
            free[struct] = names
    return free


FREE_FIELDS = ("input", "output", "arguments", "metadata", "content", "tools")
_ANY_FIELDS = _any_fields(AnyUp)


def _explain(line: bytes, error: Exception, decoder: "msgspec.json.Decoder[Any]") -> ProtocolError:
    """The error for a bad line, with id, session and path as far as they can be read."""
    try:
        head = _head.decode(line)
    except _BAD:
        return _unreadable(error)
    echo = {k: v for k in ("id", "session") if _is_id(v := getattr(head, k))}
    text = str(error)
    found = _PATH.search(text)
    path = found.group(1) if found else "$"
    if missing := _MISSING.search(text):
        path = f"{path}.{missing.group(1)}"
    if path == "$.type" and isinstance(head.type, str):
        if head.type in _types(
            decoder.type
        ):  # the last of several: readers would not agree which counts
            return malformed("The frame has more than one type.", path, **echo)
        return ProtocolError(
            "frame.unknown_type",
            f"Unknown frame type {excerpt(head.type)}.",
            details={"path": path},
            **echo,
        )
    reason = _PATH.sub("", text).replace(">=", "≥").replace("<=", "≤")
    return malformed(f"{excerpt(reason, 128)}.", excerpt(path, 128), **echo)


def _types(union: Any) -> set[str]:
    return {struct.__struct_config__.tag for struct in union.__args__}


def _unreadable(error: Exception) -> ProtocolError:
    if isinstance(error, RecursionError):
        return malformed("The frame is nested too deeply.")
    if isinstance(error, msgspec.ValidationError):
        return malformed(f"{excerpt(_PATH.sub('', str(error)), 128)}.")
    return malformed("The frame is not valid JSON.")


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def decode_event(body: str | bytes) -> Event | None:
    """A stored or received event; None if only a newer version knows its type or a value in it.

    Such an event moves the cursor and nothing else. Raises `ProtocolError` if it is no event.
    """
    try:
        return _event.decode(body)
    except msgspec.ValidationError as error:
        if _NEWER.match(str(error)):
            return None
        raise _no_frame(error) from error
    except _BAD as error:
        raise _no_frame(error) from error


def event_head(frame: str | bytes) -> EventHead:
    """Session, seq and time of a frame down; `time` is None unless it is an event.

    Raises `ProtocolError` if it is no frame.
    """
    try:
        return _event_head.decode(frame)
    except _BAD as error:
        raise _no_frame(error) from error


def decode_down(frame: str | bytes) -> AnyDown:
    """A frame down that is not an event. Raises `ProtocolError` otherwise."""
    try:
        return _down.decode(frame)
    except _BAD as error:
        raise _no_frame(error) from error


def _no_frame(error: Exception) -> ProtocolError:
    return malformed(excerpt(error, 256))


def splice(body: bytes, session: str, seq: int) -> bytes:
    """A stored event body as a frame down; nothing is decoded."""
    return b'{"session":"%b","seq":%d,%b' % (session.encode(), seq, body[1:])


def splice_merged(body: bytes, session: str, seq: int, from_seq: int) -> bytes:
    """A merged event: its seqs are `from_seq` to `seq`."""
    head = b'{"session":"%b","seq":%d,"from_seq":%d,' % (session.encode(), seq, from_seq)
    return head + body[1:]


def error_frame(error: ProtocolError) -> bytes:
    """The `error` frame of a refusal."""
    from_error = {"code": error.code, "message": error.message, "retryable": error.retryable}
    optional = {"id": error.id, "session": error.session, "details": error.details}
    present = {k: v for k, v in optional.items() if v is not None}
    return encode({"type": "error", **present, **from_error})
