"""What a newer gateway says is kept as far as it can be had, wherever parts are."""

import json
from typing import Any

import pytest

from gateway.client.bodies import read_answer, read_event, read_state
from gateway.client.errors import GatewayError
from protocol.events import MessageAdded, MessagePart, RunCompleted, RunQueued
from protocol.frames import Ok
from protocol.state import copy
from protocol.values import DataPart, TextPart

AUDIO = {"kind": "audio", "url": "https://x.example/a.ogg", "seconds": 3}
PARTS = [{"kind": "text", "text": "Listen:"}, AUDIO]
KNOWN = [TextPart("Listen:"), DataPart("audio", AUDIO)]
TIME = "2026-01-01T00:00:00.000Z"
MESSAGE = {
    "id": "m_1", "role": "assistant", "status": "complete", "time": TIME, "parts": PARTS
}  # fmt: skip
RUN = {"id": "r_1", "status": "queued", "attempt": 0, "seq": 1, "content": PARTS}


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def state(**fields: Any) -> bytes:
    empty: dict[str, Any] = {
        "session": "s_1", "agent": "a", "epoch": "e", "seq": 7, "metadata": {}, "tools": [],
        "messages": [], "more": False, "run": None, "queue": [], "calls": {}, "approvals": {},
        "remembered": [], "custom": {},
    }  # fmt: skip
    return encoded({**empty, **fields})


def event(name: str, **fields: Any) -> bytes:
    return encoded({"type": name, "session": "s_1", "seq": 7, "time": TIME, **fields})


def test_a_state_with_unknown_parts() -> None:
    read = read_state(state(messages=[MESSAGE], run=RUN, queue=[RUN]))
    assert read.messages[0].parts == KNOWN
    assert read.run is not None
    assert read.run.content == read.queue[0].content == KNOWN
    assert copy(read) == read


def test_the_same_json_elsewhere_is_left_alone() -> None:
    """An output is the tool's own, whatever it looks like."""
    call = {
        "id": "c_1", "run": "r_1", "message": "m_1", "name": "t", "target": "server",
        "arguments": {"parts": [AUDIO]}, "status": "completed", "output": {"content": AUDIO},
    }  # fmt: skip
    read = read_state(state(messages=[MESSAGE], calls={"c_1": call}))
    assert read.calls["c_1"].arguments == {"parts": [AUDIO]}
    assert read.calls["c_1"].output == {"content": AUDIO}


def test_events_with_unknown_parts() -> None:
    added = read_event(event("message.added", message="m_1", role="user", parts=PARTS))
    assert isinstance(added, MessageAdded)
    assert added.parts == KNOWN
    queued = read_event(event("run.queued", run="r_1", content=PARTS))
    assert isinstance(queued, RunQueued)
    assert queued.content == KNOWN
    part = read_event(event("message.part", message="m_1", part=1, content=AUDIO))
    assert isinstance(part, MessagePart)
    assert part.content == DataPart("audio", AUDIO)


def test_an_unknown_finish_reason_is_another_one() -> None:
    ended = read_event(event("run.completed", run="r_1", finish_reason="refusal"))
    assert isinstance(ended, RunCompleted)
    assert ended.finish_reason == "other"
    run = read_state(state(run={**RUN, "status": "completed", "finish_reason": "refusal"})).run
    assert run is not None
    assert run.finish_reason == "other"


@pytest.mark.parametrize(
    "frame",
    [
        event("message.sung", message="m_1", parts=PARTS),
        event("message.delta", message="m_1", part=0, kind="hummed", delta="la"),
        event("message.added", message="m_1", role="choir", parts=PARTS),
        event("message.added", message=7, role="user", parts=PARTS),
        b"{",
    ],
)
def test_what_has_no_meaning_here(frame: bytes) -> None:
    assert read_event(frame) is None


def test_older_messages_with_unknown_parts() -> None:
    read = read_answer(encoded({"type": "ok", "id": "k_1", "messages": [MESSAGE], "more": False}))
    assert isinstance(read, Ok)
    assert read.messages is not None
    assert read.messages[0].parts == KNOWN


@pytest.mark.parametrize(
    "text", [state(messages=7), state(messages=[7]), state(run=7), b"[]", b"{", b'"\xff"']
)
def test_a_state_that_cannot_be_read(text: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        read_state(text)
    assert caught.value.code == "client.outdated"


@pytest.mark.parametrize("text", [b'{"type":"ok","id":7}', b'{"type":"ok","messages":7}', b"[]"])
def test_an_answer_that_cannot_be_read(text: bytes) -> None:
    read = read_answer(text)
    assert isinstance(read, GatewayError)
    assert read.code == "client.outdated"
