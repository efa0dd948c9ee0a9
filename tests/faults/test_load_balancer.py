"""Faults, rows L: a real nginx between clients and gateways."""

import asyncio
import bisect
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from gateway.delivery.roster import RECONNECTS_PER_S
from gateway.settings import MAX_HEARTBEAT_MS
from tests.broker.redis.opening import opened
from tests.conftest import StartGateway
from tests.faults.clients import Client
from tests.faults.conftest import LEASE_OPTIONS, SCALE, Replicate
from tests.faults.nginx import Nginx
from tests.faults.producer import Story, script
from tests.faults.test_worker import CALL, READ
from tests.faults.trial import trial
from tests.support.http import http_client
from tests.support.processes import Valkey

pytestmark = pytest.mark.lb

Balanced: TypeAlias = Callable[..., Awaitable[Nginx]]
READ_TIMEOUT_MS = 1_500
REPLICAS = 3
WAVES_SECONDS = 40


@pytest.fixture
async def balanced(tmp_path: Path) -> AsyncIterator[Balanced]:
    """Puts an nginx in front of ports."""
    async with AsyncExitStack() as stack:

        async def start(ports: Sequence[int], **options: Any) -> Nginx:
            nginx = Nginx(tmp_path, ports, **options)
            stack.push_async_callback(nginx.kill)
            await nginx.start()
            return nginx

        yield start


def pings(client: Client) -> int:
    """Those that came on its newest connection."""
    return sum('"type":"ping"' in line for line in client.record.connections[-1])


async def test_N14_pings_keep_an_idle_socket_open(replicate: Replicate, balanced: Balanced) -> None:
    """For five times nginx's read timeout nothing else is sent."""
    replica = await replicate(heartbeat_ms=READ_TIMEOUT_MS // 3)
    nginx = await balanced([replica.port], read_timeout_ms=READ_TIMEOUT_MS)
    async with trial(replica.gateway.broker) as t:
        client = await t.client(nginx.url)
        session = await client.create()
        await client.until(lambda: pings(client) >= 15, what="15 pings on one connection")
        assert client.connections == 1
        await client.run_end((await client.send(session, script(Story(3, 0))))["run"])


async def test_N14_without_pings_nginx_ends_it(replicate: Replicate, balanced: Balanced) -> None:
    """What the pings are for; nothing is lost then either."""
    assert MAX_HEARTBEAT_MS > 10 * READ_TIMEOUT_MS
    replica = await replicate(heartbeat_ms=MAX_HEARTBEAT_MS)
    nginx = await balanced([replica.port], read_timeout_ms=READ_TIMEOUT_MS)
    async with trial(replica.gateway.broker) as t:
        client = await t.client(nginx.url)
        session = await client.create()
        await client.back(1)
        await client.run_end((await client.send(session, script(Story(3, 0))))["run"])


async def test_server_sent_events_are_not_held_back(
    replicate: Replicate, balanced: Balanced
) -> None:
    """While the run waits for a tool, all that was said before has come through."""
    replica = await replicate()
    nginx = await balanced([replica.port])
    story = Story(5, 0)
    async with trial(replica.gateway.broker) as t:
        client = await t.client(nginx.url)
        session = await client.create(tools=[READ])
        run = (await client.send(session, script(story, CALL)))["run"]
        call = await client.event("tool_call.requested")
        url = f"{nginx.http_url}/v1/sessions/{session}/events?after=0&detail=full"
        seen: list[str] = []
        async with (
            asyncio.timeout(10),
            http_client() as http,
            http.stream("GET", url) as answer,
        ):
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                seen.append(line)
                if '"run.waiting"' in line:
                    break
        assert any(story.text.strip()[-6:] in line for line in seen)
        await client.tool_result(call, 1)
        await client.run_end(run)


@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize(
    ("count", "talking", "interval_ms", "drain_ms"),
    [(60, 60, 30, 4_000), pytest.param(3_000, 30, 200, 20_000, marks=SCALE)],
)
async def test_S4_a_rolling_restart_loses_nobody(
    gateway: StartGateway,
    valkey: Valkey,
    balanced: Balanced,
    count: int,
    talking: int,
    interval_ms: int,
    drain_ms: int,
) -> None:
    """Each of three replicas is replaced while clients converse or, in a crowd, wait."""
    options = ["--broker", valkey.url, "--agents", "scripted", *LEASE_OPTIONS]
    serving = ["--no-runs", f"--drain-ms={drain_ms}"]
    replicas = [await gateway(*options, *serving) for _ in range(REPLICAS)]
    await gateway(*options, command="worker")
    nginx = await balanced([replica.port for replica in replicas])
    async with opened(valkey.url) as reader, trial(reader) as t:
        clients = [await t.client(nginx.url) for _ in range(count)]
        sessions = [await client.create() for client in clients]
        told: list[str] = ["" for _ in clients]
        done = asyncio.Event()

        async def say(at: int, round_: int) -> None:
            name = f"{'abcdefghij'[at % 10]}{'abcdefghij'[round_ % 10]}"
            story = Story(10, interval_ms if at < talking else 0, name=name)
            run = (await clients[at].send(sessions[at], script(story)))["run"]
            assert (await clients[at].run_end(run))["type"] == "run.completed"
            told[at] += story.text

        async def converse(at: int) -> None:
            rounds = 0
            while not done.is_set():
                await say(at, rounds := rounds + 1)

        for at in range(talking, count):
            await say(at, 0)
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for at in range(talking):
                group.create_task(converse(at))
            for replica in replicas:
                assert await replica.terminate(within=WAVES_SECONDS) == 0
                await replica.start()
            done.set()
        for at in range(talking, count):
            await say(at, 1)
        for at, client in enumerate(clients):
            assert client.text(sessions[at]) == told[at]
            assert client.connections <= 3, f"dropped {client.connections - 1} times"
        again = sorted(at for c in clients for at in c.welcomed_at if at > began)
        most = max(bisect.bisect(again, at + 1) - n for n, at in enumerate(again))
        sys.stdout.write(f"{len(again)} reconnects, at most {most} in a second\n")
        assert count < len(again) <= 2 * count
        # seen by clients that share two cores: a moment's delay bunches some
        assert most <= 1.25 * RECONNECTS_PER_S
