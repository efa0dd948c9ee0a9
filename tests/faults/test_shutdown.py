"""Faults, Shutdown and deploy: told to end, under load, beside a peer that does not read."""

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable

from tests.broker.redis.opening import opened
from tests.conftest import StartGateway
from tests.faults.conftest import LEASE_OPTIONS, Replicate
from tests.faults.producer import Story, script
from tests.faults.proxy import FaultProxy
from tests.faults.trial import trial
from tests.support.processes import GatewayProcess, Valkey
from tests.support.wire import Frame, Tab

Proxied = Callable[[int], Awaitable[FaultProxy]]
EXIT_SECONDS = 30
READ: Frame = {
    "name": "read_heading",
    "description": "Reads a heading",
    "parameters": {"type": "object"},
}
CALL: Frame = {"call_tool": {"name": "read_heading", "arguments": {}}}


async def serve(gateway: StartGateway, url: str, *options: str) -> GatewayProcess:
    return await gateway(
        "--broker", url, "--agents", "scripted,echo", "--drain-ms=1500", *LEASE_OPTIONS, *options
    )


async def test_S1_told_to_end_under_load(
    gateway: StartGateway, replicate: Replicate, valkey: Valkey
) -> None:
    """Its clients move, its runs are handed over, nothing is lost."""
    story = Story(250, 20)
    survivor = await replicate(valkey.url, runs=False)
    leaving = await serve(gateway, valkey.url)
    async with opened(valkey.url) as reader, trial(reader) as t:
        clients = [await t.client(leaving.url, survivor.url) for _ in range(10)]
        runs = [
            (await client.send(await client.create(), script(story)))["run"] for client in clients
        ]
        for client in clients:
            await client.deltas(3)
        leaving.send_signal(signal.SIGTERM)
        for client in clients:
            await client.back(1)
            assert '"goaway"' in "".join(client.record.connections[0])
        assert await leaving.wait(EXIT_SECONDS) == 0
        await serve(gateway, valkey.url)
        for client, run in zip(clients, runs, strict=True):
            assert (await client.run_end(run))["type"] == "run.completed"
            story.assert_told(client.text(client.following()[0]))


async def test_S2_told_to_end_beside_a_stalled_reader(
    gateway: StartGateway, replicate: Replicate, valkey: Valkey, proxied: Proxied
) -> None:
    """It has said hello and subscribed, reads nothing any more and never answers a close."""
    worker = await replicate(valkey.url)
    leaving = await serve(gateway, valkey.url, "--no-runs")
    proxy = await proxied(leaving.port)
    async with trial(worker.gateway.broker) as t:
        client = await t.client(leaving.url, worker.url)
        session = await client.create()
        stalled = Tab(proxy.url)
        await stalled.open()
        await stalled.subscribe(session, detail="full")
        proxy.pause()
        big = Story(4_000, 0)
        run = (await client.send(session, script(big, big, big)))["run"]
        await client.run_end(run)
        leaving.send_signal(signal.SIGTERM)
        assert await leaving.wait(EXIT_SECONDS) == 0
        proxy.heal()
        await stalled.close()
        await client.back(1)


async def test_S2_told_to_end_beside_sockets_that_say_nothing(
    gateway: StartGateway, valkey: Valkey
) -> None:
    leaving = await serve(gateway, valkey.url)
    idle = [socket.create_connection(("127.0.0.1", leaving.port)) for _ in range(5)]
    idle[0].sendall(b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgr")
    idle[1].sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    leaving.send_signal(signal.SIGTERM)
    assert await leaving.wait(EXIT_SECONDS) == 0
    for each in idle:
        each.close()


async def test_S3_told_twice_then_killed(
    gateway: StartGateway, replicate: Replicate, valkey: Valkey
) -> None:
    story = Story(200, 20)
    survivor = await replicate(valkey.url)
    first = await serve(gateway, valkey.url, "--no-runs")
    second = await serve(gateway, valkey.url, "--no-runs")
    async with trial(survivor.gateway.broker) as t:
        client = await t.client(first.url, second.url, survivor.url)
        session = await client.create()
        run = (await client.send(session, script(story)))["run"]
        await client.deltas(3)
        first.send_signal(signal.SIGTERM)
        first.send_signal(signal.SIGTERM)
        await client.back(1)
        assert await first.wait(EXIT_SECONDS) == 0
        await client.deltas(3)
        second.send_signal(signal.SIGTERM)
        await second.kill()
        await client.back(2)
        assert (await client.run_end(run))["type"] == "run.completed"
        story.assert_told(client.text(session))


async def test_S6_a_worker_told_to_end_in_a_tool_call(
    gateway: StartGateway, replicate: Replicate, valkey: Valkey
) -> None:
    front = await replicate(valkey.url, runs=False)
    options = ("--broker", valkey.url, "--agents", "scripted", "--drain-ms=1000", *LEASE_OPTIONS)
    async with trial(front.gateway.broker) as t:
        leaving = await gateway(*options, command="worker")
        client = await t.client(front.url)
        session = await client.create(tools=[READ])
        run = (await client.send(session, script(CALL, {"say": "{last}"})))["run"]
        call = await client.event("tool_call.requested")
        async with asyncio.TaskGroup() as group:
            group.create_task(gateway(*options, command="worker"))
            leaving.send_signal(signal.SIGTERM)
            assert await leaving.wait(EXIT_SECONDS) == 0
        assert (await client.tool_result(call, "x"))["type"] == "ok"
        assert (await client.run_end(run))["type"] == "run.completed"
        assert client.text(session) == '"x"'
        assert len(client.seen("tool_call.requested")) == 1
