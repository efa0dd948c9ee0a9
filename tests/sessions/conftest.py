"""Two replicas on one broker: in memory, and on a real Valkey."""

from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
from redis.asyncio import Redis

from gateway.broker.base import Broker
from gateway.broker.open import open_broker
from gateway.sessions.store import Store
from tests.broker.redis.patience import patient
from tests.support.processes import Valkey

# A database of our own: timers and queues are the server's, not a session's.
DATABASE = 8


class Replicas(NamedTuple):
    """`a` and `b` are stores of two processes that share a broker."""

    a: Store
    b: Store


@pytest.fixture(params=["memory", "valkey"])
async def brokers(
    request: pytest.FixtureRequest, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Broker, Broker]]:
    if request.param == "memory":
        broker = open_broker("memory://")
        await broker.start()
        yield broker, broker
        await broker.close()
        return
    url = f"{valkey.url.rpartition('/')[0]}/{DATABASE}"
    async with Redis.from_url(url) as admin:
        await admin.flushdb()
    one, other = patient(url, monkeypatch), patient(url, monkeypatch)
    await one.start()
    await other.start()
    yield one, other
    await one.close()
    await other.close()


@pytest.fixture
def replicas(brokers: tuple[Broker, Broker]) -> Replicas:
    return Replicas(Store(brokers[0]), Store(brokers[1]))
