"""Gateways to be troubled: in this process, over memory or a Valkey, behind fault proxies."""

import logging
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from gateway.app import Gateway
from gateway.broker.redis.broker import RedisBroker
from gateway.settings import Settings
from tests.broker.redis.opening import QUICK
from tests.faults.proxy import FaultProxy, fault_proxy
from tests.faults.trial import Trial, trial
from tests.support.composed import composed
from tests.support.processes import Valkey

# Leases short enough to wait for, long enough for a busy machine to renew in time.
LEASES: dict[str, int] = {"lease_ms": 3_000, "lease_renew_ms": 500, "lease_stop_ms": 2_000}
LEASE_OPTIONS = [f"--{name.replace('_', '-')}={value}" for name, value in LEASES.items()]
# For a worker that must not lose its run when the machine stands still for a while.
LONG_LEASE_OPTIONS = ("--lease-ms=60000", "--lease-renew-ms=500", "--lease-stop-ms=40000")


SCALE = (pytest.mark.scale, pytest.mark.timeout(900))
"""Marks of a row at the size and for the time that it names; `make test` has it smaller."""


@pytest.fixture
def many_files() -> None:
    """As many descriptors as this process may have, for it and for what it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """I9: nothing in this process logs an error, from the first fixture to the last."""
    yield
    get = caplog.get_records
    records = [*get("setup"), *get("call"), *get("teardown")]
    errors = [r.getMessage() for r in records if r.levelno >= logging.ERROR]
    assert not errors


class Replica:
    """One gateway of this process; `url` is its WebSocket."""

    def __init__(self, gateway: Gateway, place: str) -> None:
        self.gateway = gateway
        self.place = place
        self.port = int(place.rpartition(":")[2])
        self.url = f"ws://{place}/v1/ws"


Replicate: TypeAlias = Callable[..., Awaitable[Replica]]
"""`await replicate(broker_url, runs=True, **settings)`; without a URL over memory."""


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Closed when the test is over, the last first."""
    async with AsyncExitStack() as made:
        yield made


@pytest.fixture
def replicate(stack: AsyncExitStack) -> Replicate:
    """Starts replicas; they drain when the test is over."""

    async def start(broker: str | None = None, **options: Any) -> Replica:
        defaults: dict[str, Any] = {"agents": ("scripted", "echo"), "drain_ms": 1_000, **LEASES}
        settings = Settings(**{**defaults, **options})
        made = RedisBroker(broker, rhythm=QUICK) if broker else None
        return Replica(*await stack.enter_async_context(composed(settings, broker=made)))

    return start


@pytest.fixture
async def replica(replicate: Replicate) -> Replica:
    """One replica over memory."""
    return await replicate()


@pytest.fixture
async def two(replicate: Replicate, valkey: Valkey) -> tuple[Replica, Replica]:
    """Two replicas over one Valkey; the second executes no runs."""
    return await replicate(valkey.url), await replicate(valkey.url, runs=False)


@pytest.fixture
def proxied(stack: AsyncExitStack) -> Callable[[int], Awaitable[FaultProxy]]:
    """Puts a fault proxy in front of a port."""

    async def start(port: int) -> FaultProxy:
        return await stack.enter_async_context(fault_proxy(port))

    return start


@pytest.fixture
async def t(replica: Replica) -> AsyncIterator[Trial]:
    """A trial over `replica`."""
    async with trial(replica.gateway.broker) as made:
        yield made


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Valkey]:
    """A Valkey to be frozen, flushed and killed; each write is on the disk before its answer."""
    server = Valkey(tmp_path / "own", append_only=True, options={"appendfsync": "always"})
    await server.start()
    yield server
    await server.kill()
