"""The rules of the reducer, one by one; whole sequences are in the golden vectors."""

from typing import Any

import pytest

from protocol import events as ev
from protocol.folds import FOLDS
from protocol.model import Run
from protocol.state import State
from protocol.values import (
    HIDDEN,
    CommentaryPart,
    ErrorInfo,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)

NOT_KEPT = {ev.SessionDeleted, ev.RunLog, ev.ToolCallProgress}


class Session:
    """A state that is folded event by event: `session(ev.RunStarted, run="r_1")`."""

    def __init__(self) -> None:
        self.state = State(session="s_1")

    def __call__(self, event: Any, **fields: Any) -> "Session":
        seq = self.state.seq + 1
        self.state.apply(event(time=f"t{seq}", **fields), seq)
        assert self.state.seq == seq
        return self

    @property
    def run(self) -> Run:
        assert self.state.run is not None
        return self.state.run


@pytest.fixture
def session() -> Session:
    """With a live run r_1 of message m_1, seq 4."""
    return Session()(ev.SessionCreated, agent="cook")(
        ev.MessageAdded, message="m_1", role="user", parts=[TextPart("Hi")], by="mia"
    )(ev.RunQueued, run="r_1", client="tab_1", trigger="m_1")(ev.RunStarted, run="r_1")


def call(session: Session, name: str = "c_1", target: str = "client") -> Session:
    session(ev.MessageStarted, message=f"m_{name}", run="r_1")
    session(ev.ToolCallStarted, message=f"m_{name}", part=0, call=name, name="pick", target=target)
    session(ev.MessageCompleted, message=f"m_{name}", status="complete")
    return session(
        ev.ToolCallRequested,
        call=name,
        run="r_1",
        message=f"m_{name}",
        name="pick",
        arguments={},
        target=target,
        deadline="t99",
        client="tab_1" if target == "client" else None,
        lease_ms=100 if target == "client" else None,
    )


def test_only_these_events_leave_no_trace() -> None:
    assert set(ev.AnyEvent.__args__) - set(FOLDS) == NOT_KEPT


def test_what_is_folded_is_not_the_events_own() -> None:
    parts: list[Any] = [TextPart("a"), HIDDEN]
    tools: list[Any] = []
    session = Session()(ev.SessionCreated, agent="a", metadata={"a": 1}, tools=tools)
    session(ev.MessageAdded, message="m_1", role="user", parts=parts)
    session(ev.RunQueued, run="r_1", content=parts)
    session(ev.MessageDelta, message="m_1", part=2, kind="text", delta="b")
    assert parts == [TextPart("a"), HIDDEN]
    assert session.state.messages[0].parts == [TextPart("a"), HIDDEN, TextPart("b")]
    assert session.state.queue[0].content == [TextPart("a")]
    assert session.state.tools is not tools


def test_deltas_make_parts_of_their_kind(session: Session) -> None:
    session(ev.MessageStarted, message="m_2", run="r_1")
    for part, kind, delta in ((0, "thinking", "a"), (0, "thinking", "b"), (2, "text", "c")):
        session(ev.MessageDelta, message="m_2", part=part, kind=kind, delta=delta)
    assert session.state.messages[-1].parts == [ThinkingPart("ab"), HIDDEN, TextPart("c")]
    session(ev.MessagePart, message="m_2", part=2, content=CommentaryPart("c"))
    assert session.state.messages[-1].parts[2] == CommentaryPart("c")
    session(ev.MessagePart, message="m_2", part=2, content=HIDDEN)
    assert session.state.messages[-1].parts == [ThinkingPart("ab")]


def test_a_run_waits_until_the_last_thing_is_closed(session: Session) -> None:
    call(session, "c_1")
    session(ev.RunActivity, run="r_1", activity="calling_tool")
    call(session, "c_2")(ev.RunWaiting, run="r_1", on=["c_1", "c_2"])
    assert session.run.activity is None
    session(ev.RunActivity, run="r_1", activity="idle")
    session(ev.ToolCallClaimed, call="c_1", client="tab_1", lease_until="t50")
    assert (session.run.status, session.run.on) == ("waiting", ["c_1", "c_2"])
    session(ev.ToolCallCompleted, call="c_1", output=1)
    assert (session.run.status, session.run.on) == ("waiting", ["c_2"])
    assert session.run.activity == "idle"
    session(ev.ToolCallCompleted, call="c_2", output=1)
    assert (session.run.status, session.run.on, session.run.activity) == ("running", None, None)


@pytest.mark.parametrize("how", ["message", "server call", "child", "retrying", "resumed"])
def test_a_wait_ends_silently(session: Session, how: str) -> None:
    call(session)(ev.RunWaiting, run="r_1", on=["c_1"])
    if how == "message":
        session(ev.MessageStarted, message="m_9", run="r_1")
    elif how == "server call":
        call_of_server = {"call": "c_9", "run": "r_1", "message": "m", "name": "n"}
        session(ev.ToolCallRequested, **call_of_server, arguments={}, target="server", deadline="t")
    elif how == "child":
        child = {"child_session": "s_2", "child_run": "r_2", "agent": "a", "status": "started"}
        session(ev.RunChild, run="r_1", **child)
    else:
        event = ev.RunRetrying if how == "retrying" else ev.RunResumed
        session(event, run="r_1", attempt=2)
        assert session.run.attempt == 2
    assert (session.run.status, session.run.on) == ("running", None)


def test_a_client_call_or_another_run_does_not_end_a_wait(session: Session) -> None:
    call(session)(ev.RunWaiting, run="r_1", on=["c_1"])
    requested = {"call": "c_2", "message": "m", "name": "n", "arguments": {}, "deadline": "t"}
    session(ev.ToolCallRequested, run="r_1", target="client", **requested)
    session(ev.ToolCallRequested, run="r_2", target="server", **requested)
    session(ev.MessageStarted, message="m_8", run="r_2")
    session(ev.ToolCallCompleted, call="c_2")
    assert session.run.status == "waiting"


def test_each_end_of_a_run(session: Session) -> None:
    call(session)(ev.RunWaiting, run="r_1", on=["c_1"])(ev.RunFailed, run="r_1", error=ERROR)
    assert (session.run.status, session.run.error, session.run.on) == ("failed", ERROR, None)
    session(ev.RunQueued, run="r_2")(ev.RunStarted, run="r_2")(ev.RunCancelled, run="r_2", by="m")
    assert (session.run.id, session.run.status) == ("r_2", "cancelled")
    session(ev.RunQueued, run="r_3")(ev.RunStarted, run="r_3")(ev.RunOutput, run="r_3", output=1)
    session(ev.RunCompleted, run="r_3", output=2, finish_reason="length")
    assert (session.run.status, session.run.output) == ("completed", 2)
    assert session.run.finish_reason == "length"


ERROR = ErrorInfo("agent.failed", "Oops.")


def test_a_queued_run_can_only_be_removed(session: Session) -> None:
    session(ev.RunQueued, run="r_2")(ev.RunQueued, run="r_3", by="mia", metadata={"a": 1})
    session(ev.RunCancelled, run="r_2", by="mia")
    assert [r.id for r in session.state.queue] == ["r_3"]
    assert session.run.id == "r_1"
    session(ev.RunCompleted, run="r_1")(ev.RunStarted, run="r_3")
    assert session.run == Run(id="r_3", status="running", attempt=1, seq=6)


def test_a_released_call(session: Session) -> None:
    call(session)(ev.ToolCallReleased, call="c_1", reason="unclaimed")
    assert session.state.calls["c_1"].client is None
    session(ev.ToolCallClaimed, call="c_1", client="tab_2", lease_until="t50")
    session(ev.ToolCallReleased, call="c_1", reason="lease_expired")
    released = session.state.calls["c_1"]
    assert (released.status, released.client, released.lease_until) == (
        "requested",
        "tab_2",
        "t50",
    )


def test_a_calls_arguments_stream_until_it_is_requested(session: Session) -> None:
    session(ev.MessageStarted, message="m_2", run="r_1")
    started = {"message": "m_2", "call": "c_1", "name": "pick", "target": "client"}
    session(ev.ToolCallStarted, part=0, provider={"id": 1}, **started)
    session(ev.ToolCallDelta, call="c_1", delta='{"a"')(ev.ToolCallDelta, call="c_1", delta=":1}")
    assert session.state.calls["c_1"].arguments == '{"a":1}'
    assert session.state.messages[-1].parts == [ToolCallPart("c_1", {"id": 1})]
    session(
        ev.ToolCallRequested,
        call="c_1",
        run="r_1",
        message="m_2",
        name="pick",
        arguments={"a": 1},
        target="client",
        deadline="t9",
    )(ev.ToolCallDelta, call="c_1", delta="late")
    assert session.state.calls["c_1"].arguments == {"a": 1}


def test_remembered_once_and_only_of_calls(session: Session) -> None:
    for approval, of in (("ap_1", "c_1"), ("ap_2", "c_2"), ("ap_3", None)):
        asked = {"approval": approval, "run": "r_1", "title": "pick", "deadline": "t9"}
        session(ev.ApprovalRequested, call=of, **asked)
        session(ev.ApprovalResolved, approval=approval, decision="approve", remember=True)
    assert session.state.remembered == ["pick"]


def test_messages_go_with_their_calls_and_approvals_with_their_runs(session: Session) -> None:
    call(session)
    asked = {"run": "r_1", "title": "pick", "deadline": "t9"}
    session(ev.ApprovalRequested, approval="ap_1", call="c_1", **asked)
    session(ev.MessageCompleted, message="m_c_1", status="discarded")
    assert session.state.calls == {}
    assert list(session.state.approvals) == ["ap_1"]  # the run is live
    call(session, "c_2")(ev.RunCompleted, run="r_1")(ev.SessionRewound, after="m_1")
    assert [m.id for m in session.state.messages] == ["m_1"]
    assert (session.state.calls, session.state.approvals) == ({}, {})
    session(ev.SessionRewound, after="m_0")
    assert session.state.messages == []
