"""What is due is done, in every session, by whichever process comes first."""

import asyncio

from gateway.errors import BrokerUnavailable
from gateway.runtime.agent import agent
from gateway.runtime.context import RunContext
from gateway.runtime.lease import LeaseTimes
from gateway.runtime.timers import AT_ONCE, Timers
from gateway.telemetry import Metrics
from tests.runtime.stage import Stage, types

SCAN = {
    "name": "scan",
    "parameters": {"type": "object", "properties": {}},
    "timeout_ms": 60_000,
}
LASTING = LeaseTimes(lease_s=600)
"""Longer than any advance of the clock here."""


@agent(name="a")
async def caller(run: RunContext) -> str:
    result = (await run.call_tools([("scan", {})]))[0]
    return result.error.code if result.error else "ok"


async def test_deadlines_of_calls_end_the_wait() -> None:
    stage = Stage([caller])
    await stage.create("a", [SCAN])
    async with stage.worker(lease=LASTING):
        await stage.send("Hi")
        await stage.waiting()
        stage.clock.advance(15.5)
        assert await stage.timers.fire() == 1
        stage.clock.advance(1.0)
        assert await stage.timers.fire() == 0
        stage.clock.advance(45.0)
        await stage.timers.fire()
        state = await stage.ended()
    assert state.run is not None
    assert state.run.output == "tool.no_client"
    assert types(await stage.events())[8:] == [
        "run.waiting",
        "tool_call.released",
        "tool_call.completed",
        "run.completed",
    ]


async def test_two_processes_fire_a_timer_once() -> None:
    stage = Stage([caller])
    await stage.create("a", [SCAN])
    async with stage.worker(lease=LASTING):
        await stage.send("Hi")
        await stage.waiting()
        stage.clock.advance(15.5)
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(Timers(stage.store).fire())
        await stage.command("run.interrupt")
    assert types(await stage.events()).count("tool_call.released") == 1


async def test_more_than_one_page_of_them() -> None:
    stage = Stage([])
    names = [f"s_x{n}" for n in range(AT_ONCE + 20)]
    for name in names:
        await stage.command("session.create", agent="nobody", session=name)
        await stage.command("message.send", session=name, content="Hi")
    stage.clock.advance(6.0)
    assert await stage.timers.fire() == len(names)
    for name in names:
        events = await stage.broker.read(name, 0, 100)
        assert b'"waiting_for_worker"' in events[-1][1]


async def test_the_loop_goes_on_through_failures() -> None:
    stage = Stage([])
    await stage.create("nobody")
    await stage.send("Hi")
    stage.clock.advance(6.0)
    stage.broker.down = True
    metrics = Metrics()
    timers = Timers(stage.store, every_s=0.01, metrics=metrics, chance=lambda: 0.0)
    failed = asyncio.Event()
    tick = stage.store.tick

    async def fail_once(session: str) -> None:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("a bug")
        await tick(session)

    stage.store.tick = fail_once
    async with asyncio.TaskGroup() as group:
        loop = group.create_task(timers.run())
        assert await timers.fire() == 0
        stage.broker.down = False
        await failed.wait()
        stage.clock.advance(2.0)
        await stage.until(lambda s: s.queue[0].activity)
        loop.cancel()
    assert BrokerUnavailable.__name__.encode() in metrics.render()[0]
