"""Faults, Resources: a process that is out of memory, and one that has served many."""

import asyncio
import itertools
import resource
import time
from pathlib import Path

import pytest

from tests.broker.redis.opening import asking, opened
from tests.conftest import StartGateway
from tests.faults.conftest import SCALE
from tests.faults.producer import Story, script
from tests.faults.trial import trial
from tests.support.processes import GatewayProcess, Valkey
from tests.support.waiting import eventually
from tests.support.wire import Tab

ROOM_BYTES = 256 * 2**20
HOG = """
from gateway.runtime.agent import agent

@agent(name="hog")
async def hog(run):
    await run.say("Hungry. ")
    kept = []
    while True:
        kept.append(bytearray(16 << 20))
"""

WARM_UP, VISITS, AT_ONCE = 40, 200, 10
MORE_FDS, MORE_BYTES = 4, 24 * 2**20


def address_space(process: GatewayProcess) -> int:
    pages = Path(f"/proc/{process.pid}/statm").read_text().split()[0]
    return int(pages) * resource.getpagesize()


async def test_G5_out_of_memory(gateway: StartGateway, valkey: Valkey, tmp_path: Path) -> None:
    """Who asked for too much fails; whoever was served beside it is served on."""
    (tmp_path / "hog_agents.py").write_text(HOG)
    options = ("--broker", valkey.url, "--agents", "scripted,hog_agents:hog")
    # not by the fixture: the hog's end is told in its log, with a traceback
    served, other = GatewayProcess(tmp_path, *options), await gateway(*options, "--no-runs")
    await served.start()
    limit = address_space(served) + ROOM_BYTES
    resource.prlimit(served.pid, resource.RLIMIT_AS, (limit, limit))
    story = Story(150, 10)
    async with opened(valkey.url) as reader, trial(reader) as t:
        clients = [await t.client(served.url, other.url) for _ in range(5)]
        sessions = [await client.create() for client in clients]
        sent = [
            await client.send(session, script(story))
            for client, session in zip(clients, sessions, strict=True)
        ]
        for client in clients:
            await client.deltas(2)
        greedy = await t.client(served.url, other.url)
        hungry = await greedy.create("hog")
        end = await greedy.run_end((await greedy.send(hungry, "Eat"))["run"])
        assert (end["type"], end["error"]["code"]) == ("run.failed", "agent.failed")
        for client, session, ok in zip(clients, sessions, sent, strict=True):
            assert (await client.run_end(ok["run"]))["type"] == "run.completed"
            story.assert_told(client.text(session))
        assert await served.terminate() == 0
        assert served.output().count("Traceback") == 1


async def visit(url: str, at: int) -> None:
    """One page: a session, a run, and an end of one kind or another."""
    async with Tab(url) as tab:
        session = await tab.create()
        await tab.subscribe(session, detail="full")
        run = (await tab.script(session, {"say": "x" * 200}, {"log": "y" * 500}))["run"]
        await tab.run_end(session, run)
        if at % 3 == 0:
            await tab.cut()
        elif at % 3 == 1:
            await tab.must({"type": "session.unsubscribe", "session": session})
    async with Tab(url) as tab:
        await tab.must({"type": "session.delete", "session": session})


async def many(url: str, count: int, seconds: int = 0) -> int:
    """So many visits, and as many more as fit into the time; how many there were."""
    places, until = itertools.count(), time.monotonic() + seconds
    visited = 0

    async def one_after_another() -> None:
        nonlocal visited
        while (at := next(places)) < count or time.monotonic() < until:
            await visit(url, at)
            visited += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(one_after_another())
    return visited


@pytest.mark.parametrize("seconds", [0, pytest.param(600, marks=SCALE)])
async def test_X7_many_visits_leave_nothing_behind(
    gateway: StartGateway, own: Valkey, seconds: int
) -> None:
    """Files, memory, keys and subscriptions are what they were after the first few."""
    served = await gateway("--broker", own.url, "--agents", "scripted")

    def files() -> int:
        return len(list(Path(f"/proc/{served.pid}/fd").iterdir()))

    async with asking(own) as admin:

        async def lasting() -> list[bytes]:
            """The keys that never end by themselves."""
            keys = [key async for key in admin.scan_iter("*", count=1_000)]
            found: list[bytes] = []
            for at in range(0, len(keys), 1_000):
                some = keys[at : at + 1_000]
                pipeline = admin.pipeline(transaction=False)
                for key in some:
                    pipeline.ttl(key)
                lives = await pipeline.execute()
                found += [key for key, life in zip(some, lives, strict=True) if life == -1]
            return found

        async def channels() -> set[bytes]:
            return set(await admin.execute_command("PUBSUB", "SHARDCHANNELS", "*"))

        idle = await channels()
        await many(served.url, WARM_UP)
        open_files, memory = files(), served.resident_bytes()
        assert await many(served.url, VISITS, seconds) >= VISITS

        async def quiet() -> bool:
            return await channels() <= idle and not await lasting()

        try:
            await eventually(quiet, within=15 + seconds / 10, what="all has ended")
        except AssertionError as error:
            left = [*(await channels() - idle), *await lasting()]
            raise AssertionError(f"{error}: {left}") from None
        assert files() <= open_files + MORE_FDS
        assert served.resident_bytes() <= memory + MORE_BYTES
