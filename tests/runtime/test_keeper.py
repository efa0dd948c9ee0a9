"""Beside the agent: appends, news however they come, and when a run is parked."""

import asyncio
from typing import Any

import pytest

from gateway.broker.base import News
from gateway.errors import BrokerUnavailable, Conflict
from gateway.runtime.agent import FunctionAgent, agent
from gateway.runtime.context import RunContext
from gateway.runtime.lease import LeaseTimes
from gateway.sessions import inputs
from gateway.sessions.draft import RuleBrokenError
from protocol.state import State
from tests.runtime.stage import FaultyBroker, Stage, shown, types
from tests.support.waiting import eventually

SCAN = {"name": "scan", "parameters": {"type": "object", "properties": {}}}
QUICK_LEASE = LeaseTimes(lease_s=15.0, renew_s=0.02, stop_s=10.0, retry_s=0.02)


def caller(resume: Any = "replay", calls: int = 1) -> FunctionAgent:
    """Calls `scan` so many times at once; its output is theirs."""

    async def call(run: RunContext) -> Any:
        return [r.output for r in await run.call_tools([("scan", {})] * calls)]

    return agent(name="a", resume=resume)(call)


def output(state: State) -> Any:
    assert state.run is not None
    return state.run.output


# News


@pytest.mark.parametrize("copies", [0, 1, 2])
async def test_news_may_get_lost_or_come_twice(copies: int) -> None:
    stage = Stage([caller(calls=2)])
    await stage.create("a", [SCAN])
    async with stage.worker(lease=QUICK_LEASE) as worker:
        await stage.send("Hi")
        await stage.waiting()
        stage.broker.copies = copies
        await stage.command("tool.result", call="c_1", output=1)
        await stage.command("tool.result", call="c_2", output=2)
        await stage.parked(worker)
    assert output(await stage.state()) == [1, 2]
    assert types(await stage.events())[-3:] == [
        "tool_call.completed",
        "tool_call.completed",
        "run.completed",
    ]


async def test_a_stop_that_nobody_heard_of_is_noticed_by_the_lease() -> None:
    stage = Stage([caller("none")])
    await stage.create("a", [SCAN])
    async with stage.worker(lease=QUICK_LEASE) as worker:
        await stage.send("Hi")
        await stage.waiting()
        stage.broker.copies = 0
        await stage.command("run.interrupt")
        await stage.parked(worker)
    assert types(await stage.events())[-1] == "run.cancelled"


async def test_steps_and_commands_at_once_lose_nothing() -> None:
    async def talk(run: RunContext) -> None:
        for n in range(40):
            await run.say(f"{n} ")
            await run.update(metadata={"mine": n})

    stage = Stage([agent(name="a")(talk)])
    await stage.create("a")

    async def meddle() -> None:
        for n in range(40):
            await stage.command("session.update", metadata={"theirs": n})
            await asyncio.sleep(0)

    async with stage.worker(), asyncio.TaskGroup() as group:
        await stage.send("Hi")
        group.create_task(meddle())
        state = await stage.ended()
    events = await stage.events()
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    said = [e["delta"] for e in shown(events) if e["type"] == "message.delta"]
    assert "".join(said) == "".join(f"{n} " for n in range(40))
    assert state.metadata["mine"] == 39
    assert (await stage.state()).metadata == {"mine": 39, "theirs": 39}


async def test_an_unreachable_broker_only_pauses_the_run() -> None:
    begun = asyncio.Event()
    go = asyncio.Event()

    async def talk(run: RunContext) -> str:
        async with run.message() as message:
            await message.write("a")
            begun.set()
            await go.wait()
            await message.write("b")
        return "done"

    stage = Stage([agent(name="a")(talk)])
    await stage.create("a")
    async with stage.worker(lease=QUICK_LEASE):
        await stage.send("Hi")
        await begun.wait()
        stage.broker.down = True
        go.set()
        await asyncio.sleep(0.1)  # the run tries for a while
        assert (await stage.state()).live_run is not None
        stage.broker.down = False
        state = await stage.ended()
    assert output(state) == "done"
    said = [e for e in shown(await stage.events()) if e["type"] == "message.delta"]
    assert [e["delta"] for e in said] == ["ab"]


async def test_the_first_delta_goes_out_at_once_and_later_ones_together() -> None:
    async def talk(run: RunContext) -> None:
        async with run.message() as message:
            await message.write("first ")
            await eventually(delivered)
            for word in ("and ", "then ", "the ", "rest"):
                await message.write(word)
                await asyncio.sleep(0)

    seen: list[str] = []

    def delivered() -> bool:
        return bool(seen)

    stage = Stage([agent(name="a")(talk)])
    await stage.create("a")

    def hear(news: Any) -> None:
        seen.extend(["delta" for body in news.bodies if b'"message.delta"' in body])

    await stage.broker.follow(stage.session, hear)
    async with stage.worker(coalesce_s=3600.0):
        await stage.send("Hi")
        await stage.ended()
    said = [e["delta"] for e in await stage.events() if e["type"] == "message.delta"]
    assert said == ["first ", "and then the rest"]


async def test_a_gap_is_read_when_the_broker_can_be_reached_again() -> None:
    stage = Stage([caller("none")])
    await stage.create("a", [SCAN])
    async with stage.worker():
        await stage.send("Hi")
        await stage.waiting()
        stage.broker.copies = 0
        await stage.command("tool.result", call="c_1", output="x")
        stage.broker.down = True
        for follower in stage.broker.followers():
            follower(News("s_0", "", 0, 0, 0, ()))  # the listener had to reconnect
        await asyncio.sleep(0.05)
        stage.broker.copies, stage.broker.down = 1, False
        state = await stage.ended()
    assert output(state) == ["x"]


async def test_a_broken_rule_is_the_agents_error_and_loses_no_text() -> None:
    async def misuse(run: RunContext) -> str:
        message = await run.open_message()
        await message.text("Hello")
        with pytest.raises(RuleBrokenError, match="not the open one"):
            await run._recorder.step(inputs.EndMessage(message="m_other"))
        await message.text(", world")
        await message.end()
        return "went on"

    stage = Stage([agent(name="a")(misuse)])
    await stage.create("a")
    async with stage.worker():
        await stage.send("Hi")
        state = await stage.ended()
    assert output(state) == "went on"
    assert [p.text for p in state.messages[1].parts] == ["Hello, world"]  # pyright: ignore[reportAttributeAccessIssue] - a text part


# Parking


async def test_parked_and_resumed_with_the_result() -> None:
    stage = Stage([caller()])
    await stage.create("a", [SCAN])
    async with stage.worker(park_after_s=0.0) as worker:
        await stage.send("Hi")
        await stage.waiting()
        await stage.parked(worker)
        seen = (await stage.state()).seq
        await stage.command("tool.result", call="c_1", output="x")
        state = await stage.ended()
    assert output(state) == ["x"]
    assert types(await stage.events(seen)) == [
        "tool_call.completed",
        "run.resumed",
        "run.completed",
    ]


async def test_parked_again_while_another_call_is_open() -> None:
    stage = Stage([caller("history", calls=2)])
    await stage.create("a", [SCAN])

    async def finish(run: RunContext) -> Any:
        known = [c.output for m in run.messages for c in m.calls]
        return known or [r.output for r in await run.call_tools([("scan", {})] * 2)]

    stage.agents = [agent(name="a", resume="history")(finish)]
    async with stage.worker(park_after_s=0.0) as worker:
        await stage.send("Hi")
        await stage.waiting()
        await stage.parked(worker)
        await stage.command("tool.result", call="c_1", output=1)
        await stage.until(lambda s: s.run is not None and s.run.attempt == 2)
        await stage.parked(worker)
        await stage.command("tool.result", call="c_2", output=2)
        state = await stage.ended()
    assert output(state) == [1, 2]
    assert types(await stage.events()).count("tool_call.requested") == 2


async def test_an_agent_that_cannot_resume_is_not_parked() -> None:
    stage = Stage([caller("none")])
    await stage.create("a", [SCAN])
    async with stage.worker(park_after_s=0.0) as worker:
        await stage.send("Hi")
        await stage.waiting()
        await stage.command("tool.claim", call="c_1")
        assert worker.active == 1
        await stage.command("tool.result", call="c_1", output="x")
        await stage.ended()
    assert "run.resumed" not in types(await stage.events())


async def test_not_parked_while_one_of_its_tasks_is_at_work() -> None:
    go = asyncio.Event()
    working = asyncio.Event()

    async def both(run: RunContext) -> Any:
        async def work() -> Any:
            result = await run.call_tool("scan", n=1)
            working.set()
            await go.wait()
            return result

        async with asyncio.TaskGroup() as group:
            worked = group.create_task(work())
            waited = group.create_task(run.call_tool("scan", n=2))
        return [worked.result(), waited.result()]

    stage = Stage([agent(name="a", resume="replay")(both)])
    await stage.create("a", [SCAN])
    async with stage.worker(park_after_s=0.05) as worker:
        await stage.send("Hi")
        await stage.until(lambda s: s.run and s.run.on == ["c_1", "c_2"])
        await stage.command("tool.result", call="c_1", output=1)
        await working.wait()
        await asyncio.sleep(0.15)  # longer than it takes to park
        assert worker.active == 1
        go.set()
        await stage.command("tool.result", call="c_2", output=2)
        state = await stage.ended()
    assert output(state) == [1, 2]
    assert "run.resumed" not in types(await stage.events())


async def test_a_result_that_comes_while_parking_is_not_lost() -> None:
    stage = Stage([caller()])
    release = stage.broker.release
    conflicts: list[type[Exception]] = []

    async def racing(session: str, fence: int, **rest: Any) -> None:
        if not conflicts:  # the result is stored just before the lease is given back
            conflicts.append(Conflict)
            await stage.command("tool.result", call="c_1", output="x")
        await release(session, fence, **rest)

    stage.broker.release = racing  # a race, staged
    await stage.create("a", [SCAN])
    async with stage.worker(park_after_s=0.0):
        await stage.send("Hi")
        state = await stage.ended()
    assert output(state) == ["x"]
    assert conflicts
    assert "run.resumed" not in types(await stage.events())


async def test_parking_waits_for_the_broker() -> None:
    class Shy(FaultyBroker):
        refused = 0

        async def release(self, *args: Any, **rest: Any) -> None:
            if not self.refused:
                self.refused += 1
                raise BrokerUnavailable
            await super().release(*args, **rest)

    stage = Stage([caller()])
    stage.broker.__class__ = Shy
    await stage.create("a", [SCAN])
    async with stage.worker(park_after_s=0.0) as worker:
        await stage.send("Hi")
        await stage.waiting()
        await stage.parked(worker)
        await stage.command("tool.result", call="c_1", output="x")
        state = await stage.ended()
    assert output(state) == ["x"]
