"""Faults, Shutdown and deployment: a start without Redis."""

from pathlib import Path

import httpx2
import pytest

from tests.support.http import http_client
from tests.support.processes import GatewayProcess, Valkey
from tests.support.waiting import eventually
from tests.support.wire import Tab


class EarlyProcess(GatewayProcess):
    """Started before its broker: up once it has said what is missing."""

    async def ready(self) -> bool:
        return "redis-server" in self.output()

    async def serves(self) -> bool:
        return await super().ready()


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_S7_a_gateway_waits_for_its_broker(tmp_path: Path, processes: str) -> None:
    """Not ready, but at its post: it says what to do, and begins once the broker is there."""
    broker = Valkey(tmp_path)
    options = ("--broker", broker.url, "--processes", processes, "--agents", "echo")
    served = EarlyProcess(tmp_path, *options)
    try:
        await served.start()
        assert f"Redis at 127.0.0.1:{broker.port} refused the connection" in served.output()
        assert "memory://" in served.output()
        async with http_client(served.http_url) as client:
            await eventually(lambda: answers(client, "/healthz", 200), what="it is alive")
            assert await answers(client, "/readyz", 503)
        async with Tab(served.url) as tab:
            refused = await tab.ask({"type": "session.create", "agent": "echo"})
            assert refused["code"] == "broker.unavailable"
            await broker.start()
            await eventually(served.serves, within=20, what="it is ready")
            session = await tab.create("echo")
            await tab.subscribe(session)
            run = (await tab.message(session, "there you are"))["run"]
            await tab.run_end(session, run)
        assert await served.terminate() == 0
        assert "Traceback" not in served.output()
    finally:
        await served.kill()
        await broker.kill()


async def test_S7_a_worker_waits_for_its_broker(tmp_path: Path) -> None:
    broker = Valkey(tmp_path)
    worker = EarlyProcess(tmp_path, "--broker", broker.url, "--agents", "echo", command="worker")
    gateway = GatewayProcess(tmp_path, "--broker", broker.url, "--agents", "echo", "--no-runs")
    try:
        await worker.start()
        await broker.start()
        await gateway.start()
        async with Tab(gateway.url) as tab:
            session = await tab.create("echo")
            await tab.subscribe(session)
            run = (await tab.message(session, "there you are"))["run"]
            await tab.run_end(session, run)
        assert await worker.terminate() == 0
    finally:
        for process in (worker, gateway, broker):
            await process.kill()


async def test_S7_told_to_end_while_it_waits(tmp_path: Path) -> None:
    served = EarlyProcess(tmp_path, "--broker", Valkey(tmp_path).url)
    try:
        await served.start()
        assert await served.terminate() == 0
    finally:
        await served.kill()


async def answers(client: httpx2.AsyncClient, path: str, status: int) -> bool:
    try:
        return (await client.get(path)).status_code == status
    except httpx2.TransportError:
        return False
