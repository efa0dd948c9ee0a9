"""Every broker that keeps the contract, each twice where two processes can share it."""

from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
from redis.asyncio import Redis

from gateway.broker.base import Broker
from gateway.broker.open import open_broker
from tests.support.processes import KeyValueServer, RedisServer, Valkey

# Not the database of the other tests: timers and queues are the server's, not a session's.
DATABASE = 9


class Brokers(NamedTuple):
    """`other` is another process's view of the same sessions; in memory there is only one."""

    one: Broker
    other: Broker


def private_url(server: KeyValueServer) -> str:
    return f"{server.url.rpartition('/')[0]}/{DATABASE}"


@pytest.fixture(params=["memory", "valkey", "redis"])
async def brokers(
    request: pytest.FixtureRequest, valkey: Valkey, redis_server: RedisServer
) -> AsyncIterator[Brokers]:
    if request.param == "memory":
        broker = open_broker("memory://")
        await broker.start()
        yield Brokers(broker, broker)
        await broker.close()
        return
    url = private_url({"valkey": valkey, "redis": redis_server}[request.param])
    async with Redis.from_url(url) as admin:
        await admin.flushdb()
    one, other = open_broker(url), open_broker(url)
    await one.start()
    await other.start()
    yield Brokers(one, other)
    await one.close()
    await other.close()


@pytest.fixture
def broker(brokers: Brokers) -> Broker:
    return brokers.one
