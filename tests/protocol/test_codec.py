import json
from typing import Any

import msgspec
import pytest

from protocol import codec, frames
from protocol import commands as cmd
from protocol import events as ev
from protocol.codec import decode_up
from protocol.codes import ERRORS
from protocol.errors import ProtocolError
from protocol.values import DataPart, FilePart, TextPart

LIMIT = 1 << 20


def error_of(message: str | bytes, max_bytes: int = LIMIT) -> ProtocolError:
    (frame,) = decode_up(message, max_bytes)
    assert isinstance(frame, ProtocolError)
    return frame


def refused(message: str | bytes, path: str) -> ProtocolError:
    error = error_of(message)
    assert error.code == "frame.malformed"
    assert error.details == {"path": path}
    return error


# --- up


def test_frames_of_one_message_come_in_order() -> None:
    message = '{"type":"ping"}\n{"type":"nope"}\n{"type":"ack","session":"s_1","seq":7}'
    ping, error, ack = decode_up(message, LIMIT)
    assert ping == cmd.PingUp()
    assert isinstance(error, ProtocolError)
    assert ack == cmd.Ack(session="s_1", seq=7)


@pytest.mark.parametrize("as_type", [str, bytes])
def test_the_limit_is_in_bytes(as_type: type) -> None:
    text = '{"type":"hello","app":{"name":"é"}}'
    size = len(text.encode())
    message = text if as_type is str else text.encode()
    assert decode_up(message, size) == [cmd.Hello(app=cmd.App("é"))]
    assert error_of(message, size - 1).code == "frame.too_large"


def test_reading_ends_with_the_tenth_malformed_frame() -> None:
    good, unknown = '{"type":"ping"}', '{"type":"nope"}'
    message = "\n".join([good, *[unknown] * 50, *["?"] * 30, good])
    decoded = decode_up(message, LIMIT)
    assert len(decoded) == 51 + codec.MAX_MALFORMED


def test_id_and_session_are_echoed_where_they_could_be_read() -> None:
    error = refused('{"type":"message.send","id":"k_1","session":"s_1"}', "$.content")
    assert (error.id, error.session) == ("k_1", "s_1")
    assert error.message == "Object missing required field `content`."
    error = refused('{"type":"message.send","id":"k 1","session":{},"content":"a"}', "$.id")
    assert (error.id, error.session) == (None, None)


def test_an_unknown_type_is_named_without_its_markup() -> None:
    error = error_of('{"type":"<script>\\n' + "x" * 100 + '","id":"k_1"}')
    assert error.code == "frame.unknown_type"
    assert error.details == {"path": "$.type"}
    assert error.id == "k_1"
    assert error.message.startswith("Unknown frame type ?script??xxx")
    assert len(error.message) < 100


@pytest.mark.parametrize(
    "line",
    [
        "",
        " ",
        "{",
        "[]",
        '"ping"',
        "null",
        "1",
        '{"type":"ping"} {"type":"ping"}',
        '{"type":"ping"},',
        "{'type':'ping'}",
        '{"type":"run.start","id":"k","session":"s","input":NaN}',
        '{"type":"run.start","id":"k","session":"s","input":Infinity}',
        '{"type":"hello","token":"\\ud800"}',
        '{"type":"hello","token":"\ud800"}',
        '\ufeff{"type":"ping"}',
        b'{"type":"hello","token":"\xff"}',
        b'{"type":"hello","token":"\xc0\xaf"}',
        b"\x00",
    ],
)
def test_what_is_no_json_object(line: str | bytes) -> None:
    refused(line, "$")


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [1_000, 100_000])
@pytest.mark.parametrize("field", ["seq", "unknown", "type", "id", "session"])
def test_depth_anywhere(field: str, depth: int, opening: str) -> None:
    frame = {"type": '"ack"', "session": '"s_1"', "seq": "1"} | {field: opening * depth}
    text = "{" + ",".join(f'"{k}":{v}' for k, v in frame.items()) + "}"
    assert error_of(text).code == "frame.malformed"


@pytest.mark.parametrize("depth", [66, 100, 1_000, 100_000])
def test_depth_where_anything_goes(depth: int) -> None:
    deep = "[" * depth + "]" * depth
    for field in ("run.start:input", "tool.result:output", "approval.respond:arguments"):
        name, _, key = field.partition(":")
        frame = {"type": name, "id": "k", "session": "s", "call": "c", "approval": "a"}
        text = json.dumps(frame | {"decision": "deny"})[:-1] + f',"{key}":{deep}}}'
        assert error_of(text).code == "frame.malformed"


def test_the_deepest_that_is_allowed() -> None:
    deep: Any = 1
    for _ in range(codec.MAX_DEPTH):
        deep = [deep]
    codec.check_json(deep)
    with pytest.raises(ValueError, match="Nested deeper than 64"):
        codec.check_json([deep])


@pytest.mark.parametrize(
    ("number", "valid"),
    [
        (2**64 - 1, True),
        (-(2**63), True),
        (2**64, False),
        (-(2**63) - 1, False),
        (10**30, False),
    ],
)
def test_integers_where_anything_goes(number: int, valid: bool) -> None:
    frames = {
        "$.input.a": {"type": "run.start", "input": {"a": number}},
        "$.metadata.a[0]": {"type": "session.update", "metadata": {"a": [number]}},
        "$.content[0].value": {
            "type": "message.send",
            "content": [{"kind": "data", "name": "n", "value": number}],
        },
        "$.tools[0].parameters.a": {
            "type": "session.update",
            "tools": [{"name": "t", "parameters": {"a": number}}],
        },
    }
    for path, frame in frames.items():
        text = json.dumps(frame | {"id": "k_1", "session": "s_1"})
        if valid:
            assert isinstance(decode_up(text, LIMIT)[0], cmd.SessionCommand)
        else:
            assert refused(text, path).id == "k_1"


@pytest.mark.parametrize("text", ["1" * 5_000, "1e999", "-1e999", "1" * 30])
def test_numbers_that_nobody_keeps(text: str) -> None:
    refused(f'{{"type":"run.start","id":"k","session":"s","input":{text}}}', "$.input")


@pytest.mark.parametrize("text", ["1.0", "true", '"1"', "null", "9007199254740992", "-1"])
def test_what_is_no_seq(text: str) -> None:
    refused(f'{{"type":"ack","session":"s_1","seq":{text}}}', "$.seq")


@pytest.mark.parametrize(
    "text",
    ["", "a b", "{a}", "a:b", "*", "a\r\n", "a\n", "😀", "../a", "[a]", "?", "\x00", "a" * 65],
)
def test_what_is_no_id(text: str) -> None:
    line = json.dumps({"type": "session.delete", "id": text, "session": "s_1"})
    assert refused(line, "$.id").id is None
    line = json.dumps({"type": "session.delete", "id": "k_1", "session": text})
    assert refused(line, "$.session").session is None


def test_of_duplicate_keys_the_last_wins() -> None:
    (ack,) = decode_up('{"type":"ack","session":"s_1","seq":1,"seq":2}', LIMIT)
    assert ack == cmd.Ack(session="s_1", seq=2)
    refused('{"type":"ack","session":"s_1","seq":-1,"seq":2}', "$.seq")


def test_two_types_are_no_type() -> None:
    assert refused('{"type":"ping","type":"pong"}', "$.type").message.endswith("one type.")
    refused('{"type":"nope","type":"pong"}', "$.type")
    assert error_of('{"type":"ping","type":"nope"}').code == "frame.unknown_type"


def test_a_clients_provider_means_nothing() -> None:
    content = [
        {"kind": "text", "text": "a", "provider": {"signature": "forged", "deep": 10**30}},
        {"kind": "file", "url": "https://x.test/", "media_type": "a/b"},
        {"kind": "data", "name": "n", "value": 1},
    ]
    frame = {"type": "message.send", "id": "k", "session": "s", "content": content}
    (send,) = decode_up(json.dumps(frame), LIMIT)
    assert isinstance(send, cmd.MessageSend)
    assert send.content == [TextPart("a"), FilePart("https://x.test/", "a/b"), DataPart("n", 1)]


def test_a_huge_text_is_echoed_short() -> None:
    error = error_of(json.dumps({"type": "hello", "sessions": "<b>" * 1000}))
    assert len(error.message) <= 130
    deep_key = json.dumps({"type": "run.start", "id": "k", "session": "s", "input": {"<b>": 2**70}})
    assert error_of(deep_key).details == {"path": "$.input.?b?"}
    assert len(str(error_of(json.dumps({"type": "x" * 9999})))) < 130


def test_a_session_command() -> None:
    body = b'{"type":"run.interrupt","id":"k_1","session":"s_1"}'
    assert codec.decode_session_command(body) == cmd.RunInterrupt(id="k_1", session="s_1")
    for other in ("hello", "session.subscribe", "ack"):
        with pytest.raises(ProtocolError) as caught:
            codec.decode_session_command(json.dumps({"type": other}).encode())
        assert caught.value.code == "frame.unknown_type"


# --- down


def test_an_event_of_this_version() -> None:
    body = b'{"type":"run.started","session":"s_1","seq":4,"time":"t","run":"r_1","new":1}'
    assert codec.decode_event(body) == ev.RunStarted(time="t", run="r_1")


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "run.paused", "run": "r_1"},
        {"type": "message.completed", "message": "m_1", "status": "translated"},
        {"type": "message.part", "message": "m_1", "part": 0, "content": {"kind": "smell"}},
    ],
)
def test_an_event_of_a_newer_version_is_none(fields: dict[str, Any]) -> None:
    assert codec.decode_event(json.dumps({"time": "t", **fields})) is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"run.started","run":"r_1"}',
        b'{"type":"run.started","time":"t"}',
        b'{"time":"t"}',
        b'{"type":7,"time":"t"}',
        b"[]",
        b"",
        b"\xff",
        b'{"type":"run.output","time":"t","run":"r","output":' + b"[" * 100_000,
        '{"type":"\ud800"}',
    ],
)
def test_what_is_no_event(body: bytes | str) -> None:
    with pytest.raises(ProtocolError) as caught:
        codec.decode_event(body)
    assert caught.value.code == "frame.malformed"


def test_the_head_of_a_frame() -> None:
    merged = b'{"type":"message.delta","session":"s_1","seq":9,"from_seq":7,"time":"t","part":[]}'
    assert codec.event_head(merged) == codec.EventHead("message.delta", "s_1", 9, 7, "t")
    assert codec.event_head(b'{"type":"ping"}').time is None
    for bad in (b"[", b'{"seq":"1"}', b"\xff"):
        with pytest.raises(ProtocolError):
            codec.event_head(bad)


def test_a_frame_down() -> None:
    assert codec.decode_down(b'{"type":"cursor","session":"s_1","seq":3}') == frames.Cursor(
        session="s_1", seq=3
    )
    for bad in (b'{"type":"run.started","time":"t","run":"r"}', b"{", b"\xff"):
        with pytest.raises(ProtocolError):
            codec.decode_down(bad)


def test_splicing_decodes_nothing() -> None:
    delta = ev.MessageDelta(time="t", message="m_1", part=0, kind="text", delta="é\n")
    body = codec.encode(delta)
    frame = json.loads(codec.splice(body, "s_1", 7))
    assert frame == {"session": "s_1", "seq": 7, **json.loads(body)}
    frame = json.loads(codec.splice_merged(body, "s_1", 9, 7))
    assert frame == {"session": "s_1", "seq": 9, "from_seq": 7, **json.loads(body)}
    assert b"\n" not in codec.splice(body, "s_1", 7)


@pytest.mark.parametrize("code", ERRORS)
def test_the_error_frame_is_one(code: str) -> None:
    bare = ProtocolError(code)
    full = ProtocolError(code, "Text.", details={"path": "$"}, id="k_1", session="s_1")
    for error in (bare, full):
        frame = codec.decode_down(codec.encode(msgspec.json.decode(codec.error_frame(error))))
        assert isinstance(frame, frames.Error)
        assert (frame.code, frame.message) == (code, error.message)
        assert frame.retryable is ERRORS[code].retryable
        assert (frame.id, frame.session, frame.details) == (error.id, error.session, error.details)
