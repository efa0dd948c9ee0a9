"""Faults, Worker and Deploy: workers that leave, agents that will not, and versions that differ."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gateway.app import GatewayWorker
from gateway.broker.base import Append, Broker
from gateway.broker.redis.broker import RedisBroker
from gateway.runtime.agent import agent
from gateway.runtime.context import RunContext
from gateway.settings import Settings, WorkerSettings
from tests.broker.redis.opening import QUICK
from tests.conftest import StartGateway
from tests.faults.conftest import LEASE_OPTIONS, LEASES, LONG_LEASE_OPTIONS, Replica, Replicate
from tests.faults.producer import Story, script
from tests.faults.proxy import FaultProxy
from tests.faults.trial import Trial, trial
from tests.support.composed import composed
from tests.support.processes import GatewayProcess, Valkey
from tests.support.waiting import eventually
from tests.support.wire import Frame, Tab, new_id


def worker_of(url: str, **options: Any) -> GatewayWorker:
    chosen: dict[str, Any] = {"agents": ("scripted",), "drain_ms": 1_000, **LEASES, **options}
    settings = WorkerSettings(**chosen)
    return GatewayWorker(settings, broker=RedisBroker(url, rhythm=QUICK))


# --- W4: a worker that cannot reach Redis, while all others can

# Notes an effect; before it each attempt takes longer than a lease.
SLOW = """
import asyncio, pathlib
from gateway.runtime.agent import agent

EFFECTS = pathlib.Path(__file__).with_name("effects")

def act() -> str:
    with EFFECTS.open("a") as file:
        file.write("x")
    return "done"

@agent(name="slow", resume="replay", tools=[act])
async def slow(run):
    await run.say("Here I am. ")
    await asyncio.sleep(3.2)
    await run.call_tool("act")
    await run.say("Done.")
"""


async def test_W4_cut_off_from_redis_it_acts_no_more(
    gateway: StartGateway,
    replicate: Replicate,
    valkey: Valkey,
    proxied: Callable[[int], Awaitable[FaultProxy]],
    tmp_path: Path,
) -> None:
    """Another takes over and acts, once; healed, the first has nothing left to say."""
    (tmp_path / "slow_agents.py").write_text(SLOW)
    proxy = await proxied(valkey.port)
    front = await replicate(valkey.url, runs=False)
    options = ("--agents", "slow_agents:slow", "--drain-ms=1000")
    async with trial(front.gateway.broker) as t:
        await gateway("--broker", proxy.redis_url, *options, *LEASE_OPTIONS, command="worker")
        client = await t.client(front.url)
        session = await client.create("slow")
        run = (await client.send(session, "Go"))["run"]
        await client.event("message.completed")
        proxy.swallow()
        await gateway("--broker", valkey.url, *options, *LONG_LEASE_OPTIONS, command="worker")
        assert (await client.run_end(run))["type"] == "run.completed"
        proxy.heal()
        proxy.cut()
        assert client.text(session) == "Here I am. Done."
        assert client.seen("run.retrying")
        assert (tmp_path / "effects").read_text() == "x"


# --- W8: who may work is decided by the fence


async def test_W8_a_run_at_work_is_nobody_elses(replicate: Replicate, valkey: Valkey) -> None:
    """Four idle workers ask for it all the time, for longer than a lease: it keeps its owner."""
    story = Story(180, 25)
    assert story.words * story.interval_ms > LEASES["lease_ms"]
    front = await replicate(valkey.url, runs=False)
    owner = worker_of(valkey.url)
    idle = [worker_of(valkey.url) for _ in range(4)]
    async with trial(front.gateway.broker) as t, owner.running():
        client = await t.client(front.url)
        session = await client.create()
        run = (await client.send(session, script(story)))["run"]
        await client.deltas(3)
        async with idle[0].running(), idle[1].running(), idle[2].running(), idle[3].running():
            await client.run_end(run)
        story.assert_told(client.text(session))
        assert not client.seen("run.retrying", "run.resumed")


# --- W9: an agent that will not stop


class Deaf:
    """What an agent does that ignores every cancellation until the test lets it go."""

    def __init__(self) -> None:
        self.refused = 0
        self.let_go = asyncio.Event()

    async def work(self, run: RunContext) -> None:
        while not self.let_go.is_set():
            try:
                await run.say("I go on! ")
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                self.refused += 1
                await asyncio.sleep(0)
            except Exception:  # noqa: BLE001 - that is what it is like
                self.refused += 1
                await asyncio.sleep(0.01)


async def test_W9_an_agent_that_ignores_its_cancellation() -> None:
    """The person sees the end at once; not a word follows, and the session is free."""
    deaf = Deaf()
    settings = Settings(agents=("scripted",), drain_ms=1_000, cancel_ms=100)
    async with composed(settings, agents={"deaf": agent(name="deaf")(deaf.work)}) as (
        gateway,
        place,
    ):
        try:
            async with trial(gateway.broker) as t:
                client = await t.client(f"ws://{place}/v1/ws")
                session = await client.create("deaf")
                for _ in range(2):
                    run = (await client.send(session, "Go"))["run"]
                    await client.deltas(2)
                    stop = await client.must({"type": "run.interrupt", "session": session})
                    end = await client.run_end(run)
                    assert (end["type"], end["seq"]) == ("run.cancelled", stop["seq"])
                before = deaf.refused
                await eventually(lambda: deaf.refused > before + 20, what="it still tries")
                assert gateway.worker is not None
                await eventually(lambda: gateway.worker and gateway.worker.active == 0)
                assert (await t.log(session)).head == client.seen("run.cancelled")[-1]["seq"]
        finally:
            deaf.let_go.set()


# --- W10, S6: workers that leave


async def test_W10_workers_come_and_go_and_no_run_is_lost(
    replicate: Replicate, valkey: Valkey
) -> None:
    """Each is stopped in the middle of claiming; what it had in hand is another's at once."""
    front = await replicate(valkey.url, runs=False)
    async with trial(front.gateway.broker) as t:
        client = await t.client(front.url)
        sessions = [await client.create() for _ in range(40)]
        runs: list[str] = []

        async def ask() -> None:
            for at, session in enumerate(sessions):
                runs.append((await client.send(session, script(Story(3, 1))))["run"])
                await client.until(lambda at=at: ended() >= at - 12, what="not too far ahead")

        def ended() -> int:
            return len(client.seen("run.completed"))

        async with asyncio.TaskGroup() as group:
            asking = group.create_task(ask())
            while not asking.done():
                goal = ended() + 3
                async with worker_of(valkey.url).running():
                    await client.until(
                        lambda goal=goal: ended() >= min(goal, len(runs)) or asking.done()
                    )
        async with worker_of(valkey.url).running():
            for run in runs:
                assert (await client.run_end(run))["type"] == "run.completed"
        for session in sessions:
            Story(3).assert_told(client.text(session))


async def test_S6_a_worker_is_told_to_end_amid_an_answer(
    gateway: StartGateway, replicate: Replicate, valkey: Valkey
) -> None:
    """It gives its lease back, so another goes on long before that would be out."""
    front = await replicate(valkey.url, runs=False)
    story, tail = Story(200, 40), Story(5, 0, name="tail")

    async def start() -> GatewayProcess:
        # a lease that nobody gave back would outlast the waits below
        return await gateway(
            "--broker", valkey.url, "--agents", "scripted", "--drain-ms=1500", *LONG_LEASE_OPTIONS,
            command="worker",
        )  # fmt: skip

    async with trial(front.gateway.broker) as t:
        leaving = await start()
        client = await t.client(front.url)
        session = await client.create()
        run = (await client.send(session, script(story, tail)))["run"]
        await client.event("message.delta")
        await start()
        assert await leaving.terminate(within=20) == 0
        assert (await client.run_end(run))["type"] == "run.completed"
        assert client.text(session) == story.text + tail.text
        assert len(client.seen("run.retrying", "run.resumed")) == 1


# --- S5: versions that differ


async def test_S5_a_newer_gateway_has_written_into_the_log(two: tuple[Replica, Replica]) -> None:
    """Unknown events, fields and values pass through, move cursors, and harm no later run."""
    async with trial(two[0].gateway.broker) as t:
        one, other = await t.client(two[0].url), await t.client(two[1].url)
        session = await one.create()
        await other.follow(session)
        await one.run_end((await one.send(session, script(Story(5, 0))))["run"])
        await newer(t, session)
        for client in (one, other):
            assert (await client.event("session.sparkled"))["shine"] == {"a": [1]}
            assert (await client.event("run.log"))["colour"] == "red"
        run = (await other.send(session, script(Story(7, 0))))["run"]
        for client in (one, other):
            await client.run_end(run)
            assert client.text(session) == Story(5).text + Story(7).text
        # and so does who comes later, on a replica that never saw them
        late = await t.client(two[1].url)
        await late.follow(session, after=0)
        await late.run_end(run)
        assert late.seen("session.sparkled")
        async with Tab(two[1].url) as tab:
            state = (await tab.subscribe(session, detail="full"))["state"]
            assert len(state["messages"]) == 4


async def newer(t: Trial, session: str) -> None:
    """What a version to come might append."""
    common: Frame = {"time": "2026-01-01T00:00:00.000Z"}
    run = new_id("r")
    events: list[Frame] = [
        {"type": "session.sparkled", **common, "shine": {"a": [1]}},
        {"type": "run.log", **common, "run": run, "level": "x", "text": "t", "colour": "red"},
        {"type": "run.activity", **common, "run": run, "activity": "dreaming", "of": "sheep"},
    ]
    await append(t.broker, session, *events)


async def append(broker: Broker, session: str, *events: Frame) -> None:
    (head,) = await broker.heads([session])
    assert head is not None
    bodies = [json.dumps(event, separators=(",", ":")).encode() for event in events]
    await broker.append(Append(session=session, epoch=head.epoch, bodies=bodies, control=0))


async def test_S5_deltas_of_a_newer_kind(replica: Replica) -> None:
    """They are merged with nothing, and kill nobody's replay."""
    common: Frame = {"type": "message.delta", "time": "2026-01-01T00:00:00.000Z", "message": "m_1"}
    async with Tab(replica.url) as tab:
        session = await tab.create()
        for kind in ("text", "hologram", "hologram", "text"):
            deltas = [{**common, "part": 0, "kind": kind, "delta": f"{at} "} for at in range(3)]
            await append(replica.gateway.broker, session, *deltas)
        for detail in ("full", "steps", "answer"):
            since = tab.mark()
            await tab.subscribe(session, after=0, detail=detail)
            await tab.wait_for("cursor", since=since, seq=13)
            kinds = {f["kind"] for f in tab.find("message.delta", since=since)}
            assert kinds == ({"text", "hologram"} if detail == "full" else {"text"})
            if detail == "full":
                tab.assert_dense(session)
