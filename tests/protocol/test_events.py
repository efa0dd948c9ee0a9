import msgspec

from protocol import events as ev
from protocol.values import Progress
from tests.support.values import EVENTS, tag

STREAM = {
    "message.delta",
    "message.part",
    "tool_call.delta",
    "tool_call.progress",
    "run.activity",
    "run.progress",
    "run.log",
    "run.output",
    "custom",
}
CONTROL = {
    "session.created",
    "session.updated",
    "session.deleted",
    "session.rewound",
    "message.added",
    "message.started",
    "message.completed",
    "run.queued",
    "run.started",
    "run.retrying",
    "run.resumed",
    "run.waiting",
    "run.completed",
    "run.failed",
    "run.cancelled",
    "run.child",
    "tool_call.started",
    "tool_call.requested",
    "tool_call.claimed",
    "tool_call.released",
    "tool_call.completed",
    "approval.requested",
    "approval.resolved",
}


def test_control_and_stream_events() -> None:
    assert {tag(e) for e in EVENTS if issubclass(e, ev.ControlEvent)} == CONTROL
    assert {tag(e) for e in EVENTS if issubclass(e, ev.StreamEvent)} == STREAM


def test_every_event_has_a_time_and_neither_session_nor_seq() -> None:
    for event in EVENTS:
        names = {f.encode_name: f.required for f in msgspec.structs.fields(event)}
        assert names["time"]
        assert not names.keys() & {"session", "seq", "from_seq"}


def test_what_ends_a_run() -> None:
    ends = {"run.completed", "run.failed", "run.cancelled"}
    assert {tag(e) for e in ev.RunEnd.__args__} == ends


def test_progress_as_the_state_holds_it() -> None:
    event = ev.RunProgress(time="t", run="r_1", current=1, total=2, text="half")
    assert event.value() == Progress(1, 2, "half")


def test_what_has_no_value_is_absent() -> None:
    event = ev.RunQueued(time="t", run="r_1")
    assert msgspec.to_builtins(event) == {"type": "run.queued", "time": "t", "run": "r_1"}
