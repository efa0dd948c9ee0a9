"""Faults, Worker crash: runs that survive their workers, and workers that survive their runs."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.app import GatewayWorker
from gateway.broker.redis.broker import RedisBroker
from gateway.settings import WorkerSettings
from tests.broker.redis.opening import QUICK, opened
from tests.conftest import StartGateway
from tests.faults.conftest import LEASE_OPTIONS, LEASES, LONG_LEASE_OPTIONS, Replica, Replicate
from tests.faults.producer import Story, script, told
from tests.faults.record import stored
from tests.faults.trial import trial
from tests.support.processes import GatewayProcess, Valkey
from tests.support.waiting import eventually
from tests.support.wire import Frame, Tab

READ: Frame = {
    "name": "read_heading",
    "description": "Reads a heading",
    "parameters": {"type": "object"},
}
CALL: Frame = {"call_tool": {"name": "read_heading", "arguments": {}}}
APPROVE: Frame = {"approve": {"title": "Really?"}}
TAKEOVER_SECONDS = 30
# Only where nobody has to renew in time.
QUICK_LEASES = ("--lease-ms=1000", "--lease-renew-ms=200", "--lease-stop-ms=600")

# Takes its worker with it, at once.
POISON = """
import os
from gateway.runtime.agent import agent

@agent(name="poison", resume="replay")
async def poison(run):
    os._exit(7)
"""

# An effect and its result are not one step: a holder that stops beginning at 2 s has four more
# to store the result of what it began, however busy the machine is.
PATIENT_LEASES = (
    "--lease-ms=6000", "--lease-renew-ms=500", "--lease-stop-ms=2000", "--stall-ms=60000"
)  # fmt: skip

# A name of its own: runs that another test left on the server would be claimed, too.
# Blocks its worker's loop until another has taken the run and acted, then acts as if nothing had
# been. How long that takes is the other's business: on a busy machine it may spare the lease.
BLOCKER = """
import pathlib, time
from gateway.runtime.agent import agent

EFFECTS = pathlib.Path(__file__).with_name("effects")

def act() -> str:
    with EFFECTS.open("a") as file:
        file.write("x")
    return "done"

@agent(name="w3", resume="replay", tools=[act])
async def blocker(run):
    first = EFFECTS.with_name("first")
    await run.say("Here I am. ")
    if not first.exists():
        first.touch()
        until = time.monotonic() + 25
        while not EFFECTS.exists() and time.monotonic() < until:
            time.sleep(0.05)
    await run.call_tool("act")
    await run.say("Done.")
"""


@pytest.fixture
async def front(replicate: Replicate, valkey: Valkey) -> Replica:
    """A replica that runs nothing itself."""
    return await replicate(valkey.url, runs=False, agents=("scripted", "echo"))


async def start_worker(
    gateway: StartGateway, url: str, agents: str, leases: Sequence[str] = LEASE_OPTIONS
) -> GatewayProcess:
    options = ("--broker", url, "--agents", agents, "--park-after-ms=600000", *leases)
    return await gateway(*options, command="worker")


def parking_worker(url: str) -> GatewayWorker:
    settings = WorkerSettings(agents=("scripted",), park_after_ms=50, **LEASES)  # type: ignore[arg-type]
    return GatewayWorker(settings, broker=RedisBroker(url, rhythm=QUICK))


async def is_parked(worker: GatewayWorker) -> None:
    assert worker.worker is not None
    await eventually(lambda: worker.worker and worker.worker.active == 0, what="parked")


async def test_W1_killed_at_every_point_of_a_run(
    gateway: StartGateway, front: Replica, valkey: Valkey
) -> None:
    """Before the first event of its own, amid deltas, waiting for a tool, and for a person."""
    story = Story(150, 40)
    tail = Story(5, 0, name="tail")
    scripts: dict[str, list[Any]] = {
        "before": [{"sleep_ms": 6_000}, tail],
        "amid": [story, tail],
        "tool": [Story(2, 0), CALL, tail],
        "person": [Story(2, 0), APPROVE, tail],
        "between": [Story(2, 0), CALL, {"sleep_ms": 6_000}, tail],
    }
    begun = {
        "before": "run.started",
        "amid": "message.delta",
        "tool": "run.waiting",
        "person": "run.waiting",
        "between": "tool_call.completed",
    }
    async with trial(front.gateway.broker) as t:
        first = await start_worker(gateway, valkey.url, "scripted")
        clients = {place: await t.client(front.url) for place in scripts}
        sessions = {p: await c.create(tools=[READ]) for p, c in clients.items()}
        runs: dict[str, str] = {}
        for place, client in clients.items():
            ok = await client.send(sessions[place], script(*scripts[place]))
            runs[place] = ok["run"]
        between = clients["between"]
        await between.tool_result(await between.event("tool_call.requested"), 1)
        for place, client in clients.items():
            await client.event(begun[place])
        await clients["amid"].deltas(5)
        await first.kill()
        await start_worker(gateway, valkey.url, "scripted")
        tool, person = clients["tool"], clients["person"]
        await tool.tool_result(tool.seen("tool_call.requested")[0], 1)
        asked = person.seen("approval.requested")[0]
        respond = {"type": "approval.respond", "session": sessions["person"]}
        await person.must({**respond, "approval": asked["approval"], "decision": "approve"})
        for place, client in clients.items():
            end = await client.run_end(runs[place], within=TAKEOVER_SECONDS)
            assert end["type"] == "run.completed", place
            retried = client.seen("run.retrying", "run.resumed")
            # more than one, if the machine stood still meanwhile
            assert [event["attempt"] for event in retried][:1] == [2], place
            text = told(await t.log(sessions[place]), runs[place])
            assert text.endswith(tail.text), place
            assert client.text(sessions[place]) == text
        story.assert_told(clients["amid"].text(sessions["amid"]).removesuffix(tail.text))
        assert len(between.seen("tool_call.requested")) == 1


async def test_W2_a_zombie_is_fenced(gateway: StartGateway, front: Replica, valkey: Valkey) -> None:
    story = Story(300, 20)
    async with trial(front.gateway.broker) as t:
        zombie = await start_worker(gateway, valkey.url, "scripted")
        client = await t.client(front.url)
        session = await client.create()
        run = (await client.send(session, script(story)))["run"]
        await client.deltas(5)
        zombie.pause()
        await start_worker(gateway, valkey.url, "scripted", LONG_LEASE_OPTIONS)
        await client.event("run.retrying", within=TAKEOVER_SECONDS)
        await client.deltas(5)
        retried = len(client.seen("run.retrying"))
        zombie.resume()  # while the other is in the middle of it
        await client.run_end(run, within=TAKEOVER_SECONDS)
        story.assert_told(client.text(session))
        assert len(client.seen("run.retrying")) == retried
        # it is a good worker again
        after = (await client.send(session, script(Story(3, 0))))["run"]
        await client.run_end(after)


async def test_W3_a_blocked_loop_has_no_effect_after_its_lease(
    gateway: StartGateway, replicate: Replicate, valkey: Valkey, tmp_path: Path
) -> None:
    (tmp_path / "blocking_agents.py").write_text(BLOCKER)
    front = await replicate(valkey.url, runs=False)
    async with trial(front.gateway.broker) as t:
        workers = [
            await start_worker(gateway, valkey.url, "blocking_agents:blocker", PATIENT_LEASES)
            for _ in range(2)
        ]
        client = await t.client(front.url)
        session = await client.create("w3")
        run = (await client.send(session, "Go"))["run"]
        end = await client.run_end(run, within=TAKEOVER_SECONDS)
        assert end["type"] == "run.completed"
        assert client.text(session) == "Here I am. Done."
        assert len(client.seen("run.retrying")) == 1
        for worker in workers:  # by then whatever the first one still does is done
            assert await worker.terminate() == 0
        assert (tmp_path / "effects").read_text() == "x"


async def test_W5_a_poisonous_run_fails_and_blocks_nobody(
    gateway: StartGateway, replicate: Replicate, valkey: Valkey, tmp_path: Path
) -> None:
    (tmp_path / "poison_agents.py").write_text(POISON)
    front = await replicate(valkey.url, runs=False)
    async with trial(front.gateway.broker) as t:
        client = await t.client(front.url)
        await front.gateway.broker.offer({"poison": b""})  # by a worker of a while ago
        session = await client.create("poison")
        run = (await client.send(session, "Die"))["run"]
        behind = (await client.send(session, "Die too", if_busy="enqueue"))["run"]
        for _ in range(3):
            worker = await start_worker(gateway, valkey.url, "poison_agents:poison", QUICK_LEASES)
            assert await worker.wait(TAKEOVER_SECONDS) == 7
        # the next that claims it says that it is lost, and dies of the one behind
        last = await start_worker(gateway, valkey.url, "poison_agents:poison", QUICK_LEASES)
        end = await client.run_end(run, within=TAKEOVER_SECONDS)
        assert (end["type"], end["error"]["code"]) == ("run.failed", "worker.lost")
        await client.event("run.started", run=behind)
        assert await last.wait(TAKEOVER_SECONDS) == 7
        stop = {"type": "run.interrupt", "session": session, "run": behind}
        await client.must(stop)


async def test_W6_many_workers_one_owner(replicate: Replicate, valkey: Valkey) -> None:
    """Eight workers that wake at the same moment for forty runs: each is started once."""
    front = await replicate(valkey.url, runs=False)
    settings = WorkerSettings(agents=("scripted",), **LEASES)  # type: ignore[arg-type]
    workers = [
        GatewayWorker(settings, broker=RedisBroker(valkey.url, rhythm=QUICK)) for _ in range(8)
    ]
    async with trial(front.gateway.broker) as t:
        client = await t.client(front.url)
        sessions = [await client.create() for _ in range(40)]
        runs = [(await client.send(s, script(Story(3, 1))))["run"] for s in sessions]
        async with asyncio.TaskGroup() as group:
            done = asyncio.Event()

            async def work(worker: GatewayWorker) -> None:
                async with worker.running():
                    await done.wait()

            for worker in workers:
                group.create_task(work(worker))
            for run in runs:
                assert (await client.run_end(run))["type"] == "run.completed"
            done.set()
        assert not client.seen("run.retrying", "run.resumed")
        for session in sessions:
            Story(3).assert_told(client.text(session))


async def test_W7_an_approval_while_no_worker_has_the_run(
    replicate: Replicate, valkey: Valkey
) -> None:
    front = await replicate(valkey.url, runs=False)
    async with trial(front.gateway.broker) as t:
        client = await t.client(front.url)
        session = await client.create()
        run = (await client.send(session, script(Story(2, 0), APPROVE, {"say": "{last}"})))["run"]
        first = parking_worker(valkey.url)
        async with first.running():
            asked = await client.event("approval.requested")
            await is_parked(first)
        respond = {"type": "approval.respond", "session": session, "approval": asked["approval"]}
        await client.must({**respond, "decision": "approve"})
        assert not client.seen("run.resumed")
        async with parking_worker(valkey.url).running():
            await client.run_end(run)
        assert client.text(session) == Story(2).text + '{"decision":"approve"}'
        assert [e["attempt"] for e in client.seen("run.resumed")] == [2]
        assert len(client.seen("approval.resolved")) == 1


@pytest.mark.parametrize("place", ["parked", "lost", "being taken over"])
async def test_C14_a_stop_where_no_worker_is(
    gateway: StartGateway, front: Replica, valkey: Valkey, place: str
) -> None:
    """One end, nothing after it, and the session goes on at once with whoever is there."""
    steps = [APPROVE] if place == "parked" else [Story(1_000, 10)]
    async with trial(front.gateway.broker) as t:
        client = await t.client(front.url)
        session = await client.create()
        run = (await client.send(session, script(*steps)))["run"]
        stop = {"type": "run.interrupt", "session": session, "run": run}
        if place == "parked":
            worker = parking_worker(valkey.url)
            async with worker.running():
                await client.event("run.waiting")
                await is_parked(worker)
        else:
            first = await start_worker(gateway, valkey.url, "scripted")
            await client.deltas(5)
            await first.kill()
        if place == "being taken over":
            await start_worker(gateway, valkey.url, "scripted")
            await client.event("run.retrying", within=TAKEOVER_SECONDS)
        await client.must(stop)
        assert (await client.run_end(run))["type"] == "run.cancelled"
        if place != "being taken over":
            await start_worker(gateway, valkey.url, "scripted")
        after = (await client.send(session, script(Story(3, 0))))["run"]
        end = await client.run_end(after, within=TAKEOVER_SECONDS)
        assert end["type"] == "run.completed"
        kinds = [e["type"] for e in client.events if e.get("run") == run]
        assert kinds[-1] == "run.cancelled"
        assert kinds.count("run.cancelled") == 1


async def test_a_deadline_passes_where_no_client_and_no_worker_is(
    gateway: StartGateway, valkey: Valkey
) -> None:
    """One process that executes nothing is enough; whoever comes later finds the call closed."""
    served = await gateway("--broker", valkey.url, "--no-runs")
    tool = {**READ, "lease_ms": 500, "timeout_ms": 2_000}
    async with opened(valkey.url) as reader:
        async with Tab(served.url) as tab:
            session = await tab.create("scripted", tools=[tool])
            await tab.subscribe(session, detail="full")
            await tab.script(session, CALL, {"say": "{last}"})
            worker = parking_worker(valkey.url)
            async with worker.running():
                await tab.wait_for("run.waiting")
                await is_parked(worker)

        async def tells(words: bytes) -> bool:
            return any(words in body for body in (await stored(reader, session)).bodies)

        await eventually(lambda: tells(b"tool.no_client"), within=20, what="the deadline")
        async with parking_worker(valkey.url).running(), Tab(served.url) as tab:
            await eventually(lambda: tells(b"run.completed"), within=20, what="the end")
            state = (await tab.subscribe(session, detail="full"))["state"]
        (said,) = state["messages"][-1]["parts"]
        assert json.loads(said["text"])["error"]["code"] == "tool.no_client"
