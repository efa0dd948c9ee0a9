"""One attempt from claim to end: stopped in every state, abandoned, backed off."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.broker.base import Append, News
from gateway.errors import BrokerError, BrokerUnavailable
from gateway.runtime.agent import FunctionAgent, agent
from gateway.runtime.context import RunContext
from gateway.runtime.execution import usage_of
from gateway.runtime.lease import LeaseTimes
from gateway.runtime.tools import server_tool
from protocol.state import State
from tests.runtime.stage import Stage, types
from tests.support.waiting import eventually

SCAN = {"name": "scan", "parameters": {"type": "object", "properties": {}}}
SURE = {"name": "sure", "parameters": {"type": "object", "properties": {}}, "approval": True}


@server_tool(idempotent=True)  # so that whoever takes the run over calls it again
async def hang() -> None:
    """Never ends."""
    await asyncio.Event().wait()


@server_tool(approval=True)
def ask_first() -> None:
    """Needs consent."""


async def stream(run: RunContext) -> None:
    async with run.message() as message:
        while True:
            await message.write("more ")
            await asyncio.sleep(0)


async def name_a_call(run: RunContext) -> None:
    async with run.message() as message:
        await message.write("I will look.")
        call = await message.call("scan")
        await call.arguments("{")
        await asyncio.Event().wait()


async def narrate(run: RunContext) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(run.call_tool("scan"))
        await asyncio.sleep(0)  # the call comes first, in a replay too
        await eventually(lambda: "scan" in [t.name for t in run.tools] and _called(run))
        async with run.message() as message:
            await message.write("While your page is being scanned,")
            await asyncio.Event().wait()


def _called(run: RunContext) -> bool:
    return bool(run._keeper.ledger.open_calls)


async def call_client(run: RunContext) -> None:
    await run.call_tool("scan")


async def call_with_consent(run: RunContext) -> None:
    await run.call_tool("sure")


async def call_server(run: RunContext) -> None:
    await run.call_tool("hang")


async def call_server_with_consent(run: RunContext) -> None:
    await run.call_tool("ask_first")


async def approve(run: RunContext) -> None:
    await run.approve("Sure?")


async def think(_run: RunContext) -> None:
    await asyncio.Event().wait()


def last_has_parts(state: State) -> bool:
    return state.messages[-1].role == "assistant" and bool(state.messages[-1].parts)


def waits(state: State) -> bool:
    return state.run is not None and state.run.status == "waiting"


def has_call(state: State) -> bool:
    return any(c.status == "requested" for c in state.calls.values())


STATES: dict[str, tuple[Any, Callable[[State], bool]]] = {
    "thinking": (think, lambda s: s.run is not None),
    "streaming": (stream, last_has_parts),
    "naming a call": (name_a_call, lambda s: bool(s.calls)),
    "narrating": (narrate, lambda s: has_call(s) and last_has_parts(s) and len(s.messages) > 2),
    "client call": (call_client, waits),
    "call with consent": (call_with_consent, waits),
    "server call": (call_server, has_call),
    "server call with consent": (call_server_with_consent, waits),
    "approval": (approve, waits),
}


@pytest.mark.parametrize(
    ("name", "place"),
    [(name, place) for name in STATES for place in ("held", "lost", "taken over")]
    + [(name, "parked") for name, (_, reached) in STATES.items() if reached is waits],
)
async def test_stop_closes_everything_and_nothing_follows(name: str, place: str) -> None:
    """Wherever the run is: at its worker, parked, at a lost worker, or just taken over."""
    function, reached = STATES[name]
    tools = [hang, ask_first]
    stage = Stage([agent(name="a", resume="replay", tools=tools)(function)])
    await stage.create("a", [SCAN, SURE])
    if place in ("lost", "taken over"):
        await stage.send("Hi")
        async with stage.lost_worker():
            await stage.until(reached)
        if place == "lost":
            await stage.command("run.interrupt", reason="enough")
        stage.clock.advance(15.1)
        async with stage.worker() as worker:
            if place == "taken over":
                await stage.until_log("run.retrying")
                await stage.command("run.interrupt", reason="enough")
            await stage.parked(worker)
    else:
        async with stage.worker(park_after_s=0.0 if place == "parked" else 10.0) as worker:
            await stage.send("Hi")
            await stage.until(reached)
            if place == "parked":
                await stage.parked(worker)
            await stage.command("run.interrupt", reason="enough")
            await stage.parked(worker)
    events = await stage.events()
    assert events[-1]["type"] == "run.cancelled"
    assert types(events).count("run.cancelled") == 1
    state = await stage.state()
    assert state.live_run is None
    assert all(m.status != "open" for m in state.messages)
    assert all(c.status == "completed" for c in state.calls.values())
    assert all(a.decision == "cancelled" for a in state.approvals.values())


async def test_stop_before_any_worker_came() -> None:
    stage = Stage([agent(name="a")(think)])
    await stage.create("a")
    await stage.send("Hi")
    await stage.command("run.interrupt")
    async with stage.worker() as worker:
        await stage.send("Again")
        await stage.until(lambda s: s.run is not None and s.run.id == "r_2")
        await stage.command("run.interrupt")
        await stage.parked(worker)
    started = [e["run"] for e in await stage.events() if e["type"] == "run.started"]
    assert started == ["r_2"]


@pytest.mark.parametrize("queued_meanwhile", [False, True])
async def test_a_claim_with_nothing_to_run_is_given_back(queued_meanwhile: bool) -> None:
    async def done(_run: RunContext) -> None: ...

    stage = Stage([agent(name="a")(done)])
    await stage.create("a")
    released: list[Any] = []
    release = stage.broker.release

    async def racing(session: str, fence: int, **rest: Any) -> None:
        released.append(rest["claimable_at"])
        if queued_meanwhile and len(released) == 1:
            await stage.send("Hi")
        await release(session, fence, **rest)

    stage.broker.release = racing
    wake = Append(session="s_0", epoch="e_1", bodies=[], control=0, claimable_at=stage.clock())
    await stage.broker.append(wake)
    async with stage.worker():
        await eventually(lambda: released)
        if not queued_meanwhile:
            await stage.send("Hi")
        await stage.ended()
    assert released == ([None, stage.clock()] if queued_meanwhile else [None])


async def test_an_agent_stopped_before_it_began_is_not_called() -> None:
    begun: list[str] = []

    async def begin(run: RunContext) -> None:
        begun.append(run.id)
        await asyncio.Event().wait()

    stage = Stage([agent(name="a", resume="replay")(begin)])
    await stage.create("a")
    await stage.send("Hi")
    async with stage.lost_worker():
        await eventually(lambda: begun)
    stage.clock.advance(15.1)
    read = stage.broker.read

    async def stopped_meanwhile(*args: Any, **rest: Any) -> Any:
        if not stops:
            stops.append(True)
            await stage.command("run.interrupt")
            for _ in range(5):  # the keeper folds the news before the agent's task goes on
                await asyncio.sleep(0)
        return await read(*args, **rest)

    stops: list[bool] = []
    stage.broker.read = stopped_meanwhile
    async with stage.worker() as worker:
        await eventually(lambda: stops)
        await stage.parked(worker)
    assert begun == ["r_1"]
    assert types(await stage.events())[-2:] == ["run.retrying", "run.cancelled"]


async def test_an_agent_that_ignores_its_cancellation_is_abandoned() -> None:
    ends: list[str] = []
    give_up = asyncio.Event()

    async def deaf(run: RunContext) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            while not give_up.is_set():  # as if nothing had happened
                try:
                    await run.say("I go on!")
                except asyncio.CancelledError:
                    ends.append("refused")
                    await give_up.wait()

    stage = Stage([agent(name="a")(deaf)])
    await stage.create("a")
    async with stage.worker(cancel_s=0.05) as worker:
        await stage.send("Hi")
        await stage.until(lambda s: s.run is not None)
        await stage.command("run.interrupt")
        await stage.parked(worker)
        assert ends == ["cancelled", "refused"]
        await stage.send("Next")  # the session is not blocked
        await stage.until(lambda s: s.run is not None and s.run.id == "r_2")
        await stage.command("run.interrupt")
        give_up.set()
    assert types(await stage.events())[3:] == [
        "run.started",
        "run.cancelled",
        "message.added",
        "run.queued",
        "run.started",
        "run.cancelled",
    ]


async def test_deleting_the_session_ends_its_run() -> None:
    ends: list[type[BaseException]] = []

    async def wait(_run: RunContext) -> None:
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            ends.append(type(error))
            raise

    stage = Stage([agent(name="a")(wait)])
    await stage.create("a")
    async with stage.worker() as worker:
        await stage.send("Hi")
        await stage.until(lambda s: s.run is not None)
        await stage.command("session.delete")
        await stage.parked(worker)
    assert ends == [asyncio.CancelledError]


async def test_a_zombie_writes_nothing_after_the_takeover() -> None:
    go = asyncio.Event()
    attempts: list[str] = []

    async def talk(run: RunContext) -> None:
        me = f"attempt {len(attempts) + 1}"
        attempts.append(me)
        await go.wait()
        await run.say(me)

    frozen: FunctionAgent = agent(name="a", resume="history")(talk)
    stage = Stage([frozen])
    await stage.create("a")
    async with stage.worker() as first:
        await stage.send("Hi")
        await eventually(lambda: attempts)
        stage.broker.copies = 0  # it hears nothing, and its lease runs out
        stage.clock.advance(15.1)
        first.stop()
        async with stage.worker():
            await eventually(lambda: len(attempts) == 2)
            go.set()
            await stage.until_log("run.completed")
    said = [e["delta"] for e in await stage.events() if e["type"] == "message.delta"]
    assert said == ["attempt 2"]


async def test_a_new_epoch_does_not_disturb_an_attempt_that_it_holds() -> None:
    go = asyncio.Event()
    begun = asyncio.Event()

    async def talk(run: RunContext) -> None:
        async with run.message() as message:
            await message.write("Here ")
            begun.set()
            await go.wait()
            await message.write("I am.")

    stage = Stage([agent(name="a", resume="none")(talk)])
    await stage.create("a")
    async with stage.worker():
        await stage.send("Hi")
        await begun.wait()
        await stage.until_log("message.delta")
        stage.broker._sessions["s_0"].epoch = "e_2"
        go.set()
        await stage.until_log("run.completed")
    assert types(await stage.events())[3:] == [
        "run.started",
        "message.started",
        "message.delta",
        "message.completed",
        "run.completed",
    ]


async def test_an_attempt_that_lost_something_to_a_new_epoch_is_made_again() -> None:
    go = asyncio.Event()
    attempts: list[int] = []

    async def talk(run: RunContext) -> None:
        attempts.append(1)
        await go.wait()
        await run.say("Here I am.")

    stage = Stage([agent(name="a", resume="history")(talk)])
    await stage.create("a")
    async with stage.worker():
        await stage.send("Hi")
        await eventually(lambda: attempts)
        log = stage.broker._sessions["s_0"]
        assert b'"run.started"' in log.events[-1]
        log.events[-1] = b'{"type":"run.started","time":"2026-01-01T00:00:00.001Z","run":"r_1"}'
        log.epoch = "e_2"
        go.set()
        await stage.until_log("run.completed")
    assert len(attempts) == 2
    assert types(await stage.events())[4:] == [
        "run.resumed",
        "message.started",
        "message.delta",
        "message.completed",
        "run.completed",
    ]


async def test_a_call_under_way_is_not_repeated_after_a_hand_over() -> None:
    begun: list[int] = []

    @server_tool
    async def pay() -> None:
        """Must not happen twice."""
        begun.append(1)
        await asyncio.Event().wait()

    async def buy(run: RunContext) -> Any:
        result = (await run.call_tools([("pay", {})]))[0]
        return result.error and result.error.code

    stage = Stage([agent(name="a", resume="replay", tools=[pay])(buy)])
    await stage.create("a")
    async with stage.worker(drain_s=0.0) as worker:
        await stage.send("Hi")
        await eventually(lambda: begun)
        worker.stop()
    async with stage.worker():
        state = await stage.ended()
    assert state.run is not None
    assert state.run.output == "tool.outcome_unknown"
    assert begun == [1]


def buyer(slow_attempt: int = 0) -> tuple[FunctionAgent, list[int], list[int]]:
    """An agent that pays, which never ends, and says what came of it; its payments and attempts.

    `slow_attempt` does not come to it.
    """
    begun: list[int] = []
    attempts: list[int] = []

    @server_tool
    async def pay() -> None:
        """Must not happen twice."""
        begun.append(1)
        await asyncio.Event().wait()

    async def buy(run: RunContext) -> Any:
        attempts.append(1)
        if len(attempts) == slow_attempt:
            await asyncio.Event().wait()
        result = (await run.call_tools([("pay", {})]))[0]
        return result.error and result.error.code

    return agent(name="a", resume="replay", tools=[pay])(buy), begun, attempts


@pytest.mark.parametrize("fails", ["load", "follow"])
async def test_what_was_lost_stays_lost_when_the_next_claim_cannot_begin(fails: str) -> None:
    """A worker dies amid a call; the next one claims the run and cannot reach the broker."""
    one, begun, _ = buyer()
    stage = Stage([one])
    await stage.create("a")
    await stage.send("Hi")
    async with stage.lost_worker():
        await eventually(lambda: begun)
    stage.clock.advance(15.1)
    verb = getattr(stage.broker, fails)
    failed: list[int] = []

    async def failing(*args: Any, **rest: Any) -> Any:
        if not failed:
            failed.append(1)
            raise BrokerUnavailable("not now")
        return await verb(*args, **rest)

    setattr(stage.broker, fails, failing)
    times = LeaseTimes(stop_s=-1.0)  # given up at once
    async with stage.worker(lease=times):
        await eventually(lambda: failed)
    stage.clock.advance(15.1)
    async with stage.worker():
        await stage.until_log("run.completed")
    assert begun == [1]
    state = await stage.state()
    assert state.run is not None
    assert state.run.output == "tool.outcome_unknown"


async def test_a_call_under_way_is_not_repeated_when_the_epoch_changes() -> None:
    """The attempt cannot go on in the new epoch, which still knows of the call."""
    one, begun, _ = buyer()
    stage = Stage([one])
    await stage.create("a")
    async with stage.worker():
        await stage.send("Hi")
        await eventually(lambda: begun)
        log = stage.broker._sessions["s_0"]
        log.events[-1] = log.events[-1].replace(b"2026", b"2027")  # not what was acknowledged
        log.epoch = "e_2"
        for follower in stage.broker.followers():
            follower(News("s_0", "e_2", 0, 0, 0, ()))
        await stage.until_log("run.completed")
    assert begun == [1]
    state = await stage.state()
    assert state.run is not None
    assert state.run.output == "tool.outcome_unknown"


async def test_a_lost_call_is_not_repeated_after_a_hand_over_before_it_was_settled() -> None:
    one, begun, attempts = buyer(slow_attempt=2)
    stage = Stage([one])
    await stage.create("a")
    await stage.send("Hi")
    async with stage.lost_worker():
        await eventually(lambda: begun)
    stage.clock.advance(15.1)
    async with stage.worker(drain_s=0.0) as worker:
        await eventually(lambda: len(attempts) == 2)
        worker.stop()
    async with stage.worker():
        state = await stage.ended()
    assert state.run is not None
    assert state.run.output == "tool.outcome_unknown"
    assert begun == [1]


async def test_an_attempt_that_the_broker_refuses_amid_a_call_counts_as_lost() -> None:
    one, begun, _ = buyer()
    stage = Stage([one])
    await stage.create("a")
    renew = stage.broker.renew

    async def refuse(session: str, fence: int, *, lease_s: float) -> float:
        if len(begun) == 1 and not refused:
            refused.append(1)
            raise BrokerError("ERR of a kind that nobody knows")
        return await renew(session, fence, lease_s=lease_s)

    refused: list[int] = []
    stage.broker.renew = refuse
    async with stage.worker(lease=LeaseTimes(renew_s=0.01)):
        await stage.send("Hi")
        await eventually(lambda: refused)
        stage.clock.advance(15.1)
        await stage.until_log("run.completed")
    assert begun == [1]
    assert "run.retrying" in types(await stage.events())


@pytest.mark.parametrize(("losses", "pauses"), [(1, False), (2, True)])
async def test_the_second_retry_in_a_row_waits(losses: int, pauses: bool) -> None:
    begun: list[float] = []
    loop = asyncio.get_running_loop()

    async def crash(_run: RunContext) -> None:
        begun.append(loop.time())
        if len(begun) <= losses:
            await asyncio.Event().wait()

    stage = Stage([agent(name="a", resume="history")(crash)])
    await stage.create("a")
    await stage.send("Hi")
    for attempt in range(1, losses + 1):
        async with stage.lost_worker(backoff_s=0.0):
            await eventually(lambda n=attempt: len(begun) == n)
        stage.clock.advance(15.1)
    backoff_s = 0.2 if pauses else 60.0
    before = loop.time()
    async with stage.worker(backoff_s=backoff_s):
        await stage.ended()
    assert (begun[-1] - before >= backoff_s) is pauses


def test_no_usage_is_none() -> None:
    assert usage_of(State(session="s"), "r_1") is None
