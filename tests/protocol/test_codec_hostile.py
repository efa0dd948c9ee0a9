"""The codec is total: any bytes are frames or typed errors; what is encoded comes back."""

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect as mi
from msgspec import structs

from protocol import codec
from protocol import commands as cmd
from protocol.codes import ERRORS
from protocol.errors import ProtocolError
from tests.support.values import DOWN, EVENTS, UP, builtins, json_values, of, paths, replaced, tag

LIMIT = 1 << 20
few = settings(max_examples=25)  # of each type
up_frames = st.one_of([of(struct) for struct in UP])


def assert_total(message: bytes | str, max_bytes: int = LIMIT) -> None:
    """Every line is a frame or an error that can be sent."""
    for frame in codec.decode_up(message, max_bytes):
        if not isinstance(frame, ProtocolError):
            assert type(frame) in UP
            continue
        assert frame.code in ERRORS
        sent = codec.decode_down(codec.error_frame(frame))
        text = json.dumps(builtins(sent), ensure_ascii=False)
        assert len(text) < 800
        assert "\n" not in text
        assert "<" not in text


def fields_of(struct: type) -> list[str]:
    return [f.encode_name for f in structs.fields(struct)]


@pytest.mark.parametrize("struct", UP, ids=tag)
@few
@given(data=st.data())
def test_round_trip_up(struct: type, data: st.DataObject) -> None:
    frame = data.draw(of(struct))
    if isinstance(frame, cmd.MessageSend) and isinstance(frame.content, list):
        bare = [
            p if "provider" not in fields_of(type(p)) else structs.replace(p, provider=None)
            for p in frame.content
        ]
        frame = structs.replace(frame, content=bare)
    assert codec.decode_up(codec.encode(frame), LIMIT) == [frame]


@pytest.mark.parametrize("struct", DOWN, ids=tag)
@few
@given(data=st.data())
def test_round_trip_down(struct: type, data: st.DataObject) -> None:
    frame = data.draw(of(struct))
    assert codec.decode_down(codec.encode(frame)) == frame


@pytest.mark.parametrize("struct", EVENTS, ids=tag)
@few
@given(data=st.data())
def test_round_trip_of_events(struct: type, data: st.DataObject) -> None:
    event = data.draw(of(struct))
    body = codec.encode(event)
    assert codec.decode_event(body) == event
    frame = codec.splice(body, "s_1", 7)
    assert codec.decode_event(frame) == event
    head = codec.EventHead(tag(struct), "s_1", 7, None, event.time)
    assert codec.event_head(frame) == head


@given(st.binary() | st.text(st.characters()))
def test_any_bytes_and_texts(message: bytes | str) -> None:
    assert_total(message)
    for decode in (codec.decode_event, codec.event_head, codec.decode_down):
        with suppress(ProtocolError):
            decode(message)


@given(up_frames, st.data())
def test_mutated_bytes(frame: Any, data: st.DataObject) -> None:
    body = codec.encode(frame)
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(len(body), start + 5)))
    assert_total(body[:start] + data.draw(st.binary(max_size=4)) + body[end:])


@given(up_frames, st.data())
def test_mutated_json(frame: Any, data: st.DataObject) -> None:
    value = builtins(frame)
    at = data.draw(st.sampled_from(paths(value)))
    odd = json_values | st.sampled_from([10**30, "<b>\n", "\x00", "*", [[[]]], "a" * 100])
    assert_total(json.dumps(replaced(value, at, data.draw(odd))))


@pytest.mark.parametrize("struct", UP, ids=tag)
@few
@given(data=st.data())
def test_unknown_fields_are_ignored(struct: type, data: st.DataObject) -> None:
    value = builtins(data.draw(of(struct)))
    extra = {"x-new": data.draw(json_values)}
    assert codec.decode_up(json.dumps(value | extra), LIMIT) == codec.decode_up(
        json.dumps(value), LIMIT
    )


def wrong_for(info: mi.Type) -> Any:
    """A JSON value that a field of this type cannot have, or Ellipsis if it can have any."""
    if isinstance(info, mi.Metadata):
        return wrong_for(info.type)
    types = info.types if isinstance(info, mi.UnionType) else (info,)
    if any(isinstance(t, mi.AnyType) for t in types):
        return ...
    return (
        {"wrong": True} if not any(isinstance(t, mi.DictType | mi.StructType) for t in types) else 7
    )


CASES = [
    (struct, field, wrong)
    for struct in UP
    for field in structs.fields(struct)
    if (wrong := wrong_for(mi.type_info(field.type))) is not ...
]


@pytest.mark.parametrize(
    ("struct", "field", "wrong"), CASES, ids=[f"{tag(s)}:{f.name}" for s, f, _ in CASES]
)
def test_a_field_of_the_wrong_type_is_named(
    struct: type, field: structs.FieldInfo, wrong: Any
) -> None:
    error = error_of(example(struct) | {field.encode_name: wrong})
    assert error.code == "frame.malformed"
    assert error.details == {"path": f"$.{field.encode_name}"}


REQUIRED = [(struct, f.name) for struct in UP for f in structs.fields(struct) if f.required]


@pytest.mark.parametrize(
    ("struct", "name"), REQUIRED, ids=[f"{tag(s)}:{name}" for s, name in REQUIRED]
)
def test_a_missing_field_is_named(struct: type, name: str) -> None:
    frame = example(struct)
    del frame[name]
    error = error_of(frame)
    assert error.code == "frame.malformed"
    assert error.details == {"path": f"$.{name}"}


@pytest.mark.parametrize("struct", UP, ids=tag)
def test_a_frame_needs_its_type(struct: type) -> None:
    frame = example(struct)
    assert error_of({k: v for k, v in frame.items() if k != "type"}).code == "frame.malformed"
    assert error_of(frame | {"type": None}).details == {"path": "$.type"}
    assert error_of(frame | {"type": "x." + tag(struct)}).code == "frame.unknown_type"


VALUES = {
    "agent": "echo",
    "approval": "ap_1",
    "call": "c_1",
    "content": "Hi",
    "decision": "deny",
    "id": "k_1",
    "seq": 1,
    "session": "s_1",
    "token": "t",
}


def example(struct: type) -> dict[str, Any]:
    """The smallest valid frame of a type."""
    frame = {f.encode_name: VALUES[f.name] for f in structs.fields(struct) if f.required}
    assert codec.decode_up(msgspec.json.encode({"type": tag(struct), **frame}), LIMIT)
    return {"type": tag(struct), **frame}


def error_of(frame: dict[str, Any]) -> ProtocolError:
    (error,) = codec.decode_up(json.dumps(frame), LIMIT)
    assert isinstance(error, ProtocolError)
    return error
