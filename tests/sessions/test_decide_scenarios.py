"""The protocol's examples, decided: every event of each append with its fields, in order."""

from typing import Any

from gateway.sessions import inputs
from protocol.values import Progress
from tests.sessions.bench import ASK, READ, WRITE, Bench, e, text, wire


def added(message: str, content: str) -> dict[str, Any]:
    return e("message.added", message=message, role="user", parts=text(content), by="dev")


def test_a_message_and_its_answer() -> None:
    bench = Bench()
    bench.at("00:00:00.002")
    sent = bench.send("Hello")
    assert wire(sent.events) == [
        added("m_1", "Hello"),
        e("run.queued", run="r_1", client="tab_A", trigger="m_1"),
    ]
    assert sent.ok == {"message": "m_1", "run": "r_1"}
    assert {event.time for event in sent.events} == {"2026-01-01T00:00:00.002Z"}
    assert sent.claimable_at == bench.clock()
    assert wire(bench.claim_run().events) == [e("run.started", run="r_1")]
    message = bench.message()
    assert wire(bench.appends[-1]) == [e("message.started", message="m_2", run="r_1")]
    bench.say(message, "Hi!")
    ended = bench.end_message(message)
    assert wire(ended.events) == [e("message.completed", message="m_2", status="complete")]
    done = bench.complete()
    assert wire(done.events) == [e("run.completed", run="r_1")]
    assert done.raise_fence
    assert done.claimable_at is None
    assert bench.deadline is None


def test_a_client_tool_and_two_tabs() -> None:
    bench = Bench(READ)
    bench.at("00:00:01.000")
    bench.running()
    bench.at("00:00:01.004")
    asked = bench.calls(("read_heading", {"level": 1}))
    assert wire(asked.events) == [
        e("message.started", message="m_2", run="r_1"),
        e(
            "tool_call.started",
            message="m_2",
            part=0,
            call="c_1",
            name="read_heading",
            target="client",
        ),
        e("message.completed", message="m_2", status="complete"),
        e(
            "tool_call.requested",
            call="c_1",
            run="r_1",
            message="m_2",
            name="read_heading",
            arguments={"level": 1},
            target="client",
            client="tab_A",
            deadline="2026-01-01T00:02:01.004Z",
            lease_ms=15000,
        ),
        e("run.waiting", run="r_1", on=["c_1"]),
    ]
    bench.at("00:00:01.010")
    claimed = bench.claim("c_1")
    assert claimed.ok == {"lease_ms": 15000}
    assert wire(claimed.events) == [
        e("tool_call.claimed", call="c_1", client="tab_A", lease_until="2026-01-01T00:00:16.010Z")
    ]
    assert bench.refused(bench.claiming("c_1"), "tab_B") == "tool.held"
    bench.at("00:00:06.010")
    renewed = bench.command(bench.renewing("c_1", progress=Progress(text="scrolling")))
    assert renewed.ok == {"lease_ms": 15000}
    assert wire(renewed.events) == [
        e("tool_call.claimed", call="c_1", client="tab_A", lease_until="2026-01-01T00:00:21.010Z"),
        e("tool_call.progress", call="c_1", text="scrolling"),
    ]
    bench.at("00:00:08.000")
    result = bench.result("c_1", output={"text": "Welcome"})
    assert result.ok == {}
    assert wire(result.events) == [e("tool_call.completed", call="c_1", output={"text": "Welcome"})]
    assert bench.state.run.status == "running", "it runs again without an event of its own"
    bench.end_message(bench.message())
    assert wire(bench.complete().events) == [e("run.completed", run="r_1")]


def test_a_tab_is_lost_and_another_takes_over() -> None:
    bench = Bench(READ)
    bench.at("00:01:00.000")
    bench.running()
    bench.calls(("read_heading", {"level": 1}))
    bench.at("00:01:00.010")
    bench.claim("c_1")
    assert bench.deadline == bench.clock() + 15
    bench.at("00:01:15.020")
    assert wire(bench.tick().events) == [
        e("tool_call.released", call="c_1", reason="lease_expired")
    ]
    assert bench.state.calls["c_1"].client == "tab_A", "the last holder"
    bench.at("00:01:15.040")
    assert wire(bench.claim("c_1", "tab_B").events) == [
        e("tool_call.claimed", call="c_1", client="tab_B", lease_until="2026-01-01T00:01:30.040Z")
    ]
    result = bench.result("c_1", "tab_B", output={"text": "Welcome"})
    assert result.claimable_at == bench.clock(), "the attempt was parked"
    assert wire(bench.claim_run().events) == [e("run.resumed", run="r_1", attempt=2)]
    bench.end_message(bench.message())
    assert wire(bench.complete().events) == [e("run.completed", run="r_1")]


def asked_to_rename(bench: Bench) -> None:
    bench.running()
    bench.at("00:00:01.003")
    asked = bench.calls(("rename_page", {"title": "Q1"}))
    assert wire(asked.events)[2:] == [
        e("message.completed", message="m_2", status="complete"),
        e(
            "approval.requested",
            approval="ap_1",
            run="r_1",
            call="c_1",
            title="rename_page",
            arguments={"title": "Q1"},
            deadline="2026-01-02T00:00:01.003Z",
        ),
        e("run.waiting", run="r_1", on=["ap_1"]),
    ]


def test_a_tool_that_needs_approval() -> None:
    bench = Bench(ASK)
    asked_to_rename(bench)
    assert bench.refused(bench.claiming("c_1")) == "tool.unknown", "consent first"
    bench.at("00:00:05.000")
    decided = bench.respond("ap_1", "approve", arguments={"title": "Q1 report"})
    assert wire(decided.events) == [
        e(
            "approval.resolved",
            approval="ap_1",
            decision="approve",
            arguments={"title": "Q1 report"},
            by="dev",
        ),
        e(
            "tool_call.requested",
            call="c_1",
            run="r_1",
            message="m_2",
            name="rename_page",
            arguments={"title": "Q1 report"},
            target="client",
            client="tab_A",
            deadline="2026-01-01T00:02:05.000Z",
            lease_ms=15000,
        ),
        e("run.waiting", run="r_1", on=["c_1"]),
    ]
    bench.claim("c_1")
    assert wire(bench.result("c_1", output="ok").events) == [
        e("tool_call.completed", call="c_1", output="ok")
    ]


def test_an_approval_denied() -> None:
    bench = Bench(ASK)
    asked_to_rename(bench)
    bench.at("00:00:09.000")
    decided = bench.respond("ap_1", "deny", reason="Not now.")
    assert wire(decided.events) == [
        e("approval.resolved", approval="ap_1", decision="deny", reason="Not now.", by="dev"),
        e(
            "tool_call.completed",
            call="c_1",
            error={"code": "tool.denied", "message": "Not now."},
        ),
    ]
    assert decided.claimable_at == bench.clock()
    assert bench.state.run.status == "running", "a result for the agent, not the end of the run"
    assert bench.refused(bench.responding("ap_1", "approve")) == "approval.closed"


def test_stop_in_mid_stream_with_an_open_client_call() -> None:
    bench = Bench(WRITE)
    bench.running("What is on this page?", message="m_1")
    bench.ids("m")  # the page made it
    bench.calls(("scan_page", {}))
    bench.claim("c_1")
    talking = bench.message()
    assert bench.state.run.status == "running", "the new message ends the wait"
    bench.say(talking, "While your page")
    stopped = bench.interrupt(reason="user pressed Stop")
    assert wire(stopped.events) == [
        e("message.completed", message="m_3", status="interrupted"),
        e(
            "tool_call.completed",
            call="c_1",
            error={"code": "tool.cancelled", "message": "The run was cancelled."},
        ),
        e("run.cancelled", run="r_1", by="dev", reason="user pressed Stop"),
    ]
    assert stopped.raise_fence
    assert stopped.ok == {}
    assert bench.refused(bench.resulting("c_1", output=["Welcome"])) == "tool.closed"
    assert bench.interrupt_refused() == "run.not_active"


def test_stop_while_arguments_stream() -> None:
    bench = Bench(WRITE)
    bench.running()
    message = bench.message()
    bench.say(message, "I will look.")
    bench.step(inputs.StartCall(call=bench.ids("c"), part=1, name="scan_page", target="client"))
    assert wire(bench.interrupt("r_1").events) == [
        e("message.completed", message="m_2", status="interrupted"),
        e(
            "tool_call.completed",
            call="c_1",
            error={"code": "tool.cancelled", "message": "The run was cancelled."},
        ),
        e("run.cancelled", run="r_1", by="dev"),
    ]


def test_busy_reject_enqueue_steer_interrupt() -> None:
    bench = Bench()
    bench.running("One")
    one = bench.message()
    assert bench.send_refused("Two") == "session.busy"

    queued = bench.send("Two", if_busy="enqueue")
    assert queued.ok == {"message": "m_3", "run": "r_2"}
    assert wire(queued.events) == [
        e(
            "run.queued",
            run="r_2",
            client="tab_A",
            trigger="m_3",
            content=text("Two"),
            by="dev",
        )
    ]
    assert queued.claimable_at is None
    bench.end_message(one)
    done = bench.complete()
    assert wire(done.events) == [e("run.completed", run="r_1")]
    assert done.claimable_at == bench.clock()
    assert bench.state.message("m_3") is None
    assert wire(bench.claim_run().events) == [added("m_3", "Two"), e("run.started", run="r_2")]

    two = bench.message()
    steering = bench.send("Six", if_busy="steer")
    assert steering.ok == {"message": "m_5", "run": "r_2"}
    assert wire(steering.events) == [added("m_5", "Six")]
    bench.end_message(two)
    done = bench.complete()
    assert wire(done.events) == [
        e("run.completed", run="r_2"),
        e("run.queued", run="r_3", client="tab_A", trigger="m_5"),
    ]
    assert done.claimable_at == bench.clock()
    assert wire(bench.claim_run().events) == [e("run.started", run="r_3")]

    bench.message()
    sent = bench.send("Ten", if_busy="interrupt")
    assert sent.ok == {"message": "m_7", "run": "r_4"}
    assert wire(sent.events) == [
        e("message.completed", message="m_6", status="interrupted"),
        e("run.cancelled", run="r_3", by="dev"),
        added("m_7", "Ten"),
        e("run.queued", run="r_4", client="tab_A", trigger="m_7"),
    ]
    assert sent.raise_fence
    assert sent.claimable_at == bench.clock()


def test_a_worker_is_lost() -> None:
    bench = Bench(READ)
    bench.running()
    bench.calls(("read_heading", {"level": 1}))
    bench.claim("c_1")
    bench.result("c_1", output="Hi")
    message = bench.message()
    bench.say(message, "The ")
    assert wire(bench.claim_run(lost=True).events) == [
        e("run.retrying", run="r_1", attempt=2, reason="worker.lost"),
        e("message.completed", message="m_3", status="discarded"),
    ]
    assert [m.id for m in bench.state.messages] == ["m_1", "m_2"]
    bench.end_message(bench.message())
    assert wire(bench.complete().events) == [e("run.completed", run="r_1")]
