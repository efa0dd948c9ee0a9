"""The bodies of frames as values, also those of a newer gateway as far as they can be had.

A part of a kind that this client does not know is kept as a `data` part: `name` is its kind,
`value` the whole part as it came; an unknown `finish_reason` is `other`. An event of an unknown
type has a place, but no meaning here.
"""

from collections.abc import Iterator
from typing import Any, cast, get_args

import msgspec

from gateway.client.errors import GatewayError, from_frame
from protocol.codec import decode_event
from protocol.errors import ProtocolError
from protocol.events import Event
from protocol.frames import Error, Ok
from protocol.state import State
from protocol.values import FinishReason, Part

Json = dict[str, Any]

KINDS = frozenset(kind.__struct_config__.tag for kind in get_args(Part))
REASONS = frozenset(get_args(FinishReason))
_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
_state = msgspec.json.Decoder(State)
_answer = msgspec.json.Decoder(Ok | Error)


def read_state(text: bytes) -> State:
    """A session's state.

    Raises:
        GatewayError: `client.outdated`.
    """
    try:
        try:
            return _state.decode(text)
        except msgspec.ValidationError:
            state = msgspec.json.decode(text)
            for holder in _in_state(state):
                _generalise(holder)
            return msgspec.convert(state, State)
    except _UNREADABLE as error:
        raise GatewayError("client.outdated", f"The state cannot be read: {error}") from error


def read_event(frame: bytes) -> Event | None:
    """An event; None if it has no meaning here."""
    try:
        if (event := decode_event(frame)) is not None:
            return event
        fields = cast("Json", msgspec.json.decode(frame))
        return decode_event(msgspec.json.encode(fields)) if _generalise(fields) else None
    except ProtocolError:
        return None


def read_answer(frame: bytes) -> Ok | GatewayError:
    """The value, or the error, of an answer."""
    try:
        try:
            answer = _answer.decode(frame)
        except msgspec.ValidationError:
            fields = msgspec.json.decode(frame)
            for message in _each(fields, "messages"):
                _generalise(message)
            answer = msgspec.convert(fields, Ok | Error)
    except _UNREADABLE as error:
        return GatewayError("client.outdated", f"The answer cannot be read: {error}")
    return from_frame(answer) if isinstance(answer, Error) else answer


def _in_state(state: Any) -> Iterator[Json]:
    """Whatever holds parts."""
    yield from _each(state, "messages")
    yield from _each(state, "queue")
    if isinstance(state, dict) and isinstance(run := cast("Json", state).get("run"), dict):
        yield cast("Json", run)


def _each(holder: Any, name: str) -> Iterator[Json]:
    found = cast("Json", holder).get(name) if isinstance(holder, dict) else None
    if isinstance(found, list):
        for item in cast("list[Any]", found):
            if isinstance(item, dict):
                yield cast("Json", item)


def _generalise(holder: Json) -> bool:
    """What is unknown in place as what is general; whether there is any."""
    before = dict(holder)
    for name in ("parts", "content"):
        parts = holder.get(name)
        if isinstance(parts, list):
            holder[name] = [_known(part) for part in cast("list[Any]", parts)]
        elif name in holder:
            holder[name] = _known(parts)
    reason = holder.get("finish_reason")
    if isinstance(reason, str) and reason not in REASONS:
        holder["finish_reason"] = "other"
    return before != holder


def _known(part: Any) -> Any:
    match part:
        case {"kind": str(kind)} if kind not in KINDS:
            return {"kind": "data", "name": kind, "value": part}
        case _:
            return part
