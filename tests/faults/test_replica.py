"""Faults, Replica crash: gateways that are killed, frozen, or lost with a command in hand."""

import asyncio
import itertools
import sys
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.broker.redis.opening import opened
from tests.conftest import StartGateway
from tests.faults.clients import LONGEST_BACKOFF_S, Client
from tests.faults.conftest import SCALE, Replicate
from tests.faults.producer import Story, script
from tests.faults.proxy import FaultProxy
from tests.faults.test_redis import asks
from tests.faults.trial import Trial, trial
from tests.support.processes import GatewayProcess, Valkey
from tests.support.wire import new_id

Proxied = Callable[[int], Awaitable[FaultProxy]]
PROMISED_SECONDS = 2 + LONGEST_BACKOFF_S


async def start_front(gateway: StartGateway, url: str) -> GatewayProcess:
    return await gateway("--broker", url, "--agents", "scripted,echo", "--no-runs")


async def crowd(t: Trial, count: int, story: Story, *urls: str) -> dict[Client, str]:
    """Many clients, each with a run of its own in mid-stream."""
    runs: dict[Client, str] = {}
    for _ in range(count):
        client = await t.client(*urls)
        session = await client.create()
        runs[client] = (await client.send(session, script(story)))["run"]
    for client in runs:
        await client.event("message.delta")
    return runs


async def resumed(client: Client, since: float) -> float:
    """How long it took until this client was subscribed again, on its second connection."""

    def subscribed() -> bool:
        lines = client.record.connections[1:2]
        return any('"type":"subscribed"' in line for line in itertools.chain(*lines))

    await client.until(subscribed, within=30, what="subscribed again")
    return time.monotonic() - since


@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize(
    ("count", "interval_ms", "slow"), [(50, 100, 8), pytest.param(500, 1_000, 4, marks=SCALE)]
)
async def test_G1_killed_with_many_clients_in_mid_stream(
    gateway: StartGateway, valkey: Valkey, count: int, interval_ms: int, slow: int
) -> None:
    """Ninety-nine of a hundred are back in time, and nobody has missed a word.

    `slow` is the margin of a machine whose cores all these clients share with the gateways.
    """
    story = Story(40, interval_ms)
    await gateway(
        *("--broker", valkey.url, "--agents", "scripted", f"--max-runs={count}"), command="worker"
    )
    doomed, other = [await start_front(gateway, valkey.url) for _ in range(2)]
    async with opened(valkey.url) as reader, trial(reader) as t:
        runs = await crowd(t, count, story, doomed.url, other.url)
        async with asyncio.TaskGroup() as group:
            killed = time.monotonic()
            backs = [group.create_task(resumed(client, killed)) for client in runs]
            await doomed.kill()
        seconds = sorted(back.result() for back in backs)
        half, most = seconds[count // 2], seconds[count * 99 // 100 - 1]
        sys.stdout.write(
            f"{count} clients were back after {half:.2f} s (p50), {most:.2f} s (p99)\n"
        )
        assert half < PROMISED_SECONDS * slow / 2
        assert most < PROMISED_SECONDS * slow
        for client, run in runs.items():
            assert (await client.run_end(run, within=60))["type"] == "run.completed"
            story.assert_told(client.text(client.following()[0]))


async def test_G2_killed_between_a_command_and_its_answer(
    gateway: StartGateway, replicate: Replicate, valkey: Valkey, proxied: Proxied
) -> None:
    """Redis has stored it, the replica is killed before it could tell."""
    proxy = await proxied(valkey.port)
    survivor = await replicate(valkey.url)
    doomed = await start_front(gateway, proxy.redis_url)
    async with trial(survivor.gateway.broker) as t:
        client = await t.client(doomed.url, survivor.url)
        session = await client.create()
        proxy.lose_reply(asks("append", b"message.added"), reset=False)
        frame = {"type": "message.send", "id": new_id("k"), "session": session}
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(client.must({**frame, "content": script(Story(3, 0))}))
            await proxy.caught.wait()
            await doomed.kill()
        await client.run_end(sending.result()["run"])
        assert client.connections == 2
        assert len(client.seen("message.added", role="user")) == 1
        assert len(client.seen("run.queued")) == 1


async def test_G3_a_frozen_replica_wakes_up(
    gateway: StartGateway, replicate: Replicate, valkey: Valkey
) -> None:
    """Its clients have moved; what it still holds of them is stale and harms nobody."""
    story = Story(300, 10)
    survivor = await replicate(valkey.url)
    zombie = await start_front(gateway, valkey.url)
    async with trial(survivor.gateway.broker) as t:
        client = await t.client(zombie.url, survivor.url, silence_s=1.0)
        session = await client.create()
        run = (await client.send(session, script(story)))["run"]
        await client.deltas(5)
        zombie.pause()
        await client.back(1)
        stop = {"type": "run.interrupt", "session": session, "run": new_id("r")}
        assert (await client.command(stop))["code"] == "run.not_active"
        zombie.resume()
        await client.run_end(run)
        story.assert_told(client.text(session))
        # and it serves again
        again = await t.client(zombie.url)
        await again.follow(session)
        ok = await again.send(session, script(Story(2, 0)))
        await client.run_end(ok["run"])


async def test_G6_all_replicas_die_and_start_again(gateway: StartGateway, valkey: Valkey) -> None:
    story = Story(30, 20)
    both = [
        await gateway(
            "--broker", valkey.url, "--agents", "scripted", "--lease-ms=1500",
            "--lease-renew-ms=300", "--lease-stop-ms=1000",
        )
        for _ in range(2)
    ]  # fmt: skip
    async with opened(valkey.url) as reader, trial(reader) as t:
        clients = [await t.client(both[at].url, both[1 - at].url) for at in range(2)]
        session = await clients[0].create()
        await clients[1].follow(session)
        run = (await clients[0].send(session, script(story)))["run"]
        await clients[1].deltas(3)
        for process in both:
            await process.kill()
        for process in both:
            await process.start()
        for client in clients:
            assert (await client.run_end(run))["type"] == "run.completed"
            story.assert_told(client.text(session))
