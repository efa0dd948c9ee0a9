"""Runs that a run starts in sessions of their own: made once, awaited, stopped with it."""

import asyncio
from typing import Any

import pytest

from gateway.errors import BrokerUnavailable
from gateway.runtime.agent import FunctionAgent, agent
from gateway.runtime.children import FORGOTTEN, ChildResult, ended
from gateway.runtime.context import RunContext
from gateway.runtime.failures import AgentError
from protocol.frames import SessionRow
from tests.runtime.stage import DEV, Stage
from tests.support.waiting import eventually


@agent(name="child")
async def child(run: RunContext) -> Any:
    if run.input == "fail":
        raise AgentError("model.failed", "no")
    return {"got": run.input}


@agent(name="slow")
async def slow(run: RunContext) -> None:
    await run.approve("Hurry?")


def parent(agent_name: str, results: list[ChildResult], resume: Any = "none") -> FunctionAgent:
    async def start(run: RunContext) -> None:
        results.append(await run.start_child(agent_name, run.text))

    return agent(name="parent", resume=resume)(start)


async def sessions(stage: Stage) -> list[SessionRow]:
    rows, _ = await stage.store.sessions(DEV, 10, None)
    return rows


async def waiting_child(stage: Stage) -> str:
    """The session of the slow child, once it waits."""

    async def waits() -> str:
        names = [r.session for r in await sessions(stage) if r.agent == "slow"]
        states = [(await stage.store.load(name, DEV)).state for name in names]
        return next((s.session for s in states if s.approvals), "")

    return await eventually(waits)


@pytest.mark.parametrize(
    ("text", "status", "output", "code"),
    [("Hi", "completed", {"got": "Hi"}, None), ("fail", "failed", None, "model.failed")],
)
async def test_a_child_ends_and_its_parent_goes_on(
    text: str, status: str, output: Any, code: str | None
) -> None:
    results: list[ChildResult] = []
    stage = Stage([parent("child", results), child])
    await stage.create("parent")
    async with stage.worker():
        await stage.send(text)
        state = await stage.ended()
    assert state.run is not None
    assert state.run.status == "completed"
    assert (results[0].status, results[0].output) == (status, output)
    assert (results[0].error and results[0].error.code) == code
    told = [e for e in await stage.events() if e["type"] == "run.child"]
    assert [(e["status"], e["agent"], e["child_session"]) for e in told] == [
        ("started", "child", results[0].session),
        (status, "child", results[0].session),
    ]
    assert {row.session for row in await sessions(stage)} == {"s_0", results[0].session}


async def test_stopping_the_parent_stops_the_child() -> None:
    stage = Stage([parent("slow", []), slow])
    await stage.create("parent")
    async with stage.worker() as worker:
        await stage.send("Hi")
        await stage.until(lambda _: worker.active == 2)
        name = await waiting_child(stage)
        await stage.command("run.interrupt")
        await stage.ended()
        stage.clock.advance(1.0)
        await stage.timers.fire()
        await stage.parked(worker)
    state = (await stage.store.load(name, DEV)).state
    assert state.run is not None
    assert state.run.status == "cancelled"


async def test_a_lost_parent_finds_its_child_again() -> None:
    results: list[ChildResult] = []
    stage = Stage([parent("slow", results, "replay"), slow])
    await stage.create("parent")
    await stage.send("Hi")
    async with stage.lost_worker():
        await stage.until_log("run.child")
        name = await waiting_child(stage)
    stage.clock.advance(15.1)
    async with stage.worker():
        await stage.ended()  # the child, which cannot resume, failed with its worker
    assert [(r.session, r.status) for r in results] == [(name, "failed")]
    told = [e["status"] for e in await stage.events() if e["type"] == "run.child"]
    assert told == ["started", "failed"]
    assert len(await sessions(stage)) == 2


async def test_a_replayed_parent_does_not_run_an_ended_child_again() -> None:
    halted = asyncio.Event()
    results: list[Any] = []
    runs: list[str] = []

    @agent(name="counted")
    async def counted(run: RunContext) -> int:
        runs.append(run.id)
        return len(runs)

    @agent(name="parent", resume="replay")
    async def twice(run: RunContext) -> None:
        results.append((await run.start_child("counted", 1)).output)
        if len(results) == 1:
            halted.set()
            await asyncio.Event().wait()
        results.append((await run.start_child("counted", 2)).output)

    stage = Stage([twice, counted])
    await stage.create("parent")
    await stage.send("Hi")
    async with stage.lost_worker():
        await halted.wait()
    stage.clock.advance(15.1)
    async with stage.worker():
        await stage.ended()
    assert results == [1, 1, 2]
    assert len(runs) == 2


async def test_a_child_survives_an_unreachable_broker() -> None:
    results: list[ChildResult] = []
    stage = Stage([parent("child", results), child])
    refuse = {"start_child": 1, "load": 1}

    def flaky(owner: Any, verb: str) -> None:
        real = getattr(owner, verb)

        async def maybe(*args: Any, **rest: Any) -> Any:
            in_child = verb == "start_child" or args[0] != "s_0"
            if in_child and refuse[verb]:
                refuse[verb] -= 1
                raise BrokerUnavailable
            return await real(*args, **rest)

        setattr(owner, verb, maybe)

    await stage.create("parent")
    flaky(stage.store, "start_child")
    flaky(stage.store, "load")
    async with stage.worker():
        await stage.send("Hi")
        await stage.ended()
    assert [r.status for r in results] == ["completed"]
    assert refuse["start_child"] == refuse["load"] == 0


async def test_a_deleted_child_is_cancelled() -> None:
    results: list[ChildResult] = []
    stage = Stage([parent("slow", results), slow])
    await stage.create("parent")
    async with stage.worker():
        await stage.send("Hi")
        name = await waiting_child(stage)
        await stage.until_log("run.child")
        await stage.command("session.delete", session=name)
        state = await stage.ended()
    assert state.run is not None
    assert state.run.status == "completed"
    assert [(r.session, r.status) for r in results] == [(name, "cancelled")]
    told = [e["status"] for e in await stage.events() if e["type"] == "run.child"]
    assert told == ["started", "cancelled"]


async def test_a_deleted_child_is_cancelled_in_a_replay_too() -> None:
    results: list[ChildResult] = []

    @agent(name="parent", resume="replay")
    async def replayed(run: RunContext) -> None:
        results.append(await run.start_child("slow"))
        if len(results) == 1:
            await asyncio.Event().wait()

    stage = Stage([replayed, slow])
    await stage.create("parent")
    await stage.send("Hi")
    async with stage.lost_worker():
        name = await waiting_child(stage)
        await stage.until_log("run.child")
        await stage.command("session.delete", session=name)
        await eventually(lambda: results)
    stage.clock.advance(15.1)
    async with stage.worker():
        await stage.ended()
    assert [r.status for r in results] == ["cancelled", "cancelled"]


async def test_a_deleted_child_that_had_ended_is_forgotten() -> None:
    stage = Stage([])
    await stage.create("nobody")
    parent_session = await stage.store.load("s_0", DEV)
    result = await ended(stage.store, parent_session, "s_deleted", "r_7")
    assert (result.status, result.error) == ("failed", FORGOTTEN)


async def test_children_that_were_logged_in_another_order_are_not_mixed_up() -> None:
    gate, attempts = asyncio.Event(), list[dict[Any, Any]]()

    @agent(name="parent", resume="replay")
    async def both(run: RunContext) -> None:
        outputs: dict[Any, Any] = {}
        attempts.append(outputs)

        async def one(given: str) -> None:
            outputs[given] = (await run.start_child("child", given)).output

        async with asyncio.TaskGroup() as group:
            group.create_task(one("first"))
            group.create_task(one("second"))
        if len(attempts) == 1:
            await asyncio.Event().wait()

    stage = Stage([both, child])
    start = stage.store.start_child

    async def start_child(parent: Any, agent: str, given: Any, name: str) -> tuple[str, str]:
        if given == "first":
            await gate.wait()
        return await start(parent, agent, given, name)

    stage.store.start_child = start_child  # type: ignore[method-assign]  # the first is slower
    await stage.create("parent")
    await stage.send("Hi")
    async with stage.lost_worker():
        await stage.until_log("run.child")
        gate.set()
        await eventually(lambda: len(attempts[0]) == 2)
    stage.clock.advance(15.1)
    async with stage.worker():
        await stage.ended()
    assert attempts == 2 * [{"first": {"got": "first"}, "second": {"got": "second"}}]
    told = [e["status"] for e in await stage.events() if e["type"] == "run.child"]
    assert sorted(told) == ["completed", "completed", "started", "started"]


async def test_an_end_that_nobody_remembers_is_a_failure() -> None:
    stage = Stage([])
    await stage.create("nobody")
    parent_session = await stage.store.load("s_0", DEV)
    result = await ended(stage.store, parent_session, "s_0", "r_unknown")
    assert (result.status, result.error) == ("failed", FORGOTTEN)


async def test_b8_a_child_of_an_agent_that_nobody_has() -> None:
    """Caught or not, its parent learns which name is wrong."""
    stage = Stage([parent("chld", []), child])
    await stage.broker.offer({"parent": b"", "child": b""})
    await stage.create("parent")
    async with stage.worker():
        await stage.send("Hi")
        state = await stage.ended()
    assert state.run is not None
    assert state.run.error is not None
    assert state.run.error.code == "agent.not_found"
    assert state.run.error.message == 'There is no agent "chld". Did you mean "child"?'
    assert len(await sessions(stage)) == 1
