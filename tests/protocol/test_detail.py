"""The table of what may leave: closed, and each of its rules; whole sessions in `_agrees`."""

from typing import Any

import msgspec
import pytest

from protocol import detail
from protocol import events as ev
from protocol.detail import ANSWER, FULL, KINDS, LEVELS, PARTS, STEPS, View, without_provider
from protocol.model import Approval, Call, Message, Run
from protocol.state import State
from protocol.values import (
    HIDDEN,
    CommentaryPart,
    DataPart,
    ErrorInfo,
    FilePart,
    Part,
    SourcePart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    Usage,
)

CALLS = {"c_1": ("pick", "client"), "c_2": ("fetch", "server")}
PRIVATE = {"signature": "x"}


def seen(view: View, event: ev.Event) -> ev.Event | None:
    return view.event(event, CALLS.get)


def requested(call: str) -> ev.ToolCallRequested:
    name, target = CALLS[call]
    return ev.ToolCallRequested(
        time="t",
        call=call,
        run="r_1",
        message="m_1",
        name=name,
        arguments={"a": 1},
        target=target,  # pyright: ignore[reportArgumentType]
        deadline="t9",
    )


# --- the table is closed


def test_every_field_of_every_event_was_decided_about() -> None:
    """Below full a field is hidden unless it has a row; what has none is listed here."""
    hidden = {
        (event.__name__, field.name)
        for event in ev.AnyEvent.__args__
        for field in msgspec.structs.fields(event)
        if field.name != "time" and field.name not in detail.EVENTS.get(event, {})
    }
    assert hidden == {
        ("MessageCompleted", "usage"),
        ("RunCompleted", "usage"),
        ("RunQueued", "input"),
        ("ToolCallStarted", "provider"),
        ("ToolCallRequested", "arguments"),
        ("ToolCallCompleted", "output"),
        ("ToolCallCompleted", "files"),
        *(("ToolCallDelta", name) for name in ("call", "delta")),
        *(("RunLog", name) for name in ("run", "level", "text")),
        *(("Custom", name) for name in ("name", "value", "keep")),
        *(("RunChild", n) for n in ("run", "call", "child_session", "child_run", "agent")),
        ("RunChild", "status"),
    }


@pytest.mark.parametrize(
    ("table", "struct"),
    [
        (detail.STATE, State),
        (detail.MESSAGE, Message),
        (detail.RUN, Run),
        (detail.CALL, Call),
        (detail.APPROVAL, Approval),
    ],
)
def test_every_field_of_the_state_was_decided_about(table: dict[str, int], struct: type) -> None:
    assert set(table) == {f.name for f in msgspec.structs.fields(struct)}


def test_every_part_and_kind_was_decided_about() -> None:
    assert set(PARTS) == set(Part.__args__)
    assert KINDS == {"text": ANSWER, "commentary": STEPS, "thinking": FULL}


def test_an_event_that_the_table_does_not_name_is_hidden() -> None:
    class Newer(ev.StreamEvent, frozen=True, kw_only=True, tag="newer"):
        text: str = "x"

    event = Newer(time="t")
    assert seen(View("answer"), event) is None
    assert seen(View("steps"), event) is None
    assert seen(View("full"), event) is event


# --- events


@pytest.mark.parametrize("name", LEVELS)
def test_what_leaves_whole_is_the_same_object(name: Any) -> None:
    event = ev.RunStarted(time="t", run="r_1")
    assert seen(View(name), event) is event


@pytest.mark.parametrize(
    ("kind", "details"),
    [("text", 3), ("commentary", 2), ("thinking", 1)],
)
def test_deltas_by_kind(kind: Any, details: int) -> None:
    delta = ev.MessageDelta(time="t", message="m_1", part=0, kind=kind, delta="x")
    assert sum(seen(View(name), delta) is delta for name in LEVELS) == details


def test_calls_of_declared_client_tools_are_whole_at_any_detail() -> None:
    for tools in (["pick"], ["*"], ["other", "pick"]):
        assert seen(View("answer", tools), requested("c_1")) == requested("c_1")
        done = ev.ToolCallCompleted(time="t", call="c_1", error=ErrorInfo("x.y", "Text."))
        assert seen(View("steps", tools), done) is done
    assert seen(View("answer", ["other"]), requested("c_1")) is None
    assert seen(View("answer", ["*", "fetch"]), requested("c_2")) is None
    unknown = ev.ToolCallClaimed(time="t", call="c_9", client="tab_1", lease_until="t9")
    assert seen(View("answer", ["*"]), unknown) is None


def test_steps_see_calls_without_arguments_and_outputs() -> None:
    view = View("steps")
    assert seen(view, requested("c_2")) == msgspec.structs.replace(requested("c_2"), arguments=None)
    files = [FilePart("https://x.test/", "a/b")]
    done = ev.ToolCallCompleted(time="t", call="c_2", output={"a": 1}, files=files)
    assert seen(view, done) == ev.ToolCallCompleted(time="t", call="c_2")
    assert seen(view, ev.ToolCallDelta(time="t", call="c_2", delta="{")) is None


@pytest.mark.parametrize(
    ("code", "text"),
    [("tool.denied", "The call was denied."), ("bank.broke", "It failed.")],
)
def test_errors_are_a_code_and_a_fixed_text(code: str, text: str) -> None:
    error, fixed = ErrorInfo(code, "password=1234"), ErrorInfo(code, text)
    failed = ev.RunFailed(time="t", run="r_1", error=error)
    assert seen(View("answer"), failed) == msgspec.structs.replace(failed, error=fixed)
    done = ev.ToolCallCompleted(time="t", call="c_2", error=error)
    assert seen(View("steps"), done) == msgspec.structs.replace(done, error=fixed)
    assert seen(View("full"), failed) is failed


def test_a_part_that_became_hidden_takes_back_what_was_seen() -> None:
    part = ev.MessagePart(time="t", message="m_1", part=1, content=CommentaryPart("hm"))
    assert seen(View("answer"), part) == msgspec.structs.replace(part, content=HIDDEN)
    assert seen(View("steps"), part) is part


def test_usage_and_input_are_hidden_below_full() -> None:
    usage = Usage(1, 2)
    done = ev.MessageCompleted(time="t", message="m_1", status="complete", usage=usage)
    ended = ev.RunCompleted(time="t", run="r_1", output=1, usage=usage)
    queued = ev.RunQueued(time="t", run="r_1", input={"a": 1}, client="tab_1")
    for name in ("answer", "steps"):
        view = View(name)
        assert seen(view, done) == msgspec.structs.replace(done, usage=None)
        assert seen(view, ended) == msgspec.structs.replace(ended, usage=None)
        assert seen(view, queued) == msgspec.structs.replace(queued, input=None)


@pytest.mark.parametrize("name", LEVELS)
def test_a_providers_data_never_leaves(name: Any) -> None:
    view = View(name, ["*"])
    started = ev.ToolCallStarted(
        time="t", message="m", part=0, call="c_1", name="pick", target="client", provider=PRIVATE
    )
    of_server = msgspec.structs.replace(started, call="c_2", name="fetch", target="server")
    parts: list[Part] = [TextPart("a", PRIVATE), TextPart("b")]
    events = [
        started,
        of_server,
        ev.MessagePart(time="t", message="m", part=0, content=parts[0]),
        ev.MessageAdded(time="t", message="m", role="assistant", parts=parts),
        ev.RunQueued(time="t", run="r_1", content=parts),
    ]
    for event in events:
        left = seen(view, event)
        assert left is None or b"signature" not in msgspec.json.encode(left)
        assert left is not None or event is of_server
    state = State(
        session="s_1",
        messages=[Message(id="m", role="user", status="complete", time="t", parts=parts)],
        queue=[Run(id="r_1", status="queued", attempt=0, seq=1, content=parts)],
    )
    assert b"signature" not in msgspec.json.encode(view.state(state))


def test_events_without_a_providers_data_are_not_copied() -> None:
    plain: list[Part] = [TextPart("a"), DataPart("n", 1)]
    for event in (
        ev.ToolCallStarted(time="t", message="m", part=0, call="c", name="n", target="client"),
        ev.MessagePart(time="t", message="m", part=0, content=TextPart("a")),
        ev.MessageAdded(time="t", message="m", role="user", parts=plain),
        ev.RunQueued(time="t", run="r_1", content=plain),
        ev.RunQueued(time="t", run="r_1"),
        ev.RunStarted(time="t", run="r_1"),
    ):
        assert without_provider(event) is event
        assert seen(View("full"), event) is event


# --- parts and state


@pytest.mark.parametrize(
    ("view", "kinds"),
    [
        (View("answer"), ["text", "hidden", "hidden", "hidden", "file", "source", "data"]),
        (View("answer", ["*"]), ["text", "hidden", "hidden", "tool_call", "file", "source"]),
        (View("steps"), ["text", "commentary", "hidden", "tool_call", "file", "source", "data"]),
        (View("full"), ["text", "commentary", "thinking", "tool_call", "file", "source"]),
    ],
)
def test_parts(view: View, kinds: list[str]) -> None:
    parts: list[Part] = [
        TextPart("a"),
        CommentaryPart("b"),
        ThinkingPart("c"),
        ToolCallPart("c_1"),
        FilePart("https://x.test/", "a/b"),
        SourcePart("https://x.test/"),
        DataPart("n", 1),
    ]
    left = [p.__struct_config__.tag for p in view.parts(parts, CALLS.get)]
    assert left[: len(kinds)] == kinds
    assert view.parts([*parts, HIDDEN], CALLS.get) == view.parts(parts, CALLS.get)
    assert view.parts([HIDDEN, HIDDEN], CALLS.get) == []


def test_a_call_that_nobody_knows_is_hidden_at_answer() -> None:
    assert View("answer", ["*"]).part(ToolCallPart("c_9"), CALLS.get) is HIDDEN
    assert View("steps").part(ToolCallPart("c_9"), CALLS.get) == ToolCallPart("c_9")


def call(status: Any, **fields: Any) -> Call:
    made: dict[str, Any] = {"id": "c_2", "run": "r_1", "message": "m", "arguments": {"a": 1}}
    made |= {"name": "fetch", "target": "server", "status": status}
    return Call(**{**made, **fields})


def test_calls_in_the_state() -> None:
    state = State(session="s_1")
    secret = ErrorInfo("tool.failed", "password")
    state.calls = {"c_2": call("completed", deadline="t9", output={"a": 1}, error=secret)}
    assert View("answer", ["*"]).state(state).calls == {}
    assert View("full").state(state).calls == state.calls
    assert View("full").state(state).calls["c_2"] is not state.calls["c_2"]
    seen_call = View("steps").state(state).calls["c_2"]
    assert (seen_call.arguments, seen_call.output) == (None, None)
    assert seen_call.error == ErrorInfo("tool.failed", "The tool failed.")
    state.calls["c_2"] = call("streaming", arguments='{"a')
    assert View("steps").state(state).calls["c_2"] == call("streaming", arguments="")
    state.calls["c_2"] = call("completed", arguments='{"a', error=secret)
    assert View("steps").state(state).calls["c_2"].arguments == ""


def test_the_rest_of_the_state() -> None:
    failed = ErrorInfo("agent.failed", "password")
    content: list[Part] = [TextPart("a")]
    state = State(
        session="s_1",
        run=Run(id="r_1", status="failed", attempt=1, seq=3, input=1, error=failed, activity="x"),
        queue=[Run(id="r_2", status="queued", attempt=0, seq=4, content=content)],
        approvals={"ap_1": Approval(id="ap_1", run="r_1", title="t", deadline="t9")},
        custom={"n": 1},
    )
    answer, steps, full = (View(name).state(state) for name in LEVELS)
    assert full == state
    assert (answer.custom, steps.custom) == ({}, {})
    assert answer.approvals == state.approvals
    assert answer.queue == state.queue
    assert answer.run == Run(
        id="r_1",
        status="failed",
        attempt=1,
        seq=3,
        error=ErrorInfo("agent.failed", "The agent failed."),
    )
    assert steps.run is not None
    assert steps.run.activity == "x"
    assert View("answer").state(State(session="s_1")).run is None


def test_one_message_for_a_page_of_history() -> None:
    parts: list[Part] = [TextPart("a"), ToolCallPart("c_2"), ToolCallPart("c_9")]
    usage = Usage(1, 2)
    message = Message(
        id="m", role="assistant", status="complete", time="t", parts=parts, usage=usage
    )
    left = View("answer", ["*"]).message(message, {"c_2": call("completed")})
    assert (left.parts, left.usage) == ([TextPart("a")], None)
    pick = call("completed", name="pick", target="client")
    left = View("answer", ["pick"]).message(message, {"c_2": pick})
    assert left.parts == [TextPart("a"), ToolCallPart("c_2")]
    assert View("full").message(message, {}) == message
    assert message.parts is parts
