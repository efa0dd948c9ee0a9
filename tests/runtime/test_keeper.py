"""Beside the agent: appends, news however they come, and when a run is parked."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import pytest

from gateway.broker.base import Answered, Append, News
from gateway.errors import BrokerUnavailable, Conflict
from gateway.runtime.agent import FunctionAgent, agent
from gateway.runtime.beat import Beat
from gateway.runtime.context import RunContext
from gateway.runtime.keeper import Ear, Keeper
from gateway.runtime.lease import Lease, LeaseTimes
from gateway.sessions import inputs
from gateway.sessions.draft import RuleBrokenError
from gateway.sessions.store import Store
from protocol.state import State
from tests.runtime.stage import FaultyBroker, ManualClock, Stage, shown, types
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


async def test_what_came_between_two_deltas_is_noticed_without_news() -> None:
    """The log was not as the copy said, so whoever waits for the session is answered."""
    stop = asyncio.Event()

    async def both(run: RunContext) -> Any:
        async def talk() -> None:
            message = await run.open_message()
            while not stop.is_set():
                await message.text("x")
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            group.create_task(talk())
            await run._keeper.until(lambda session: "theirs" in session.state.metadata)
            stop.set()
        return "noticed"

    stage = Stage([agent(name="a")(both)])
    await stage.create("a")
    async with stage.worker(coalesce_s=0.0):
        await stage.send("Hi")
        await stage.until_log("message.delta")
        stage.broker.copies = 0
        await stage.command("session.update", metadata={"theirs": 1})
        await stage.until_log("run.completed")
    assert output(await stage.state()) == "noticed"


class ManualBeat(Beat):
    """A beat that strikes when a test says so."""

    def __init__(self) -> None:
        self.clock = ManualClock(100.0)
        super().__init__(self.clock)
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def at(self, when: float, call: "Callable[[], None] | asyncio.Future[None]") -> None:
        assert callable(call), "nobody waits here"
        self.calls.append((when, call))

    def strike(self, now: float) -> None:
        """Calls, as loops do, what is due up to a millisecond after `now`."""
        self.clock.now = now
        due = [call for when, call in self.calls if when <= now + 0.001]
        self.calls = [(when, call) for when, call in self.calls if when > now + 0.001]
        for call in due:
            call()


async def test_each_batch_waits_for_its_own_time() -> None:
    """What an earlier batch has asked the beat for does not cut a later one short."""
    stage = Stage([caller()])
    await stage.create("a")
    sent = await stage.send("Hi")
    claimed = await stage.broker.claim("w", ["a"], lease_s=15)
    assert claimed is not None
    attempt = await stage.store.attempt(claimed)
    await attempt.step(inputs.ClaimRun(resume="replay", lost=False))
    beat = ManualBeat()
    lease = Lease(stage.broker, claimed, LeaseTimes(), since=beat.time(), clock=beat.time)
    keeper = Keeper(stage.broker, attempt, lease, coalesce_s=0.02, beat=beat)
    say = keeper.recorder.delta

    async def said(*expected: str) -> None:
        async def there() -> bool:
            found = [e["delta"] for e in await stage.events() if e["type"] == "message.delta"]
            return found == list(expected)

        await eventually(there, what=f"{expected}")

    async with asyncio.TaskGroup() as group:
        assert sent.run is not None
        running = group.create_task(keeper.run(sent.run))
        await keeper.recorder.step(inputs.StartMessage(message="m_2"))
        say("m_2", 0, "text", "a", first=True)
        await said("a")
        say("m_2", 0, "text", "b")
        await keeper.recorder.step(inputs.UpdateSession(metadata={"took": "b"}))
        beat.clock.now = 100.01
        say("m_2", 0, "text", "c")
        beat.strike(100.02)  # for b
        say("m_2", 0, "text", "d")
        await asyncio.sleep(0.01)
        await said("a", "b")
        beat.strike(100.0295)
        await said("a", "b", "cd")
        assert not beat.calls
        running.cancel()
    assert keeper.recorder.closed


class Held(FaultyBroker):
    """Answers what is streamed without a task when a test says so."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.answers: list[Callable[[], None]] = []

    def append_soon(self, append: Append, answered: Answered) -> None:
        def hold(answer: int | BrokerUnavailable) -> None:
            self.answers.append(lambda: answered(answer))

        super().append_soon(append, hold)

    async def answer(self) -> None:
        """Gives the one answer that is held, or will be."""
        await eventually(lambda: self.answers, what="an answer")
        answers, self.answers = self.answers, []
        assert len(answers) == 1, "one append in flight"
        answers[0]()


@asynccontextmanager
async def streaming(stage: Stage) -> AsyncGenerator[tuple[Keeper, ManualBeat, Held]]:
    """A keeper whose agent has said "a", and then "b", the answer to which is on its way."""
    stage.broker = held = Held(stage.clock)
    stage.store = Store(held, new_id=stage.ids)
    await stage.create("a")
    sent = await stage.send("Hi")
    claimed = await held.claim("w", ["a"], lease_s=15)
    assert claimed is not None
    assert sent.run is not None
    attempt = await stage.store.attempt(claimed)
    await attempt.step(inputs.ClaimRun(resume="replay", lost=False))
    beat = ManualBeat()
    lease = Lease(held, claimed, LeaseTimes(), since=beat.time(), clock=beat.time)
    keeper = Keeper(held, attempt, lease, coalesce_s=0.02, beat=beat)
    await held.follow(stage.session, Ear(keeper))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(keeper.run(sent.run))
        await keeper.recorder.step(inputs.StartMessage(message="m_2"))
        keeper.recorder.delta("m_2", 0, "text", "a", first=True)
        await eventually(lambda: keeper.recorder.due == inf and not keeper.attempt.flying)
        await stage.until_log("message.delta")
        await eventually(lambda: keeper._sleep is not None and not keeper._sleep.done())
        keeper.recorder.delta("m_2", 0, "text", "b")
        beat.strike(100.02)
        assert attempt.flying
        assert not beat.calls
        yield keeper, beat, held
        await eventually(lambda: running.cancel() or running.done())
    assert keeper.recorder.closed


async def said(stage: Stage) -> list[str]:
    return [e["delta"] for e in await stage.events() if e["type"] == "message.delta"]


async def test_what_comes_while_an_append_is_in_flight_waits_for_its_answer() -> None:
    stage = Stage([caller()])
    async with streaming(stage) as (keeper, beat, held):
        keeper.recorder.delta("m_2", 0, "text", "c")
        assert not beat.calls, "the answer will look"
        await held.answer()
        assert keeper.attempt.flying is False
        beat.strike(100.04)
        assert keeper.attempt.flying
        keeper.recorder.delta("m_2", 0, "text", "d")
        beat.clock.now = 100.08
        await held.answer()
        assert keeper.attempt.flying, "it was due meanwhile"
        await held.answer()
        assert await said(stage) == ["a", "b", "c", "d"]


async def test_steps_and_news_wait_while_an_append_is_in_flight() -> None:
    stage = Stage([caller()])
    async with streaming(stage) as (keeper, _, held):
        keeper.recorder.delta("m_2", 0, "text", "c")
        await stage.command("session.update", metadata={"theirs": 1})
        async with asyncio.TaskGroup() as group:
            group.create_task(keeper.recorder.step(inputs.UpdateSession(metadata={"mine": 1})))
            for _ in range(20):
                await asyncio.sleep(0)
            assert "mine" not in (await stage.state()).metadata
            await held.answer()
        assert (await stage.state()).metadata == {"theirs": 1, "mine": 1}
        assert await said(stage) == ["a", "b", "c"]
        assert keeper.state.metadata == {"theirs": 1, "mine": 1}


@pytest.mark.parametrize("fault", ["lost", "cut"])
async def test_an_answer_that_is_lost_changes_nothing_twice(fault: str) -> None:
    stage = Stage([caller()])
    async with streaming(stage) as (keeper, beat, held):
        await held.answer()
        held.lost_replies, held.down = int(fault == "lost"), fault == "cut"
        keeper.recorder.delta("m_2", 0, "text", "c")
        beat.strike(100.04)
        await held.answer()
        held.down = False
        keeper.recorder.delta("m_2", 0, "text", "d")
        beat.strike(100.06)

        async def all_said() -> bool:
            return await said(stage) == ["a", "b", "c", "d"]

        await eventually(all_said)


async def test_a_stop_ends_it_while_an_append_is_in_flight() -> None:
    stage = Stage([caller()])
    async with streaming(stage) as (keeper, beat, held):
        await held.answer()
        held.copies = 0
        await stage.command("run.interrupt")
        keeper.recorder.delta("m_2", 0, "text", "c")
        beat.strike(100.04)
        await held.answer()
        await eventually(lambda: keeper.recorder.closed)
        assert await said(stage) == ["a", "b"]


async def test_a_fault_while_the_task_sleeps_is_raised_by_it() -> None:
    class Buggy(Held):
        def append_soon(self, append: Append, answered: Answered) -> None:
            raise RuntimeError("a bug")

    stage = Stage([caller()])

    async def stream() -> None:
        async with streaming(stage) as (keeper, beat, held):
            await held.answer()
            held.__class__ = Buggy
            keeper.recorder.delta("m_2", 0, "text", "c")
            beat.strike(100.04)
            await eventually(lambda: keeper.recorder.closed)

    with pytest.raises(ExceptionGroup) as caught:
        await stream()
    assert caught.group_contains(RuntimeError, match="a bug")


async def test_only_what_it_appended_itself_is_dropped_unseen() -> None:
    stage = Stage([caller()])
    async with streaming(stage) as (keeper, _, held):
        ear, seq = Ear(keeper), b"%d" % keeper.attempt.seq
        assert ear.hear(b"e_1", seq, b"1", b'"type":"message.delta"}')
        assert not ear.hear(b"e_2", seq, b"1", b'"type":"message.delta"}')
        assert not ear.hear(b"e_1", seq, b"2", b'"type":"message.delta"}')
        assert not ear.hear(b"e_1", seq, b"1", b"")
        await held.answer()


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


async def test_parked_it_holds_no_task_no_lease_and_no_follower() -> None:
    stage = Stage([caller()])
    await stage.create("a", [SCAN])
    async with stage.worker(park_after_s=0.0) as worker:
        await eventually(lambda: stage.broker._waiting, what="the worker waits for runs")
        tasks, followers = len(asyncio.all_tasks()), len(stage.broker.followers())
        await stage.send("Hi")
        await stage.waiting()
        await stage.parked(worker)
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks, what="its tasks have ended")
        assert len(stage.broker.followers()) == followers
        assert not stage.broker._sessions["s_0"].held
        stage.clock.advance(8 * 3600)  # nobody claims it overnight
        other = await stage.broker.claim("w_other", ["a"], lease_s=15.0)
        assert other is None


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
