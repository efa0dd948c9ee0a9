"""A broker in Redis that notices faults quickly, and somebody to cause them."""

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from gateway.broker.redis.broker import RedisBroker
from gateway.broker.redis.listener import Rhythm
from gateway.errors import BrokerUnavailable
from tests.support.processes import KeyValueServer
from tests.support.waiting import eventually

QUICK = Rhythm(beat_s=0.1, deaf_s=0.5, look_s=0.05, linger_s=0.1, longest_pause_s=0.1)


@asynccontextmanager
async def opened(url: str, rhythm: Rhythm = QUICK) -> AsyncGenerator[RedisBroker]:
    broker = RedisBroker(url, rhythm=rhythm)
    try:
        await broker.start()
        yield broker
    finally:
        await broker.close()


@asynccontextmanager
async def asking(server: KeyValueServer) -> AsyncGenerator[Any]:
    async with Redis.from_url(server.url) as admin:
        yield admin


async def back(verb: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """What a verb gives once the server answers again."""

    async def attempt() -> list[Any]:
        try:
            return [await verb()]
        except BrokerUnavailable:
            return []

    (result,) = await eventually(attempt, what="the server answers again")
    return result
