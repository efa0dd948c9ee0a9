"""The wire by example: every line of the design's transcripts is what this code speaks."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from protocol import codec
from protocol.detail import View
from protocol.errors import ProtocolError
from protocol.frames import Subscribed
from protocol.state import State
from protocol.values import TextPart

TRANSCRIPTS = Path(__file__).parents[3] / "shared" / "TRANSCRIPTS.md"
if not TRANSCRIPTS.exists():
    pytest.skip(f"the design's transcripts are not at {TRANSCRIPTS}", allow_module_level=True)

_LINE = re.compile(r"(?:([A-Z](?:,[A-Z])*) )?(->|<-) (\{.*)")


class Line(NamedTuple):
    scenario: int
    tabs: str
    up: bool
    text: str

    @property
    def frame(self) -> dict[str, Any]:
        return json.loads(self.text)


def lines() -> list[Line]:
    found: list[Line] = []
    scenario = 0
    for text in TRANSCRIPTS.read_text().splitlines():
        if text.startswith("## "):
            scenario = int(text[3])
        elif match := _LINE.fullmatch(text):
            found.append(Line(scenario, match[1] or "A", match[2] == "->", match[3]))
    return found


LINES = lines()
DOWN = [line for line in LINES if not line.up]
EVENTS = [line for line in DOWN if "time" in line.frame]
# what goes up and what the gateway says next
ANSWERED = [(one, other) for one, other in pairwise(LINES) if one.up]


def events(session: str, tab: str = "A") -> list[dict[str, Any]]:
    return [e.frame for e in EVENTS if e.frame["session"] == session and tab in e.tabs]


def test_all_eight_scenarios_are_read() -> None:
    assert {line.scenario for line in LINES} == set(range(1, 9))
    assert len(LINES) > 300


@pytest.mark.parametrize(("line", "answer"), ANSWERED)
def test_every_frame_up(line: Line, answer: Line) -> None:
    (frame,) = codec.decode_up(line.text, 1 << 20)
    expected: dict[str, Any] = {} if answer.up else answer.frame
    if not isinstance(frame, ProtocolError):
        assert not expected.get("code", "").startswith("frame.")
        assert json.loads(codec.encode(frame)) == line.frame
        return
    error = json.loads(codec.error_frame(frame))
    assert error["message"]
    assert error | {"message": ""} == expected | {"message": ""}


@pytest.mark.parametrize("line", EVENTS)
def test_every_event(line: Line) -> None:
    event = codec.decode_event(line.text)
    assert event is not None
    frame = line.frame
    body = codec.encode(event)
    from_seq = frame.get("from_seq")
    spliced = (
        codec.splice(body, frame["session"], frame["seq"])
        if from_seq is None
        else codec.splice_merged(body, frame["session"], frame["seq"], from_seq)
    )
    assert json.loads(spliced) == frame
    assert codec.event_head(line.text).time == frame["time"]


@pytest.mark.parametrize("line", [line for line in DOWN if line not in EVENTS])
def test_every_other_frame_down(line: Line) -> None:
    frame = codec.decode_down(line.text)
    assert json.loads(codec.encode(frame)) == line.frame
    assert codec.event_head(line.text).time is None


@pytest.mark.parametrize("line", [li for li in DOWN if "state" in li.frame])
def test_every_state(line: Line) -> None:
    frame = codec.decode_down(line.text)
    assert isinstance(frame, Subscribed)
    assert frame.state is not None
    assert (frame.state.seq, frame.state.epoch) == (frame.seq, frame.epoch)
    assert msgspec.to_builtins(frame.state) == line.frame["state"]


# --- folds


def folded(session: str, tab: str = "A", start: State | None = None) -> State:
    """The first state that a tab got, and all events after it, without a hole."""
    state = start or next(
        msgspec.convert(line.frame["state"], State)
        for line in DOWN
        if line.frame.get("state", {}).get("session") == session
    )
    for event in events(session, tab):
        assert event["seq"] == state.seq + 1, event
        decoded = codec.decode_event(json.dumps(event))
        assert decoded is not None
        state.apply(decoded, event["seq"])
    return state


def texts(state: State) -> list[str]:
    return ["".join(p.text for p in m.parts if isinstance(p, TextPart)) for m in state.messages]


def ended(state: State, run: str, status: str) -> None:
    assert state.run is not None
    assert (state.run.id, state.run.status, state.run.on) == (run, status, None)
    assert state.queue == []
    assert all(c.status == "completed" for c in state.calls.values())
    assert all(a.decision for a in state.approvals.values())
    assert all(m.status != "open" for m in state.messages)


def test_fold_of_2_a_client_tool() -> None:
    state = folded("s_2", "B")
    ended(state, "r_2", "completed")
    assert state.run is not None
    assert state.run.attempt == 2
    assert texts(state)[2::3] == ['It says {"text":"Welcome"}.'] * 2
    assert [c.client for c in state.calls.values()] == ["tab_A", "tab_B"]


def test_fold_of_3_approvals() -> None:
    state = folded("s_3")
    ended(state, "r_2", "completed")
    assert [a.decision for a in state.approvals.values()] == ["approve", "deny"]
    assert state.approvals["ap_1"].arguments == {"title": "Q1 report"}
    assert state.calls["c_1"].arguments == {"title": "Q1 report"}
    assert state.calls["c_2"].error is not None
    assert state.calls["c_2"].error.code == "tool.denied"


def test_fold_of_4_a_stop() -> None:
    state = folded("s_4")
    ended(state, "r_1", "cancelled")
    assert [m.status for m in state.messages] == ["complete", "complete", "interrupted"]
    state = folded("s_5", start=State(session="s_5", agent="openai", seq=4))
    assert state.messages[0].status == "interrupted"
    assert state.calls["c_1"].status == "completed"
    assert state.calls["c_1"].arguments == "{"


def test_fold_of_6_busy() -> None:
    state = folded("s_7")
    ended(state, "r_4", "completed")
    assert texts(state)[1::2] == ["One end.", "Two end.", "Six", "Ten"]
    assert [m.id for m in state.messages] == [f"m_{i}" for i in range(1, 9)]


def test_fold_of_7_a_lost_worker() -> None:
    state = folded("s_8")
    ended(state, "r_1", "completed")
    assert [m.id for m in state.messages] == ["m_1", "m_2", "m_4"]
    assert texts(state)[-1] == 'The heading: "Hi"'
    assert state.run is not None
    assert state.run.attempt == 2


def test_8_what_b_sees_of_what_a_sees() -> None:
    view, state = View("answer"), State(session="s_9", agent="openai", seq=1)
    seen: list[dict[str, Any]] = []
    for frame in events("s_9", "A"):
        event = codec.decode_event(json.dumps(frame))
        assert event is not None
        state.apply(event, frame["seq"])
        calls = {k: (c.name, c.target) for k, c in state.calls.items()}
        if (left := view.event(event, calls.get)) is not None:
            body = codec.encode(left)
            seen.append(json.loads(codec.splice(body, "s_9", frame["seq"])))
    assert seen == events("s_9", "B")
