"""What happens when nobody does anything, and when to look for it."""

import pytest

from gateway.sessions.by_time import next_deadline
from gateway.sessions.draft import Rules
from protocol import events as ev
from protocol.values import Tool, time_text
from tests.sessions.bench import ASK, READ, WRITE, Bench, e, wire

DAY_S = 86_400


def ticked(bench: Bench) -> list[dict[str, object]]:
    """Goes to the deadline and ticks there."""
    assert bench.deadline is not None
    bench.clock.now = bench.deadline - 0.001
    assert bench.tick().events == [], "not before"
    bench.clock.now += 0.001
    return wire(bench.tick().events)


def called(tool: Tool, client: str = "tab_A") -> Bench:
    bench = Bench(tool)
    bench.send(client=client)
    bench.claim_run()
    bench.calls((tool.name, {}))
    return bench


def test_nothing_is_due_in_an_idle_session() -> None:
    bench = Bench()
    assert bench.deadline is None
    bench.clock.pass_(10 * DAY_S)
    assert bench.tick().events == []


# --- no worker


def test_after_a_while_a_waiting_run_says_so_once() -> None:
    bench = Bench()
    bench.send()
    assert bench.deadline == bench.clock() + 5
    assert ticked(bench) == [e("run.activity", run="r_1", activity="waiting_for_worker")]
    assert bench.state.queue[0].activity == "waiting_for_worker"
    assert bench.deadline == bench.clock() - 5 + DAY_S
    bench.claim_run()
    assert bench.state.run.activity is None


def test_behind_a_live_run_nobody_waits_for_a_worker() -> None:
    bench = Bench()
    bench.running()
    bench.send(if_busy="enqueue")
    assert bench.deadline == bench.clock() + DAY_S
    bench.complete()
    assert bench.deadline == bench.clock() + 5


# --- runs


def test_a_live_run_expires() -> None:
    bench = called(READ, client="")
    bench.result("c_1")
    message = bench.message()
    assert ticked(bench) == [
        e("message.completed", message=message, status="failed"),
        e(
            "run.failed",
            run="r_1",
            error={"code": "run.expired", "message": "The run took too long."},
        ),
    ]


def test_an_expired_run_makes_way() -> None:
    bench = Bench()
    bench.running()
    bench.clock.pass_(100)
    bench.send("Two", if_busy="enqueue")
    bench.clock.pass_(DAY_S - 100)
    decision = bench.tick()
    assert decision.raise_fence
    assert decision.claimable_at == bench.clock()
    assert [run.id for run in bench.state.queue] == ["r_2"]


def test_queued_runs_expire_too_and_the_next_gets_its_turn() -> None:
    bench = Bench()
    bench.send()
    bench.send("steer", if_busy="steer")
    bench.clock.pass_(DAY_S)
    decision = bench.tick()
    assert wire(decision.events) == [
        e(
            "run.failed",
            run="r_1",
            error={"code": "run.expired", "message": "The run took too long."},
        ),
        e("run.queued", run="r_2", trigger="m_2"),
    ]
    assert decision.claimable_at == bench.clock()


def test_a_queued_run_expires_beside_a_live_one() -> None:
    bench = Bench()
    before = bench.time
    bench.clock.pass_(1)
    bench.running()
    bench.fold(ev.RunQueued(time=before, run="r_2"))
    assert ticked(bench) == [
        e(
            "run.failed",
            run="r_2",
            error={"code": "run.expired", "message": "The run took too long."},
        )
    ]
    assert bench.state.run.status == "running"


# --- calls


def test_unclaimed_the_call_is_released_to_all_and_then_there_is_no_client() -> None:
    bench = called(READ)
    assert bench.deadline == bench.clock() + 15
    assert ticked(bench) == [e("tool_call.released", call="c_1", reason="unclaimed")]
    assert bench.state.calls["c_1"].client is None
    closed = ticked(bench)
    assert closed == [
        e(
            "tool_call.completed",
            call="c_1",
            error={
                "code": "tool.no_client",
                "message": "No client took the tool call in time.",
            },
        )
    ]


def test_the_deadline_of_a_claimed_call_is_a_timeout() -> None:
    bench = called(READ)
    start = bench.clock()
    for _ in range(11):
        bench.command(bench.renewing("c_1"))
        bench.clock.pass_(10)
    bench.command(bench.renewing("c_1"))
    assert bench.deadline == start + 120
    (closed,) = ticked(bench)
    assert closed["error"] == {
        "code": "tool.timeout",
        "message": "The tool did not answer in time.",
    }


def test_a_call_claimed_once_times_out_though_released() -> None:
    bench = called(READ)
    bench.claim("c_1")
    assert ticked(bench)[0]["type"] == "tool_call.released"
    assert ticked(bench)[0]["error"]["code"] == "tool.timeout"  # type: ignore[index]


def test_a_lease_of_a_tool_that_is_not_idempotent() -> None:
    bench = called(WRITE)
    bench.claim("c_1")
    assert ticked(bench) == [e("tool_call.released", call="c_1", reason="lease_expired")]
    released = bench.clock()
    decision = ticked(bench)
    assert bench.clock() == released + 15
    assert decision[0]["error"]["code"] == "tool.outcome_unknown"  # type: ignore[index]


def test_a_closed_call_wakes_the_run() -> None:
    bench = called(READ, client="")
    bench.clock.pass_(120)
    decision = bench.tick()
    assert decision.claimable_at == bench.clock()
    assert not decision.raise_fence


def test_a_tools_own_times() -> None:
    tool = Tool("slow", {}, lease_ms=600_000, timeout_ms=700_000)
    bench = called(tool)
    start = bench.clock()
    assert bench.deadline == start + 600
    bench.claim("c_1")
    bench.clock.pass_(599)
    bench.command(bench.renewing("c_1"))
    assert bench.deadline == start + 700


def test_server_calls_are_the_workers_business() -> None:
    bench = Bench()
    bench.running()
    bench.calls(("search", {}), target="server")
    assert bench.deadline == bench.clock() + DAY_S


# --- approvals


def test_an_approval_expires_with_its_call() -> None:
    bench = Bench(ASK)
    bench.running()
    bench.message()
    sure = bench.state.messages[-1].id
    bench.end_message(sure)
    soon = time_text(bench.clock() + 60)
    bench.fold(
        ev.MessageStarted(time=bench.time, message="m_x", run="r_1"),
        ev.ToolCallStarted(
            time=bench.time, message="m_x", part=0, call="c_1", name="rename_page", target="client"
        ),
        ev.MessageCompleted(time=bench.time, message="m_x", status="complete"),
        ev.ApprovalRequested(
            time=bench.time, approval="ap_1", run="r_1", call="c_1", title="x", deadline=soon
        ),
        ev.ApprovalRequested(time=bench.time, approval="ap_2", run="r_1", title="y", deadline=soon),
    )
    assert ticked(bench) == [
        e("approval.resolved", approval="ap_1", decision="expired"),
        e(
            "tool_call.completed",
            call="c_1",
            error={"code": "tool.timeout", "message": "Nobody decided about the call in time."},
        ),
        e("approval.resolved", approval="ap_2", decision="expired"),
    ]
    assert bench.refused(bench.responding("ap_1", "approve")) == "approval.closed"


# --- orphans


def test_orphans_are_due_at_once_until_somebody_has_seen_to_them() -> None:
    bench = Bench()
    bench.running()
    bench.fold(
        ev.RunChild(
            time=bench.time,
            run="r_1",
            child_session="s_2",
            child_run="r_9",
            agent="echo",
            status="started",
        )
    )
    bench.interrupt()
    assert bench.deadline == bench.clock()
    assert bench.tick().events == []
    assert next_deadline(bench.session, bench.rules, orphans=False) is None


@pytest.mark.parametrize("milliseconds", range(0, 1000, 37))
@pytest.mark.parametrize("ttl_s", [0.1, 1.3, 3600.7, DAY_S])
def test_at_the_deadline_it_is_never_too_early(milliseconds: int, ttl_s: float) -> None:
    """Sums of floats round: what `next_deadline` says must be due for `tick`."""
    bench = Bench(rules=Rules(run_ttl_s=ttl_s, unclaimed_notice_s=ttl_s / 3))
    bench.clock.pass_(milliseconds / 1000)
    bench.send()
    for kind in ("run.activity", "run.failed"):
        assert bench.deadline is not None
        bench.clock.now = bench.deadline
        assert [x["type"] for x in wire(bench.tick().events)] == [kind]
