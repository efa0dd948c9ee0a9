"""Faults, Clock: wall clocks that are wrong, jump, or stand still with everything else."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from gateway.app import GatewayWorker
from gateway.broker.redis.broker import RedisBroker
from gateway.errors import Trimmed
from gateway.settings import WorkerSettings
from tests.broker.redis.opening import QUICK, asking, opened
from tests.conftest import StartGateway
from tests.faults.conftest import LEASES, LONG_LEASE_OPTIONS, SCALE, Replica, Replicate
from tests.faults.faketime import FakeClock
from tests.faults.producer import Story, script
from tests.faults.trial import trial
from tests.support.processes import Valkey
from tests.support.waiting import eventually
from tests.support.wire import Frame, Tab, new_id

HOUR_S, JUMP_S = 3_600, 60
READ: Frame = {
    "name": "read_heading",
    "description": "Reads a heading",
    "parameters": {"type": "object"},
}
CALL: Frame = {"call_tool": {"name": "read_heading", "arguments": {}}}


@pytest.fixture
def clock(tmp_path: Path) -> FakeClock:
    return FakeClock(tmp_path / "clock")


@pytest.fixture
async def moody(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Valkey]:
    """A Valkey whose wall clock the test sets."""
    server = Valkey(tmp_path / "moody")
    server.environment = clock.environment
    await server.start()
    yield server
    await server.kill()


def seconds(event: Frame) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


async def knows_the_time(replica: Replica, offset_s: int) -> None:
    """Returns when the replica has learnt how late its broker thinks it is."""
    broker = replica.gateway.broker
    await eventually(
        lambda: abs(broker.now() - time.time() - offset_s) < 5, what="the broker's time"
    )


@pytest.mark.parametrize("offset_s", [HOUR_S, -HOUR_S])
async def test_K1_a_worker_with_a_wrong_clock(
    gateway: StartGateway, replicate: Replicate, valkey: Valkey, clock: FakeClock, offset_s: int
) -> None:
    """Leases, deadlines and the times of events are the broker's; only its log is wrong."""
    front = await replicate(valkey.url, runs=False)
    story = Story(100, 20)
    clock.jump(offset_s)
    async with trial(front.gateway.broker) as t:
        began = time.time()
        options = ("--broker", valkey.url, "--agents", "scripted", *LONG_LEASE_OPTIONS)
        for environment in (clock.environment, None):  # one is right: it takes over nothing
            await gateway(*options, command="worker", environment=environment)
        clients = [await t.client(front.url) for _ in range(6)]
        sessions = [await client.create(tools=[READ]) for client in clients]
        runs: list[str] = []
        for client, session in zip(clients, sessions, strict=True):
            runs.append((await client.send(session, script(CALL, story)))["run"])
        for client in clients:
            call = await client.event("tool_call.requested")
            assert abs(datetime.fromisoformat(call["deadline"]).timestamp() - began - 120) < 60
            await client.tool_result(call, 1)
        for client, session, run in zip(clients, sessions, runs, strict=True):
            assert (await client.run_end(run))["type"] == "run.completed"
            story.assert_told(client.text(session))
            assert not client.seen("run.retrying")
            for event in client.events:
                assert began - 5 < seconds(event) < time.time() + 5, event


async def test_K2_the_brokers_clock_jumps_ahead(
    replicate: Replicate, moody: Valkey, clock: FakeClock
) -> None:
    """Leases are out early: a take-over at worst, fenced, and every effect once."""
    story = Story(150, 20)
    replica = await replicate(moody.url)
    settings = WorkerSettings(agents=("scripted",), **LEASES)  # type: ignore[arg-type]
    other = GatewayWorker(settings, broker=RedisBroker(moody.url, rhythm=QUICK))
    async with trial(replica.gateway.broker) as t, other.running():
        clients = [await t.client(replica.url) for _ in range(6)]
        sessions = [await client.create(tools=[READ]) for client in clients]
        sent = [
            await client.send(session, script(story, CALL, Story(3, 0, name="tail")))
            for client, session in zip(clients, sessions, strict=True)
        ]
        for client in clients:
            await client.event("message.delta")
        clock.jump(JUMP_S)
        await knows_the_time(replica, JUMP_S)
        for client, session, ok in zip(clients, sessions, sent, strict=True):
            await client.tool_result(await client.event("tool_call.requested"), 1)
            assert (await client.run_end(ok["run"]))["type"] == "run.completed"
            assert client.text(session) == story.text + Story(3, 0, name="tail").text
            assert len(client.seen("tool_call.completed")) == 1
            assert len(client.seen("run.retrying")) <= 1


async def test_K3_the_brokers_clock_jumps_back(
    replicate: Replicate, moody: Valkey, clock: FakeClock
) -> None:
    """Ids of the log are seqs, so nothing is refused; whatever has a time ends later, no sooner."""
    story = Story(150, 10)
    replica = await replicate(moody.url)
    async with trial(replica.gateway.broker) as t:
        client = await t.client(replica.url)
        session = await client.create()
        run = (await client.send(session, script(story)))["run"]
        await client.deltas(5)
        clock.jump(-JUMP_S)
        await knows_the_time(replica, -JUMP_S)
        assert (await client.run_end(run))["type"] == "run.completed"
        after = (await client.send(session, script(Story(5, 0))))["run"]
        await client.run_end(after)
        assert client.text(session) == story.text + Story(5).text
        assert not client.seen("run.retrying")
        assert client.connections == 1


async def test_K3_a_run_queued_just_before_the_clock_went_back(
    replicate: Replicate, moody: Valkey, clock: FakeClock
) -> None:
    """It may wait for as long as the jump was; a stop does not, nor does the next session."""
    front = await replicate(moody.url, runs=False)
    async with trial(front.gateway.broker) as t:
        client = await t.client(front.url)
        session, other = await client.create(), await client.create()
        run = (await client.send(session, script(Story(2, 0))))["run"]
        clock.jump(-JUMP_S)
        await knows_the_time(front, -JUMP_S)
        settings = WorkerSettings(agents=("scripted",), **LEASES)  # type: ignore[arg-type]
        worker = GatewayWorker(settings, broker=RedisBroker(moody.url, rhythm=QUICK))
        async with worker.running():
            after = (await client.send(other, script(Story(3, 0))))["run"]
            await client.run_end(after)
            stop = {"type": "run.interrupt", "session": session, "run": run, "id": new_id("k")}
            assert (await client.command(stop)).get("code") in (None, "run.not_active")
            await client.run_end(run)


@pytest.mark.parametrize("seconds", [0, pytest.param(60, marks=SCALE)])
async def test_K4_everything_sleeps_and_wakes(
    gateway: StartGateway, tmp_path: Path, seconds: int
) -> None:
    """As a laptop does: gateway and broker stand still longer than a lease, then go on."""
    story = Story(150, 20)
    server = Valkey(tmp_path / "asleep")
    await server.start()
    try:
        replica = await gateway(
            "--broker", server.url, "--agents", "scripted", "--lease-ms=1500",
            "--lease-renew-ms=300", "--lease-stop-ms=1000",
        )  # fmt: skip
        async with opened(server.url) as reader, trial(reader) as t:
            clients = [await t.client(replica.url, silence_s=2.0) for _ in range(5)]
            sessions = [await client.create() for client in clients]
            sent = [
                await client.send(session, script(story))
                for client, session in zip(clients, sessions, strict=True)
            ]
            for client in clients:
                await client.deltas(3)
            for process in (replica, server):
                process.pause()
            await asyncio.sleep(seconds)  # the fault itself: at least so long nothing moves
            for client in clients:  # they find out by the silence
                await client.until(lambda c=client: not c.connected, what="the silence")
            for process in (server, replica):
                process.resume()
            async with asyncio.TaskGroup() as group:
                for client, session, ok in zip(clients, sessions, sent, strict=True):
                    group.create_task(client.run_end(ok["run"]))
                    group.create_task(
                        client.until(lambda c=client, s=session: c.text(s) == story.text, within=30)
                    )
            for client in clients:
                assert client.connections <= 6, "they back off"
    finally:
        await server.kill()


# --- N9: who comes back late

LONG_AGO: dict[str, int] = {"keep_ms": 5_400_000, "session_ttl_ms": 7_200_000}


async def test_N9_back_after_seconds_minutes_an_hour_and_too_late(
    replicate: Replicate, moody: Valkey, clock: FakeClock
) -> None:
    """As long as the log reaches back the rest follows; afterwards it is told, with the state."""
    replica = await replicate(moody.url, **LONG_AGO)
    other = await replicate(moody.url, runs=False, **LONG_AGO)  # where no feed reaches back
    away = {
        11: True,
        180: True,
        3_600: True,
        6_000: False,
    }  # seconds -> whether the log still has it
    text, now = "", 0
    async with trial(replica.gateway.broker) as t:
        watcher, late = await t.client(replica.url), await t.client(other.url)
        session = await watcher.create()
        await late.follow(session)

        async def say(name: str) -> str:
            story = Story(3, 0, name=name)
            await watcher.run_end((await watcher.send(session, script(story)))["run"])
            return story.text

        for at, (away_s, recovered) in enumerate(away.items()):
            mark = late.connections
            await late.go_offline()
            text += await say("abcd"[at])
            now += away_s
            clock.jump(now)
            await knows_the_time(replica, now)
            text += await say("efgh"[at])  # its snapshot is what the log is trimmed behind
            if not recovered:

                async def trimmed() -> bool:
                    try:
                        await t.broker.read(session, late.cursor(session)[1], 1)
                    except Trimmed:
                        return True
                    return False

                await eventually(trimmed, what="the log is trimmed")
            late.go_online()
            await late.back(mark)
            await late.until(lambda text=text: late.text(session) == text, what="all of it")
            told = "".join(late.record.connections[-1])
            assert f'"recovered":{json.dumps(recovered)}' in told, away_s


async def test_N9_an_abandoned_session_is_gone(
    replicate: Replicate, moody: Valkey, clock: FakeClock
) -> None:
    replica = await replicate(moody.url, **LONG_AGO)
    async with Tab(replica.url) as tab:
        session = await tab.create()
        await tab.subscribe(session, detail="full")
        await tab.run_end(session, (await tab.script(session, {"say": "Hi"}))["run"])
        position = tab.position(session)
    clock.jump(7_201)
    async with asking(moody) as admin:

        async def nothing_lasts() -> bool:
            return not [key async for key in admin.scan_iter("*") if await admin.ttl(key) == -1]

        await eventually(nothing_lasts, what="what is left ends by itself")
    async with Tab(replica.url, sessions=[position]) as tab:
        assert (await tab.wait_for("error"))["code"] == "session.not_found"
        assert (await tab.must({"type": "session.list"}))["sessions"] == []
