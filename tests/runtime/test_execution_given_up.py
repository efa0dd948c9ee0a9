"""What an agent does not wait for any longer ends: calls of its own tools, and children."""

import asyncio
from typing import Any

import pytest

from gateway.runtime.agent import agent
from gateway.runtime.context import RunContext
from gateway.runtime.failures import ToolError
from gateway.runtime.tools import server_tool
from tests.runtime.stage import DEV, Stage
from tests.support.waiting import eventually

PAGE = {"name": "page", "parameters": {"type": "object", "properties": {}}}
GIVE_UP_S = 0.05


@server_tool
async def slow() -> None:
    """Never ends."""
    await asyncio.Event().wait()


@server_tool(approval=True)
async def asked() -> None:
    """Waits for a person."""


@agent(name="kid")
async def kid(_: RunContext) -> None:
    await asyncio.Event().wait()


async def child_of(stage: Stage) -> Any:
    (name,) = [e["child_session"] for e in await stage.events() if e.get("status") == "started"]
    return (await stage.store.load(name, DEV)).state


async def ends_its_child(stage: Stage) -> None:
    """Runs the agent `hasty`, which gives its child up and then waits for the page."""
    await stage.create("hasty", tools=[PAGE])
    async with stage.worker(drain_s=0.0):
        await stage.send("Hi")
        await stage.waiting()
        assert (await child_of(stage)).run.status == "cancelled"
    told = [e["status"] for e in await stage.events() if e["type"] == "run.child"]
    assert told == ["started", "cancelled"]


@pytest.mark.parametrize("give_up_s", [0.0, GIVE_UP_S])
@pytest.mark.parametrize("tool", ["slow", "asked"])
async def test_a_call_of_its_own_tool(tool: str, give_up_s: float) -> None:
    """Also before it is stored. Then only the page can move the run, and it is parked."""

    @agent(name="hasty", resume="replay", tools=[slow, asked])
    async def hasty(run: RunContext) -> None:
        try:
            async with asyncio.timeout(give_up_s):
                await run.call_tool(tool)
        except (TimeoutError, ToolError):  # the latter in a replay
            pass
        await run.call_tool("page")

    stage = Stage([hasty])
    await stage.create("hasty", tools=[PAGE])
    async with stage.worker(park_after_s=4 * GIVE_UP_S) as worker:
        await stage.send("Hi")
        await stage.until(lambda state: len(state.calls) == 2)
        state = await stage.waiting()
        first, second = state.calls.values()
        assert (first.name, first.status) == (tool, "completed")
        assert first.error is not None
        assert first.error.code == "tool.cancelled"
        assert [a.decision for a in state.approvals.values() if a.decision is None] == []
        assert state.run is not None
        assert state.run.on == [second.id]
        await stage.parked(worker)
        await stage.command("tool.result", call=second.id, output=1)
        state = await stage.ended()
    assert state.run is not None
    assert state.run.status == "completed"


async def test_a_call_of_a_model_step_that_is_given_up_while_it_is_requested() -> None:
    @agent(name="hasty", tools=[slow])
    async def hasty(run: RunContext) -> None:
        try:
            async with asyncio.timeout(None) as scope, run.message() as message:
                await message.call("slow")
                scope.reschedule(0.0)
        except TimeoutError:
            pass
        await run.call_tool("page")

    stage = Stage([hasty])
    await stage.create("hasty", tools=[PAGE])
    async with stage.worker(drain_s=0.0):
        await stage.send("Hi")
        state = await stage.waiting()
        first, second = state.calls.values()
        assert (first.name, first.status) == ("slow", "completed")
        assert first.error is not None
        assert first.error.code == "tool.cancelled"
        assert state.run is not None
        assert state.run.on == [second.id]


async def test_a_child_that_is_given_up_while_its_start_is_logged() -> None:
    @agent(name="hasty")
    async def hasty(run: RunContext) -> None:
        async def start_child(*given: Any) -> tuple[str, str]:
            started = await start(*given)
            scope.reschedule(0.0)
            return started

        stage.store.start_child = start_child  # type: ignore[method-assign]  # to act after it
        try:
            async with asyncio.timeout(None) as scope:
                await run.start_child("kid")
        except TimeoutError:
            pass
        await run.call_tool("page")

    stage = Stage([hasty, kid])
    start = stage.store.start_child
    await ends_its_child(stage)


async def test_a_child() -> None:
    @agent(name="hasty")
    async def hasty(run: RunContext) -> None:
        try:
            async with asyncio.timeout(0.3):
                await run.start_child("kid")
        except TimeoutError:
            pass
        await run.call_tool("page")

    stage = Stage([hasty, kid])
    await ends_its_child(stage)


async def test_a_child_of_a_lost_attempt_that_nobody_will_find() -> None:
    attempts: list[int] = []

    @agent(name="parent", resume="history")
    async def parent(run: RunContext) -> None:
        attempts.append(1)
        if len(attempts) == 1:
            await run.start_child("kid")
        await run.call_tool("page")

    stage = Stage([parent, kid])
    await stage.create("parent", tools=[PAGE])
    await stage.send("Hi")
    async with stage.lost_worker():
        await stage.until_log("run.child")
    stage.clock.advance(15.1)
    async with stage.worker():
        await stage.waiting()
        told = [e["status"] for e in await stage.events() if e["type"] == "run.child"]
        assert told == ["started", "cancelled"]
        run = (await child_of(stage)).run
        assert run is None or not run.live


@pytest.mark.parametrize("how", ["run.interrupt", "session.delete"])
async def test_stopped_while_it_starts_a_child(how: str) -> None:
    """The child is there, but its parent's log does not say so yet."""

    @agent(name="parent", resume="replay")
    async def parent(run: RunContext) -> None:
        await run.start_child("kid")

    stage = Stage([parent, kid])
    await stage.create("parent")
    start, made = stage.store.start_child, list[str]()

    async def start_child(*given: Any) -> tuple[str, str]:
        started = await start(*given)
        made.append(started[0])
        await stage.command(how)
        return started

    stage.store.start_child = start_child  # type: ignore[method-assign]  # to act in its middle
    async with stage.worker() as worker:
        await stage.send("Hi")
        await eventually(lambda: made)

        async def stopped() -> bool:
            state = (await stage.store.load(made[0], DEV)).state
            return not state.queue and (state.run is None or not state.run.live)

        await eventually(stopped)
        await stage.parked(worker)


async def test_handed_over_while_it_starts_a_child_that_nobody_will_find() -> None:
    """An agent that is not replayed starts others: this one is stopped."""

    @agent(name="kid", resume="history")
    async def lasting(_: RunContext) -> None:
        await asyncio.Event().wait()

    @agent(name="parent", resume="history")
    async def parent(run: RunContext) -> None:
        if not made:
            await run.start_child("kid")

    stage, made = Stage([parent, lasting]), list[str]()
    start = stage.store.start_child

    async def start_child(*given: Any) -> tuple[str, str]:
        started = await start(*given)
        made.append(started[0])
        await asyncio.Event().wait()
        return started

    stage.store.start_child = start_child  # type: ignore[method-assign]  # to act in its middle
    await stage.create("parent")
    async with stage.worker(drain_s=0.0) as worker:
        await stage.send("Hi")
        await eventually(lambda: made)
        worker.stop()
    async with stage.worker(drain_s=0.0):
        await stage.ended()
        state = (await stage.store.load(made[0], DEV)).state
        assert not state.queue
        assert state.run is None or not state.run.live


async def test_handed_over_while_it_starts_a_child_it_is_found_again() -> None:
    ended: list[str] = []
    begun = asyncio.Event()

    @agent(name="quick")
    async def quick(run: RunContext) -> str:
        ended.append(run.id)
        return "done"

    @agent(name="parent", resume="replay")
    async def parent(run: RunContext) -> Any:
        return (await run.start_child("quick")).output

    stage = Stage([parent, quick])
    await stage.create("parent")
    start = stage.store.start_child

    async def start_child(*given: Any) -> tuple[str, str]:
        started = await start(*given)
        if not begun.is_set():
            begun.set()
            await asyncio.Event().wait()
        return started

    stage.store.start_child = start_child  # type: ignore[method-assign]  # to act in its middle
    async with stage.worker(drain_s=0.0) as worker:
        await stage.send("Hi")
        await begun.wait()
        worker.stop()
    async with stage.worker():
        state = await stage.ended()
    assert state.run is not None
    assert state.run.output == "done"
    assert len(ended) == 1
