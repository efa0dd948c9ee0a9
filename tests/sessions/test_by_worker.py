"""What a worker does in its run: each step's events, and what no producer may do."""

import pytest

from gateway.sessions import inputs
from protocol.values import ErrorInfo, Usage
from tests.sessions.bench import ASK, READ, WRITE, Bench, e, wire

INVALID = ErrorInfo("tool.failed", "There is no such tool.")


def request(call: str, name: str = "read_heading", **fields: object) -> inputs.CallRequest:
    return inputs.CallRequest(call=call, name=name, arguments={}, target="client", **fields)  # type: ignore[arg-type]


def start_call(bench: Bench, part: int = 0, name: str = "read_heading", **fields: object) -> str:
    call = bench.ids("c")
    bench.step(inputs.StartCall(call=call, part=part, name=name, target="client", **fields))
    return call


def child(status: str, run: str = "r_9") -> inputs.ChildStep:
    return inputs.ChildStep(child_session="s_2", child_run=run, agent="echo", status=status)  # type: ignore[arg-type]


# --- claiming


def test_nothing_to_run() -> None:
    bench = Bench()
    decision = bench.claim_run()
    assert decision.events == []
    assert decision.ok == {}


def test_the_head_of_the_queue_starts() -> None:
    bench = Bench()
    bench.send("One")
    bench.send("Two", if_busy="enqueue", metadata={"a": 1}, client="")
    assert bench.claim_run().ok == {"run": "r_1"}
    bench.complete()
    assert wire(bench.claim_run().events) == [
        e(
            "message.added",
            message="m_2",
            role="user",
            parts=[{"kind": "text", "text": "Two"}],
            by="dev",
            metadata={"a": 1},
        ),
        e("run.started", run="r_2"),
    ]
    assert bench.session.ledger.unread == []


def test_three_attempts_and_no_more() -> None:
    bench = Bench()
    bench.running()
    for attempt in (2, 3):
        bench.message()
        assert wire(bench.claim_run(lost=True).events)[0]["attempt"] == attempt
    bench.message()
    failed = bench.claim_run(lost=True)
    assert [x["type"] for x in wire(failed.events)] == ["message.completed", "run.failed"]
    assert wire(failed.events)[0]["status"] == "failed"
    assert wire(failed.events)[1]["error"]["code"] == "worker.lost"
    assert failed.raise_fence
    assert failed.ok == {}


@pytest.mark.parametrize("progress", ["message", "call", "approval"])
def test_progress_resets_the_count(progress: str) -> None:
    bench = Bench(READ)
    bench.running()
    for _ in range(4):
        bench.claim_run(lost=True)
        if progress == "message":
            bench.end_message(bench.message())
        elif progress == "call":
            bench.result(bench.call("read_heading"))
        else:
            bench.respond(bench.ask(), "deny")
    assert bench.state.run.attempt == 5


def test_a_new_run_starts_counting_anew() -> None:
    bench = Bench()
    for _ in range(3):
        bench.running()
        for _ in range(2):
            assert wire(bench.claim_run(lost=True).events)[0]["type"] == "run.retrying"
        bench.interrupt()


def test_a_poison_run_does_not_block_the_queue() -> None:
    bench = Bench()
    bench.running()
    bench.send("Next", if_busy="enqueue")
    for _ in range(2):
        bench.claim_run(lost=True)
    failed = bench.claim_run(lost=True)
    assert failed.claimable_at == bench.clock()
    assert bench.claim_run().ok == {"run": "r_2"}


def test_a_park_does_not_count() -> None:
    bench = Bench()
    bench.running()
    for attempt in range(2, 9):
        bench.respond(bench.ask(), "approve")
        assert wire(bench.claim_run().events) == [e("run.resumed", run="r_1", attempt=attempt)]


def test_a_lost_attempt_says_why() -> None:
    bench = Bench()
    bench.running()
    decision = bench.step(inputs.ClaimRun(resume="history", lost=True, reason="log.changed"))
    assert wire(decision.events)[0]["reason"] == "log.changed"


@pytest.mark.parametrize("lost", [True, False])
def test_an_agent_that_cannot_resume_fails_with_its_worker(lost: bool) -> None:
    bench = Bench()
    bench.running()
    failed = bench.claim_run("none", lost=lost)
    assert wire(failed.events) == [
        e(
            "run.failed",
            run="r_1",
            error={"code": "worker.lost", "message": "The worker of the run was lost."},
        )
    ]


def test_a_discarded_message_takes_its_streaming_calls_along() -> None:
    bench = Bench(READ)
    bench.running()
    bench.message()
    start_call(bench)
    bench.claim_run(lost=True)
    assert bench.state.calls == {}
    assert bench.session.ledger.open_calls == {}


@pytest.mark.parametrize("lost", [True, False])
def test_what_is_still_open_is_announced_again(lost: bool) -> None:
    bench = Bench(READ)
    bench.running()
    bench.calls(("read_heading", 1), ("read_heading", 2))
    bench.result("c_1")
    assert wire(bench.claim_run(lost=lost).events)[1:] == [
        e("run.waiting", run="r_1", on=["c_2"])
    ], "or it would never be parked again"


# --- messages


def test_a_step_needs_a_live_run() -> None:
    bench = Bench()
    bench.send()
    steps: list[inputs.AnyStep] = [
        inputs.StartMessage(message="m_9"),
        inputs.StartCall(call="c_9", part=0, name="x", target="server"),
        inputs.EndMessage(message="m_9"),
        inputs.RequestCalls(message="m_9", calls=[request("c_9")]),
        inputs.ServerResult(call="c_9"),
        inputs.AskApproval(approval="ap_9", title="x"),
        child("started"),
        inputs.UpdateSession(metadata={"a": 1}),
        inputs.CompleteRun(),
        inputs.FailRun(error=INVALID),
    ]
    for step in steps:
        assert bench.broken(step) == "There is no live run."
    bench.running(if_busy="interrupt")
    bench.interrupt()
    for step in steps:
        assert bench.broken(step) == "There is no live run."


def test_one_message_at_a_time() -> None:
    bench = Bench(READ)
    bench.running()
    open_message = bench.message()
    for step in (
        inputs.StartMessage(message="m_9"),
        inputs.RequestCalls(message="m_9", calls=[request("c_9")]),
        inputs.AskApproval(approval="ap_9", title="x"),
    ):
        assert bench.broken(step) == f"Message {open_message} is still open."


def test_a_message_id_is_used_once() -> None:
    bench = Bench(READ)
    bench.running()
    assert "exists" in bench.broken(inputs.StartMessage(message="m_1"))
    assert "exists" in bench.broken(inputs.RequestCalls(message="m_1", calls=[request("c_1")]))


def test_only_the_open_message_ends() -> None:
    bench = Bench()
    bench.running()
    assert "not the open one" in bench.broken(inputs.EndMessage(message="m_1"))
    message = bench.message()
    assert "not the open one" in bench.broken(inputs.EndMessage(message="m_1"))
    ended = bench.end_message(message, usage=Usage(1, 2))
    assert wire(ended.events)[0]["usage"] == {"input_tokens": 1, "output_tokens": 2}
    assert "not the open one" in bench.broken(inputs.EndMessage(message=message))


# --- calls


def test_a_call_starts_in_an_open_message_once() -> None:
    bench = Bench(READ)
    bench.running()
    step = inputs.StartCall(call="c_1", part=0, name="x", target="client", provider={"id": 7})
    assert "outside" in bench.broken(step)
    bench.message()
    assert wire(bench.step(step).events)[0]["provider"] == {"id": 7}
    assert "exists" in bench.broken(step)


def test_a_model_step_with_calls() -> None:
    bench = Bench(READ, ASK)
    bench.running()
    message = bench.message()
    calls = [start_call(bench, 0), start_call(bench, 1, "rename_page"), start_call(bench, 2, "?")]
    ended = bench.end_message(
        message,
        calls=[request(calls[0]), request(calls[1], "rename_page")],
        invalid={calls[2]: INVALID},
    )
    assert [x["type"] for x in wire(ended.events)] == [
        "message.completed",
        "tool_call.requested",
        "approval.requested",
        "tool_call.completed",
        "run.waiting",
    ]
    assert bench.state.run.on == ["c_1", "ap_1"]


def test_a_model_step_whose_calls_are_all_impossible() -> None:
    bench = Bench()
    bench.running()
    message = bench.message()
    call = start_call(bench)
    ended = bench.end_message(message, calls=[request(call)], invalid={call: INVALID})
    assert [x["type"] for x in wire(ended.events)] == ["message.completed", "tool_call.completed"]


def test_the_end_of_a_message_settles_each_of_its_calls() -> None:
    bench = Bench(READ)
    bench.running()
    old = bench.call("read_heading")
    message = bench.message()
    call = start_call(bench)
    text = f"The end of message {message} must request each call it started."
    for calls, invalid in (
        ([], {}),
        ([request(call), request(call)], {}),
        ([request(call), request("c_9")], {}),
        ([request(call), request(old)], {}),
        ([request(call)], {"c_9": INVALID}),
        ([request(call)], {old: INVALID}),
    ):
        step = inputs.EndMessage(message=message, calls=calls, invalid=invalid)
        assert bench.broken(step) == text
    step = inputs.RequestCalls(message="m_9", calls=[request("c_9")], invalid={"c_8": INVALID})
    bench.end_message(message, calls=[request(call)])
    assert "must request" in bench.broken(step)


def test_a_failed_message_closes_what_it_began() -> None:
    bench = Bench(READ)
    bench.running()
    message = bench.message()
    first, second = start_call(bench), start_call(bench, 1)
    ended = bench.end_message(message, status="failed", invalid={first: INVALID})
    assert [(x["type"], x.get("call")) for x in wire(ended.events)] == [
        ("message.completed", None),
        ("tool_call.completed", first),
        ("tool_call.completed", second),
    ]
    assert wire(ended.events)[2]["error"]["code"] == "tool.cancelled"


def test_several_calls_are_parts_of_one_message() -> None:
    bench = Bench(READ)
    bench.running()
    asked = bench.calls(("read_heading", 1), ("read_heading", 2))
    parts = [(x["part"], x["call"]) for x in wire(asked.events) if "part" in x]
    assert parts == [(0, "c_1"), (1, "c_2")]
    assert [x["type"] for x in wire(asked.events)].count("run.waiting") == 1


def test_a_call_added_to_a_wait_is_announced_with_all() -> None:
    bench = Bench(READ)
    bench.running()
    bench.call("read_heading")
    asked = bench.calls(("read_heading", 2))
    assert wire(asked.events)[-1] == e("run.waiting", run="r_1", on=["c_1", "c_2"])
    bench.ask()
    assert wire(bench.appends[-1])[-1] == e("run.waiting", run="r_1", on=["c_1", "c_2", "ap_1"])


def test_server_calls() -> None:
    bench = Bench(READ)
    bench.running()
    asked = bench.calls(("search", {"q": 1}), target="server", timeout_ms=1000)
    requested = wire(asked.events)[-1]
    assert requested == e(
        "tool_call.requested",
        call="c_1",
        run="r_1",
        message="m_2",
        name="search",
        arguments={"q": 1},
        target="server",
        deadline="2026-01-01T00:00:01.000Z",
    )
    asked = bench.calls(("read_heading", {}))
    assert wire(asked.events)[-1]["type"] == "tool_call.requested", "the server call goes on"
    done = bench.step(inputs.ServerResult(call="c_1", output=[1]))
    assert wire(done.events) == [
        e("tool_call.completed", call="c_1", output=[1]),
        e("run.waiting", run="r_1", on=["c_2"]),
    ]
    assert bench.step(inputs.ServerResult(call="c_1")).events == [], "it is late"
    assert bench.step(inputs.ServerResult(call="c_9")).events == []


def test_a_server_call_ends_a_wait() -> None:
    bench = Bench(READ)
    bench.running()
    bench.call("read_heading")
    bench.calls(("search", {}), target="server")
    assert (bench.state.run.status, bench.state.run.on) == ("running", None)


def test_a_worker_answers_only_its_own_calls() -> None:
    bench = Bench(READ)
    bench.running()
    call = bench.call("read_heading")
    assert "not a requested server call" in bench.broken(inputs.ServerResult(call=call))
    bench.calls(("ask", {}), target="server", approval=True)
    assert "not a requested server call" in bench.broken(inputs.ServerResult(call="c_2"))


def test_a_tool_that_the_page_does_not_declare() -> None:
    bench = Bench()
    bench.running()
    requested = wire(bench.calls(("other", {})).events)[3]
    assert (requested["lease_ms"], requested["deadline"]) == (15000, "2026-01-01T00:02:00.000Z")


# --- approvals, children, the session


def test_a_question() -> None:
    bench = Bench(ttl_s=3600)
    bench.running()
    bench.ask("Sure?", {"n": 1})
    assert wire(bench.appends[-1]) == [
        e(
            "approval.requested",
            approval="ap_1",
            run="r_1",
            title="Sure?",
            arguments={"n": 1},
            deadline="2026-01-01T01:00:00.000Z",
        ),
        e("run.waiting", run="r_1", on=["ap_1"]),
    ]
    assert "exists" in bench.broken(inputs.AskApproval(approval="ap_1", title="x"))


def test_children_end_a_wait_and_bring_it_back() -> None:
    bench = Bench(WRITE)
    bench.running()
    bench.call("scan_page")
    assert wire(bench.step(child("started")).events) == [
        e(
            "run.child",
            run="r_1",
            child_session="s_2",
            child_run="r_9",
            agent="echo",
            status="started",
        )
    ]
    assert bench.state.run.status == "running"
    ended = bench.step(child("completed"))
    assert [x["type"] for x in wire(ended.events)] == ["run.child", "run.waiting"]
    bench.complete()
    assert bench.session.ledger.orphans == []


def test_children_are_left_behind_at_every_end() -> None:
    bench = Bench()
    bench.running()
    bench.step(child("started"))
    bench.step(child("started", "r_8"))
    bench.step(child("failed", "r_8"))
    bench.fail()
    assert [o.run for o in bench.session.ledger.orphans] == ["r_9"]
    assert bench.session.ledger.children == {}


def test_the_agent_changes_its_session() -> None:
    bench = Bench(READ)
    bench.running()
    step = inputs.UpdateSession(metadata={"title": "A"}, tools=[WRITE])
    assert wire(bench.step(step).events)[0]["metadata"] == {"title": "A"}
    assert bench.step(step).events == []
    assert wire(bench.step(inputs.UpdateSession(metadata={"title": None})).events) == [
        e("session.updated", metadata={})
    ]


# --- ends


def test_a_run_completes_with_its_last_output() -> None:
    bench = Bench()
    bench.running()
    bench.state.run.output = {"partial": 1}
    done = bench.complete(finish_reason="length", usage=Usage(1, 2))
    assert wire(done.events) == [
        e(
            "run.completed",
            run="r_1",
            output={"partial": 1},
            finish_reason="length",
            usage={"input_tokens": 1, "output_tokens": 2},
        )
    ]


def test_an_end_closes_what_was_left_open() -> None:
    bench = Bench(READ)
    bench.running()
    bench.call("read_heading")
    bench.ask()
    bench.message()
    done = bench.complete(output=0)
    assert [x["type"] for x in wire(done.events)] == [
        "message.completed",
        "tool_call.completed",
        "approval.resolved",
        "run.completed",
    ]
    assert wire(done.events)[-1]["output"] == 0


def test_a_failure_closes_and_fails_the_message() -> None:
    bench = Bench(READ)
    bench.running()
    bench.message()
    start_call(bench)
    failed = bench.fail("model.failed")
    assert wire(failed.events) == [
        e("message.completed", message="m_2", status="failed"),
        e(
            "tool_call.completed",
            call="c_1",
            error={"code": "tool.cancelled", "message": "The run has ended."},
        ),
        e("run.failed", run="r_1", error={"code": "model.failed", "message": "It failed."}),
    ]
    assert failed.raise_fence
