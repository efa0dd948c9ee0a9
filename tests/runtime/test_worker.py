"""Claiming, taking over, giving away: what a worker does with runs."""

import asyncio
from typing import Any

import pytest

from gateway.errors import BrokerUnavailable
from gateway.runtime.agent import FunctionAgent, agent
from gateway.runtime.context import RunContext
from gateway.runtime.worker import Worker, WorkerOptions
from gateway.settings import WorkerSettings
from gateway.telemetry import Metrics
from protocol.state import State
from tests.runtime.stage import Stage, types
from tests.support.waiting import eventually


class Gated:
    """An agent that begins its runs, and waits in each until `go`."""

    def __init__(self, resume: Any = "none") -> None:
        self.begun = 0
        self.go = asyncio.Event()
        self.agent: FunctionAgent = agent(name="a", resume=resume)(self._run)

    async def _run(self, run: RunContext) -> None:
        self.begun += 1
        message = await run.open_message()
        await message.text("Begun.")
        await self.go.wait()
        await message.text(" Ended.")
        await message.end()


def speaking(state: State) -> bool:
    """Whether the agent's message has text."""
    return state.messages[-1].role == "assistant" and bool(state.messages[-1].parts)


async def test_no_more_runs_at_a_time_than_it_may() -> None:
    gated = Gated()
    stage = Stage([gated.agent])
    async with stage.worker(max_runs=2) as worker:
        for name in ("s_a", "s_b", "s_c"):
            await stage.command("session.create", agent="a", session=name)
            await stage.command("message.send", session=name, content="Hi")
        await eventually(lambda: gated.begun == 2)
        await asyncio.sleep(0)
        assert (gated.begun, worker.active) == (2, 2)
        gated.go.set()
        await eventually(lambda: gated.begun == 3)


async def test_two_workers_share_the_runs_and_none_is_run_twice() -> None:
    gated = Gated()
    gated.go.set()
    stage = Stage([gated.agent])
    names = [f"s_x{n}" for n in range(30)]
    async with stage.worker(), stage.worker():
        async with asyncio.TaskGroup() as group:
            for name in names:
                await stage.command("session.create", agent="a", session=name)
                group.create_task(stage.command("message.send", session=name, content="Hi"))
        await eventually(lambda: gated.begun == 30)
    for name in names:
        events = await stage.broker.read(name, 0, 100)
        assert sum(b'"run.started"' in body for _, body in events) == 1
        assert b'"run.completed"' in events[-1][1]


async def test_it_claims_only_what_it_can_run() -> None:
    stage = Stage([Gated().agent])
    await stage.create("somebody_elses")
    async with stage.worker(poll_s=0.01):
        await stage.send("Hi")
        stage.clock.advance(6)
        await stage.timers.fire()
        state = await stage.until(lambda s: s.queue and s.queue[0].activity)
    assert state.queue[0].activity == "waiting_for_worker"
    assert "run.started" not in types(await stage.events())


async def test_agents_under_other_names() -> None:
    gated = Gated()
    gated.go.set()
    stage = Stage([])
    await stage.create("other")
    worker = Worker(stage.store, {"other": gated.agent})
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run())
        await stage.send("Hi")
        await stage.ended()
        worker.stop()
    assert gated.begun == 1


async def test_a_session_that_cannot_be_loaded_now_is_tried_again() -> None:
    gated = Gated()
    gated.go.set()
    stage = Stage([gated.agent])
    load = stage.broker.load
    failures = [BrokerUnavailable(), BrokerUnavailable()]

    async def flaky(*args: Any, **rest: Any) -> Any:
        if failures:
            raise failures.pop()
        return await load(*args, **rest)

    await stage.create("a")
    await stage.send("Hi")
    stage.broker.load = flaky
    async with stage.worker(retry_s=0.01):
        await eventually(lambda: gated.begun == 1)
        state = await stage.ended()
    assert state.run is not None
    assert (state.run.status, state.run.attempt) == ("completed", 1)


@pytest.mark.parametrize("resume", ["history", "replay"])
async def test_a_lost_worker_is_replaced(resume: Any) -> None:
    gated = Gated(resume)
    stage = Stage([gated.agent])
    await stage.create("a")
    await stage.send("Hi")
    async with stage.lost_worker():
        await stage.until(speaking)
    gated.go.set()
    async with stage.worker(poll_s=0.01):
        assert stage.clock() < 1_767_225_601
        assert (await stage.state()).live_run is not None  # the lease still holds
        stage.clock.advance(15.1)
        state = await stage.ended()
    assert [m.status for m in state.messages] == ["complete", "complete"]
    assert types(await stage.events())[4:] == [
        "message.started",
        "message.delta",
        "run.retrying",
        "message.completed",
        "message.started",
        "message.delta",
        "message.completed",
        "run.completed",
    ]


async def test_an_agent_that_cannot_resume_fails_with_its_worker() -> None:
    gated = Gated()
    stage = Stage([gated.agent])
    await stage.create("a")
    await stage.send("Hi")
    async with stage.lost_worker():
        await stage.until(speaking)
    stage.clock.advance(15.1)
    async with stage.worker():
        state = await stage.ended()
    assert state.run is not None
    assert state.run.error is not None
    assert state.run.error.code == "worker.lost"
    assert gated.begun == 1


async def test_a_run_that_kills_every_worker_ends_and_the_next_one_runs() -> None:
    gated = Gated("history")
    stage = Stage([gated.agent])
    await stage.create("a")
    await stage.send("Hi")
    await stage.send("And then?", if_busy="enqueue")
    for attempt in (1, 2, 3):
        async with stage.lost_worker(backoff_s=0.0):
            await eventually(lambda n=attempt: gated.begun == n)
        stage.clock.advance(15.1)
    gated.go.set()
    async with stage.worker():
        await stage.ended("r_2")
    events = await stage.events()
    ends = [(e["type"], e["run"]) for e in events if e["type"] in ("run.failed", "run.completed")]
    assert ends == [("run.failed", "r_1"), ("run.completed", "r_2")]
    retries = [e["attempt"] for e in events if e["type"] == "run.retrying"]
    assert retries == [2, 3]
    assert gated.begun == 4


async def test_progress_resets_the_count_of_losses() -> None:
    begun: list[int] = []

    async def stubborn(run: RunContext) -> None:
        begun.append(1)
        if len(begun) > 4:
            return
        await run.say(f"Attempt {len(begun)}")
        await asyncio.Event().wait()

    stage = Stage([agent(name="a", resume="history")(stubborn)])
    await stage.create("a")
    await stage.send("Hi")
    for attempt in (1, 2, 3, 4):
        async with stage.lost_worker():
            said = attempt + 1
            await stage.until(
                lambda s, n=said: len(s.messages) == n and s.messages[-1].status == "complete"
            )
        stage.clock.advance(15.1)
    async with stage.worker():
        state = await stage.ended()
    assert state.run is not None
    assert (state.run.status, state.run.attempt) == ("completed", 5)


# Shutting down


async def test_stopped_it_lets_its_runs_end_and_claims_no_more() -> None:
    gated = Gated()
    stage = Stage([gated.agent])
    await stage.create("a")
    async with stage.worker() as worker:
        await stage.send("Hi")
        await stage.until(speaking)
        worker.stop()
        await asyncio.sleep(0)
        await stage.send("Next", if_busy="enqueue")
        gated.go.set()
    state = await stage.state()
    assert state.run is not None
    assert state.run.status == "completed"
    assert len(state.queue) == 1


async def test_stopped_it_parks_what_waits_at_once() -> None:
    async def ask(run: RunContext) -> bool:
        return (await run.approve("Sure?")).approved

    stage = Stage([agent(name="a", resume="replay")(ask)])
    await stage.create("a")
    async with stage.worker() as worker:
        await stage.send("Hi")
        await stage.waiting()
        worker.stop()
    await stage.command("approval.respond", approval="ap_1", decision="approve")
    async with stage.worker():
        state = await stage.ended()
    assert state.run is not None
    assert state.run.output is True
    assert types(await stage.events()).count("run.resumed") == 1


async def test_what_does_not_end_in_time_is_handed_over_at_once() -> None:
    gated = Gated("history")
    stage = Stage([gated.agent])
    await stage.create("a")
    async with stage.worker(drain_s=0.0) as worker:
        await stage.send("Hi")
        await stage.until(speaking)
        worker.stop()
    gated.go.set()
    async with stage.worker():  # no lease has to run out: the clock stands still
        state = await stage.ended()
    assert state.run is not None
    assert (state.run.status, state.run.attempt) == ("completed", 2)
    assert "run.resumed" in types(await stage.events())


async def test_a_worker_that_cannot_reach_the_broker_still_stops() -> None:
    gated = Gated("history")
    stage = Stage([gated.agent])
    await stage.create("a")
    async with stage.worker(drain_s=0.0, hand_over_s=0.05) as worker:
        await stage.send("Hi")
        await stage.until(speaking)
        stage.broker.down = True
        gated.go.set()
        worker.stop()
    stage.broker.down = False
    stage.clock.advance(15.1)
    async with stage.worker():
        await stage.ended()


# A broker that comes and goes


async def test_it_claims_again_when_the_broker_is_back() -> None:
    gated = Gated()
    gated.go.set()
    stage = Stage([gated.agent])
    await stage.create("a")
    await stage.send("Hi")
    stage.broker.down = True
    metrics = Metrics()
    worker = stage.make_worker(retry_s=0.01, metrics=metrics)
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run())
        await eventually(lambda: b'error="BrokerUnavailable"' in metrics.render()[0])
        stage.broker.down = False
        await stage.ended()
        worker.stop()


async def test_lost_replies_duplicate_nothing() -> None:
    gated = Gated()
    gated.go.set()
    stage = Stage([gated.agent])
    await stage.create("a")
    stage.broker.lost_replies = 3
    async with stage.worker():
        await stage.send("Hi")
        await stage.ended()
    assert types(await stage.events())[3:] == [
        "run.started",
        "message.started",
        "message.delta",
        "message.completed",
        "run.completed",
    ]


def test_options_follow_the_settings() -> None:
    settings = WorkerSettings(
        max_runs=7, park_after_ms=1500, coalesce_ms=5, lease_ms=9000, lease_stop_ms=6000,
        lease_renew_ms=3000, cancel_ms=2000, drain_ms=10_000,
    )  # fmt: skip
    options = WorkerOptions.of(settings)
    assert (options.max_runs, options.drain_s, options.hand_over_s) == (7, 7.5, 2.5)
    assert (options.times.park_after_s, options.times.coalesce_s) == (1.5, 0.005)
    assert options.times.cancel_s == 2.0
    lease = options.times.lease
    assert (lease.lease_s, lease.stop_s, lease.renew_s) == (9.0, 6.0, 3.0)
