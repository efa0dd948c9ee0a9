"""Fixtures that all tests may ask for; what they start, they end."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal, Protocol

import pytest
from hypothesis import HealthCheck, settings

from tests.support import processes
from tests.support.processes import GatewayProcess, RedisServer, Valkey, find_program

# Whoever starts us in the background ignores SIGINT, and what we start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is slow, not wrong: the per-test timeout is the bound.
settings.register_profile(
    "gateway", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("gateway")


@pytest.fixture
def free_port() -> int:
    return processes.free_port()


@pytest.fixture(scope="session")
async def valkey(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Valkey]:
    """One Valkey for the whole run. Tests share it: use session ids of your own.

    A test that flushes, kills or freezes its server starts its own `Valkey(tmp_path)`.
    """
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    await server.start()
    yield server
    await server.kill()


@pytest.fixture(scope="session")
async def redis_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisServer]:
    """One of Debian's redis-server for the whole run; shared as `valkey` is."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    await server.start()
    yield server
    await server.kill()


class StartGateway(Protocol):
    """`await gateway("--broker", valkey.url, command="serve")` gives a ready process."""

    async def __call__(
        self,
        *options: str,
        command: Literal["serve", "demo", "worker"] = "serve",
        environment: dict[str, str] | None = None,
    ) -> GatewayProcess: ...


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[StartGateway]:
    """Starts gateways; at the end each stops by SIGTERM and has written no complaint."""
    started: list[GatewayProcess] = []

    async def start(
        *options: str,
        command: Literal["serve", "demo", "worker"] = "serve",
        environment: dict[str, str] | None = None,
    ) -> GatewayProcess:
        process = GatewayProcess(tmp_path, *options, command=command, environment=environment)
        started.append(process)
        await process.start()
        return process

    yield start
    try:
        for process in started:
            if process.running:
                await process.terminate()
    finally:
        for process in started:
            await process.kill()
    for process in started:
        process.assert_clean()


@pytest.fixture(scope="session")
def browser_type_launch_args(
    browser_type_launch_args: dict[str, Any],
) -> dict[str, Any]:
    """Debian's Chromium; without its sandbox, which root has not."""
    return {
        **browser_type_launch_args,
        "executable_path": find_program("chromium"),
        "args": ["--no-sandbox", "--disable-dev-shm-usage"],
    }
