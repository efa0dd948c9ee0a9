"""What clients ask about sessions, messages and runs: each rule and each refusal."""

import pytest

from gateway.sessions import inputs
from gateway.sessions.by_client import merged
from protocol import commands as cmd
from protocol import events as ev
from protocol.errors import ProtocolError
from protocol.values import DataPart, FilePart, TextPart
from tests.sessions.bench import ASK, READ, WRITE, Bench, e, text, wire


def update(bench: Bench, **fields: object) -> list[dict[str, object]]:
    command = cmd.SessionUpdate(id=bench.ids("k"), session="s_1", **fields)  # type: ignore[arg-type]
    return wire(bench.command(command).events)


# --- session.update


def test_metadata_is_merged_and_null_deletes() -> None:
    assert merged({"a": 1, "b": 2}, {"b": None, "c": {"x": None}}) == {"a": 1, "c": {"x": None}}


def test_an_update_tells_the_whole_new_values_of_what_changed() -> None:
    bench = Bench(READ)
    assert update(bench, metadata={"title": "One", "x": 1}) == [
        e("session.updated", metadata={"title": "One", "x": 1})
    ]
    assert update(bench, metadata={"x": None, "y": 2}) == [
        e("session.updated", metadata={"title": "One", "y": 2})
    ]
    (updated,) = update(bench, tools=[WRITE])
    assert "metadata" not in updated
    assert [t.name for t in bench.state.tools] == ["scan_page"]


def test_an_update_without_a_change_stores_nothing() -> None:
    bench = Bench(READ)
    assert update(bench, metadata={"x": None}, tools=[READ]) == []
    assert update(bench) == []


def test_what_is_equal_to_python_alone_is_a_change() -> None:
    bench = Bench(READ)
    for value in (1, True, 1.0, "1"):
        (updated,) = update(bench, metadata={"x": value})
        assert repr(updated["metadata"]) == repr({"x": value})


# --- session.delete


def delete(bench: Bench) -> list[dict[str, object]]:
    decision = bench.command(cmd.SessionDelete(id="k_1", session="s_1"))
    assert decision.delete
    assert decision.raise_fence
    assert decision.claimable_at is None
    return wire(decision.events)


def test_a_delete_is_the_last_event() -> None:
    assert delete(Bench()) == [e("session.deleted")]


def test_a_delete_closes_what_runs_and_what_waits() -> None:
    bench = Bench(READ)
    bench.running()
    bench.call("read_heading")
    bench.send("Two", if_busy="enqueue")
    bench.send("Three", if_busy="steer")
    assert delete(bench) == [
        e("run.cancelled", run="r_2", by="dev"),
        e(
            "tool_call.completed",
            call="c_1",
            error={"code": "tool.cancelled", "message": "The run was cancelled."},
        ),
        e("run.cancelled", run="r_1", by="dev"),
        e("session.deleted"),
    ]


# --- message.send


def test_parts_keep_order_and_lose_what_is_private() -> None:
    bench = Bench()
    parts = [
        TextPart("a", provider={"id": 1}),
        FilePart("data:text/plain,x", "text/plain", "x"),
        DataPart("n", {"v": 1}),
    ]
    bench.command(cmd.MessageSend(id="k", session="s_1", content=[*parts]))
    assert bench.state.messages[0].parts == [TextPart("a"), *parts[1:]]


@pytest.mark.parametrize("url", ["javascript:alert(1)", "file:///etc/passwd", "//x", ""])
def test_a_file_with_another_url_is_malformed(url: str) -> None:
    bench = Bench()
    command = cmd.MessageSend(
        id="k", session="s_1", content=[TextPart("a"), FilePart(url, "text/plain")]
    )
    with pytest.raises(ProtocolError) as refused:
        bench.command(command)
    assert refused.value.code == "frame.malformed"
    assert refused.value.details == {"path": "$.content[1].url"}


def test_a_message_keeps_the_clients_id_and_metadata() -> None:
    bench = Bench()
    assert bench.send(message="mine", metadata={"a": 1}).ok == {"message": "mine", "run": "r_1"}
    assert bench.state.messages[0].metadata == {"a": 1}


def test_a_message_id_is_used_once() -> None:
    bench = Bench()
    bench.running(message="mine")
    assert bench.send_refused(message="mine", if_busy="enqueue") == "command.conflict"
    bench.send(message="waits", if_busy="enqueue")
    assert bench.send_refused(message="waits", if_busy="enqueue") == "command.conflict"


def test_a_message_that_starts_nothing() -> None:
    bench = Bench()
    sent = bench.send(start=False)
    assert sent.ok == {"message": "m_1"}
    assert [type(event) for event in sent.events] == [ev.MessageAdded]
    assert sent.claimable_at is None
    assert bench.run_start().ok == {"run": "r_1"}
    assert bench.state.queue[0].trigger == "m_1"


def test_a_run_with_an_input_or_after_an_answer_has_no_trigger() -> None:
    bench = Bench()
    bench.run_start()
    assert bench.state.queue[0].trigger is None  # nothing was said
    bench = Bench()
    bench.send(start=False)
    bench.run_start(input={"x": 1})
    assert bench.state.queue[0].trigger is None
    bench.run_start(if_busy="enqueue")  # what it will follow is not known yet
    assert bench.state.queue[1].trigger is None


def test_a_message_that_starts_nothing_beside_a_live_run() -> None:
    bench = Bench()
    bench.running()
    assert bench.send_refused(start=False) == "session.busy"
    sent = bench.send(start=False, if_busy="enqueue")
    assert sent.ok == {"message": "m_2", "run": "r_1"}
    assert [type(event) for event in sent.events] == [ev.MessageAdded]


def test_a_server_that_sends_names_no_tab() -> None:
    bench = Bench(READ)
    bench.send(client="")
    assert bench.state.queue[0].client is None


def test_a_queued_run_that_no_worker_took_is_busy_too() -> None:
    bench = Bench()
    bench.send()
    assert bench.send_refused() == "session.busy"
    steering = bench.send("Two", if_busy="steer")
    assert steering.ok == {"message": "m_2", "run": "r_1"}
    bench.claim_run()
    started = bench.step(inputs.StartMessage(message="m_x", read=["m_2", "m_none"]))
    assert wire(started.events) == [e("message.started", message="m_x", run="r_1", read=["m_2"])]
    bench.end_message("m_x")
    assert wire(bench.complete().events) == [e("run.completed", run="r_1")], "it was read"


def test_interrupt_goes_behind_the_queue() -> None:
    bench = Bench()
    bench.running()
    bench.send("Two", if_busy="enqueue")
    sent = bench.send("Three", if_busy="interrupt")
    assert [event["type"] for event in wire(sent.events)] == ["run.cancelled", "run.queued"]
    assert [run.id for run in bench.state.queue] == ["r_2", "r_3"]
    assert bench.state.queue[1].content is not None
    assert sent.claimable_at == bench.clock()


def test_steering_before_an_interrupt_comes_first() -> None:
    bench = Bench()
    bench.running()
    bench.send("Two", if_busy="steer")
    sent = bench.send("Three", if_busy="interrupt")
    assert wire(sent.events) == [
        e("run.cancelled", run="r_1", by="dev"),
        e("run.queued", run="r_2", client="tab_A", trigger="m_2"),
        e(
            "run.queued",
            run="r_3",
            client="tab_A",
            trigger="m_3",
            content=text("Three"),
            by="dev",
        ),
    ]


def test_several_steering_messages_make_one_run() -> None:
    bench = Bench()
    bench.running()
    for content in ("a", "b", "c"):
        bench.send(content, if_busy="steer")
    bench.message(read=["m_2"])
    done = bench.interrupt()
    assert wire(done.events)[-1] == e("run.queued", run="r_2", client="tab_A", trigger="m_4")
    bench.claim_run()
    assert wire(bench.complete().events) == [e("run.completed", run="r_2")]


def test_steering_waits_for_the_queue() -> None:
    bench = Bench()
    bench.running()
    bench.send("Two", if_busy="enqueue")
    bench.send("steer", if_busy="steer")
    assert wire(bench.complete().events) == [e("run.completed", run="r_1")]
    bench.claim_run()
    done = bench.complete()
    assert wire(done.events)[-1]["trigger"] == "m_3"
    assert done.claimable_at == bench.clock()


# --- after


def finished(bench: Bench) -> None:
    bench.running()
    bench.end_message(bench.message())
    bench.complete()


def test_after_drops_the_later_messages_first() -> None:
    bench = Bench()
    finished(bench)
    finished(bench)
    sent = bench.send("Again", after="m_2")
    assert [event["type"] for event in wire(sent.events)] == [
        "session.rewound",
        "message.added",
        "run.queued",
    ]
    assert [m.id for m in bench.state.messages] == ["m_1", "m_2", "m_5"]


def test_after_the_last_message_nothing_is_dropped() -> None:
    bench = Bench()
    finished(bench)
    assert "session.rewound" not in [x["type"] for x in wire(bench.send(after="m_2").events)]


def test_regenerate_starts_a_run_for_the_message_kept() -> None:
    bench = Bench()
    finished(bench)
    started = bench.run_start(after="m_1", input={"x": 1})
    assert wire(started.events) == [
        e("session.rewound", after="m_1"),
        e("run.queued", run="r_2", client="tab_A", trigger="m_1", input={"x": 1}),
    ]


def test_after_an_unknown_message() -> None:
    bench = Bench()
    finished(bench)
    assert bench.send_refused(after="m_9") == "message.unknown"


@pytest.mark.parametrize("if_busy", ["reject", "enqueue", "steer"])
def test_after_beside_a_live_run_is_refused(if_busy: str) -> None:
    bench = Bench()
    bench.running()
    assert bench.send_refused(after="m_1", if_busy=if_busy) == "session.busy"


def test_after_with_interrupt_stops_and_rewinds() -> None:
    bench = Bench()
    bench.running()
    bench.message()
    sent = bench.send("Other", after="m_1", if_busy="interrupt")
    assert [event["type"] for event in wire(sent.events)] == [
        "message.completed",
        "run.cancelled",
        "session.rewound",
        "message.added",
        "run.queued",
    ]
    assert sent.claimable_at == bench.clock()


def test_after_with_interrupt_takes_unread_steering_away() -> None:
    bench = Bench()
    bench.running()
    bench.send("Steer", if_busy="steer")
    sent = bench.send("Other", after="m_1", if_busy="interrupt")
    assert [event["type"] for event in wire(sent.events)] == [
        "run.cancelled",
        "session.rewound",
        "message.added",
        "run.queued",
    ]
    assert bench.session.ledger.unread == []


def test_regenerate_the_answer_to_steering() -> None:
    bench = Bench()
    bench.running()
    bench.send("Steer", if_busy="steer")
    bench.send("More", if_busy="steer")
    started = bench.run_start(after="m_2", if_busy="interrupt")
    assert wire(started.events) == [
        e("run.cancelled", run="r_1", by="dev"),
        e("session.rewound", after="m_2"),
        e("run.queued", run="r_2", client="tab_A", trigger="m_2"),
    ]
    assert bench.session.ledger.unread == []
    bench.claim_run()
    bench.complete()
    assert bench.state.queue == []


def test_steering_before_what_is_edited_is_read_by_the_new_run() -> None:
    bench = Bench()
    bench.running()
    bench.send("Steer", if_busy="steer")
    bench.send("More", if_busy="steer")
    bench.send("Other", after="m_2", if_busy="interrupt")
    assert [r.trigger for r in bench.state.queue] == ["m_4"]
    assert bench.session.ledger.unread == ["m_2"]


def test_after_with_interrupt_is_refused_where_a_message_waits() -> None:
    """And so is one that starts nothing where steering is left: nothing would ever read it."""
    bench = Bench()
    bench.send()
    bench.send("Two", if_busy="enqueue")
    bench.send("Steer", if_busy="steer")
    assert bench.send_refused(after="m_1", if_busy="interrupt") == "session.busy"
    bench.interrupt()
    assert bench.send_refused(after="m_1", if_busy="interrupt") == "session.busy"
    bench = Bench()
    bench.running()
    bench.send("Steer", if_busy="steer")
    refused = bench.send_refused(after="m_2", if_busy="interrupt", start=False)
    assert refused == "session.busy"


def test_interrupt_with_a_message_that_starts_nothing() -> None:
    bench = Bench()
    bench.running()
    sent = bench.send(start=False, if_busy="interrupt")
    assert [event["type"] for event in wire(sent.events)] == ["run.cancelled", "message.added"]
    assert bench.state.queue == []


def test_interrupt_stops_a_run_that_no_worker_has_taken_yet() -> None:
    bench = Bench()
    bench.send("One")
    sent = bench.send("Two", if_busy="interrupt")
    assert wire(sent.events)[0] == e("run.cancelled", run="r_1", by="dev")
    assert [event["type"] for event in wire(sent.events)] == [
        "run.cancelled",
        "message.added",
        "run.queued",
    ]
    assert [r.id for r in bench.state.queue] == ["r_2"]
    assert sent.claimable_at == bench.clock()
    bench.send("Three", after="m_1", if_busy="interrupt")
    assert [m.id for m in bench.state.messages] == ["m_1", "m_3"]


def test_interrupt_loses_no_message_that_waits() -> None:
    bench = Bench()
    bench.running()
    bench.send("Two", if_busy="enqueue")
    bench.complete()
    sent = bench.send("Three", if_busy="interrupt")
    assert [event["type"] for event in wire(sent.events)] == ["run.queued"]
    assert [r.trigger for r in bench.state.queue] == ["m_2", "m_3"]


def test_after_with_interrupt_would_lose_what_waits() -> None:
    bench = Bench()
    bench.running()
    bench.send("Two", if_busy="enqueue")
    assert bench.send_refused(after="m_1", if_busy="interrupt") == "session.busy"


# --- run.start


def test_a_run_cannot_steer() -> None:
    bench = Bench()
    bench.running()
    command = cmd.RunStart(id="k", session="s_1", if_busy="steer")
    assert bench.refused(command) == "session.busy"
    command = cmd.RunStart(id="k", session="s_1")
    assert bench.refused(command) == "session.busy"


def test_a_run_that_waits_has_its_input_and_no_message() -> None:
    bench = Bench()
    bench.running()
    queued = bench.run_start(if_busy="enqueue", input=[1])
    assert wire(queued.events) == [e("run.queued", run="r_2", client="tab_A", input=[1])]
    bench.complete()
    assert wire(bench.claim_run().events) == [e("run.started", run="r_2")]


def test_an_idle_session_starts_at_once() -> None:
    bench = Bench()
    assert bench.run_start(if_busy="steer").claimable_at == bench.clock()


# --- run.interrupt


def test_a_stop_names_its_run() -> None:
    bench = Bench()
    bench.running()
    bench.complete()
    bench.running()
    assert bench.interrupt_refused("r_1") == "run.not_active", "it came too late"
    assert wire(bench.interrupt("r_2").events) == [e("run.cancelled", run="r_2", by="dev")]


def test_nothing_to_stop() -> None:
    assert Bench().interrupt_refused() == "run.not_active"


def test_a_queued_run_is_removed_with_its_message() -> None:
    bench = Bench()
    bench.running()
    bench.send("Two", if_busy="enqueue")
    bench.send("Three", if_busy="enqueue")
    stopped = bench.interrupt("r_2", "changed my mind")
    assert wire(stopped.events) == [
        e("run.cancelled", run="r_2", by="dev", reason="changed my mind")
    ]
    assert not stopped.raise_fence, "the live run goes on"
    assert [run.id for run in bench.state.queue] == ["r_3"]


def test_a_stop_before_any_worker_came() -> None:
    bench = Bench()
    bench.send()
    bench.send("Two", if_busy="enqueue")
    stopped = bench.interrupt()
    assert wire(stopped.events) == [e("run.cancelled", run="r_1", by="dev")]
    assert stopped.claimable_at == bench.clock()
    stopped = bench.interrupt()
    assert stopped.claimable_at is None
    assert stopped.raise_fence


def test_a_stop_before_any_worker_came_with_steering() -> None:
    bench = Bench()
    bench.send()
    bench.send("Two", if_busy="steer")
    stopped = bench.interrupt()
    assert wire(stopped.events) == [
        e("run.cancelled", run="r_1", by="dev"),
        e("run.queued", run="r_2", client="tab_A", trigger="m_2"),
    ]
    assert stopped.claimable_at == bench.clock()


def test_a_stop_closes_approvals_and_leaves_children_as_orphans() -> None:
    bench = Bench(ASK)
    bench.running()
    bench.calls(("rename_page", {}))
    bench.step(
        inputs.ChildStep(child_session="s_2", child_run="r_9", agent="echo", status="started")
    )
    stopped = bench.interrupt()
    assert wire(stopped.events) == [
        e(
            "tool_call.completed",
            call="c_1",
            error={"code": "tool.cancelled", "message": "The run was cancelled."},
        ),
        e("approval.resolved", approval="ap_1", decision="cancelled"),
        e("run.cancelled", run="r_1", by="dev"),
    ]
    (orphan,) = bench.session.ledger.orphans
    assert (orphan.session, orphan.run) == ("s_2", "r_9")
    assert bench.deadline == bench.clock()
