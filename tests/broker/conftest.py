"""Every broker that keeps the contract, each twice where two processes can share it."""

from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
from redis.asyncio import Redis

from gateway.broker.base import Broker
from gateway.broker.open import open_broker
from tests.broker.redis.constellations import Ring, ring
from tests.broker.redis.patience import patient
from tests.support.processes import KeyValueServer

# Not the database of the other tests: timers and queues are the server's, not a session's.
DATABASE = 9
CLUSTER = pytest.param("cluster", marks=pytest.mark.cluster)


class Brokers(NamedTuple):
    """`other` is another process's view of the same sessions; in memory there is only one."""

    one: Broker
    other: Broker


def private_url(server: KeyValueServer) -> str:
    return f"{server.url.rpartition('/')[0]}/{DATABASE}"


@pytest.fixture(scope="session")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ring]:
    """One Cluster of three nodes for the whole run."""
    async with ring(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture(params=["memory", "valkey", "redis", CLUSTER])
def server(request: pytest.FixtureRequest) -> KeyValueServer | Ring | None:
    """Where the broker is; only what is asked for is started."""
    names = {"valkey": "valkey", "redis": "redis_server", "cluster": "cluster"}
    name = names.get(request.param)
    return None if name is None else request.getfixturevalue(name)


@pytest.fixture
async def brokers(
    server: KeyValueServer | Ring | None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Brokers]:
    if server is None:
        broker = open_broker("memory://")
        await broker.start()
        yield Brokers(broker, broker)
        await broker.close()
        return
    if isinstance(server, Ring):
        url = server.url
        await server.flush()
    else:
        url = private_url(server)
        async with Redis.from_url(url) as admin:
            await admin.flushdb()
    one, other = patient(url, monkeypatch), patient(url, monkeypatch)
    await one.start()
    await other.start()
    yield Brokers(one, other)
    await one.close()
    await other.close()


@pytest.fixture
def broker(brokers: Brokers) -> Broker:
    return brokers.one
