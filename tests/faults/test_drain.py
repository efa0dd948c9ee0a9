"""Faults, Shutdown: how a replica sends its clients away, and in which order it ends."""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed

from tests.broker.redis.opening import opened
from tests.conftest import StartGateway
from tests.faults.conftest import LEASE_OPTIONS, Replica, Replicate
from tests.faults.producer import Story, script
from tests.faults.trial import trial
from tests.support.http import http_client
from tests.support.inprocess import raw_socket
from tests.support.processes import GatewayProcess, Valkey
from tests.support.waiting import eventually
from tests.support.wire import Tab, new_id

CLIENTS = 20


async def start(gateway: StartGateway, valkey: Valkey, *options: str) -> GatewayProcess:
    return await gateway(
        *("--broker", valkey.url, "--agents", "scripted,echo"),
        *(*LEASE_OPTIONS, *options),
    )


def asked_to_come(lines: list[str]) -> list[int]:
    """What the `goaway` frames among them asked for."""
    frames = [json.loads(line) for line in lines if '"goaway"' in line]
    return [frame["reconnect_after_ms"] for frame in frames]


async def test_S1_each_client_moves_at_a_moment_of_its_own(
    gateway: StartGateway, replicate: Replicate, valkey: Valkey
) -> None:
    survivor = await replicate(valkey.url, runs=False)
    leaving = await start(gateway, valkey, "--no-runs")
    async with opened(valkey.url) as reader, trial(reader) as t:
        clients = [await t.client(leaving.url, survivor.url) for _ in range(CLIENTS)]
        leaving.send_signal(signal.SIGTERM)
        for client in clients:
            await client.back(1)
        assert await leaving.wait() == 0
        after = [ms for client in clients for ms in asked_to_come(client.record.connections[0])]
        assert sorted(after) == [int(n * 1000 / 512) for n in range(CLIENTS)]
        assert after != sorted(after)  # those who came first are not always first


async def while_it_drains(check: Callable[[], Awaitable[None]]) -> None:
    """Who stays is closed after little more than a second: a check that was late is repeated."""
    for _ in range(2):
        with suppress(OSError, EOFError, httpx2.TransportError):
            return await check()
    return await check()


async def test_S1_not_ready_at_once(gateway: StartGateway, valkey: Valkey) -> None:
    """Told on a connection that was open; whatever is new is refused."""
    await while_it_drains(lambda: not_ready(gateway, valkey))


async def not_ready(gateway: StartGateway, valkey: Valkey) -> None:
    served = await start(gateway, valkey)
    async with (
        Tab(served.url) as tab,
        http_client(served.http_url) as client,
        raw_socket(served.port) as (reader, writer),
    ):
        assert (await client.get("/readyz")).status_code == 200
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in await reader.readuntil(b"\r\n")
        assert b'"ready"' in await reader.readuntil(b"}")
        session = await tab.create("echo")
        served.send_signal(signal.SIGTERM)
        await tab.wait_for("goaway")
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["reason"]) == (503, "draining")
        answer = await client.get(f"/v1/sessions/{session}/events")
        assert (answer.status_code, answer.json()["code"]) == (503, "server.draining")
        writer.write(
            b"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Version: 13\r\n\r\n"
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: " in head.lower()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", served.port)
    assert await served.wait() == 0


async def test_S1_two_processes_let_nobody_wait(gateway: StartGateway, valkey: Valkey) -> None:
    """The parent's copy of the listening socket would take connections that nobody serves."""
    await while_it_drains(lambda: nobody_listens(gateway, valkey))


async def nobody_listens(gateway: StartGateway, valkey: Valkey) -> None:
    served = await start(gateway, valkey, "--processes=2")
    async with Tab(served.url) as tab:
        served.send_signal(signal.SIGTERM)
        await tab.wait_for("goaway")

        async def refused() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", served.port)
            except OSError:
                return True
            writer.transport.abort()
            return False

        await eventually(refused, what="nobody listens")
        if tab.close_code is not None:
            raise TimeoutError("it does not drain any more")
    assert await served.wait() == 0


async def test_S8_the_broker_closes_after_everybody_who_uses_it(
    gateway: StartGateway, own: Valkey
) -> None:
    """Commands are under way on every connection when the process ends."""
    served = await start(gateway, own, "--drain-ms=300", "--log-format=json")
    tabs = [await Tab(served.url).open() for _ in range(10)]
    try:
        sessions = [await tab.create("echo") for tab in tabs]
        served.send_signal(signal.SIGTERM)
        for tab, session in zip(tabs, sessions, strict=True):
            content = {"type": "message.send", "session": session, "content": "x"}
            frames = [{**content, "id": f"k_{n}", "if_busy": "enqueue"} for n in range(60)]
            with suppress(ConnectionClosed):
                await tab.send(*frames)
        assert await served.wait() == 0
    finally:
        for tab in tabs:
            await tab.close()
    refused = [frame for tab in tabs for frame in tab.find("error")]
    assert {frame["code"] for frame in refused} <= {"rate.limited"}
    levels = {json.loads(line)["level"] for line in served.output().splitlines() if line}
    assert levels <= {"info", "warning"}


async def test_N8_back_on_another_replica(two: tuple[Replica, Replica]) -> None:
    """The old socket is not known to be dead where it is; the new one is elsewhere."""
    a, b = two
    name = new_id("tab")
    story = Story(100)
    async with Tab(a.url, client=name) as old:
        session = await old.create()
        await old.subscribe(session)
        ok = await old.message(session, script(story))
        await old.wait_for("message.delta")
        async with Tab(b.url, client=name, sessions=[old.position(session)]) as new:
            await new.wait_for("subscribed")
            assert await old.wait_closed() == 4409
            await new.run_end(session, ok["run"])
            new.assert_dense(session)
            async with Tab(a.url, client=name, sessions=[new.position(session)]) as newest:
                await newest.wait_for("subscribed")
                assert await new.wait_closed() == 4409
                await newest.must({"type": "session.list"})  # it is the one that stays
        await eventually(lambda: len(a.gateway.roster) == 0 == len(b.gateway.roster))
