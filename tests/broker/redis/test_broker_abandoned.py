"""Faults, X8: what abandoned sessions leave in the server, and for how long."""

from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.broker.base import Broker
from gateway.errors import BrokerError
from gateway.runtime.timers import Timers
from gateway.sessions.draft import Rules
from gateway.sessions.store import Store
from protocol import commands as cmd
from tests.broker.driving import make
from tests.broker.redis.opening import asking, opened
from tests.sessions.bench import origin
from tests.support.processes import KeyValueServer
from tests.support.waiting import eventually

MANY = 500
DAY_S = 86_400
# Of one deleted session: mostly the 4 KiB that the server gives a stream in advance.
LEFT_BYTES = 6_000


async def abandon(broker: Broker, number: int) -> None:
    """A session with something in it, of one of a few principals, that nobody will touch again."""
    store = Store(broker, rules=Rules(session_ttl_s=0.2))
    who, name = origin(subject=f"user{number % 7}"), f"s-{number}"
    await store.submit(cmd.SessionCreate(id=f"c{number}", agent="echo", session=name), who)
    text = "what nobody will read " * 400
    send = cmd.MessageSend(id=f"m{number}", session=name, content=text, start=False)
    await store.submit(send, who)


async def keys(admin: Redis) -> list[str]:
    return sorted([key.decode() async for key in admin.scan_iter(count=1000)])


async def used(admin: Redis) -> int:
    info: dict[str, Any] = await admin.info("memory")
    return info["used_memory"]


async def test_x8_abandoned_sessions_leave_no_key(server: KeyValueServer) -> None:
    async with opened(server.url) as broker, opened(server.url) as other, asking(server) as admin:
        await abandon(broker, MANY)
        before = await used(admin)
        for number in range(MANY):
            await abandon(broker, number)
        full = await used(admin)
        timers = Timers(Store(other, rules=Rules(session_ttl_s=0.2)))

        async def gone() -> bool:
            await timers.fire()
            left = await keys(admin)
            return not any(":timers" in key or ":snap" in key or ":owner:" in key for key in left)

        await eventually(gone, within=30, what="no timer, snapshot or list is left")
        left = await keys(admin)
        assert {key.rpartition(":")[2] for key in left if ":s:" in key} == {"meta", "log"}
        for key in left:
            assert 0 < await admin.ttl(key) <= DAY_S, key
        assert (await used(admin) - before) / MANY < LEFT_BYTES < (full - before) / MANY
        await pass_a_day(admin, left)
        assert await keys(admin) == []
        assert await used(admin) - before < (full - before) / 10


async def pass_a_day(admin: Redis, left: list[str]) -> None:
    """What has a day left ends now; what has no end stays."""
    async with admin.pipeline(transaction=False) as pipeline:
        for key in left:
            pipeline.execute_command("PEXPIRE", key, 1, "LT")
        await pipeline.execute()

    async def ended() -> bool:
        return not any([await admin.exists(key) for key in left])

    await eventually(ended)


async def test_a_deleted_one_leaves_its_owners_list(server: KeyValueServer) -> None:
    async with opened(server.url) as broker, asking(server) as admin:
        kept = await make(broker, owner="acme:ann")
        session = await make(broker, owner="acme:ann")
        await session.delete()

        async def left() -> bool:  # the broker's clock, as it is known here, may be a little behind
            assert session.id not in await broker.due_timers(9)
            return await admin.zrange("agw:owner:acme:ann", 0, -1) == [kept.id.encode()]

        await eventually(left)
        assert await keys_of(admin, "timers") == []


async def test_even_if_who_deleted_it_died(server: KeyValueServer) -> None:
    """Another process finds what is left to do; a failure on the way is tried again."""
    async with opened(server.url) as broker, asking(server) as admin:
        session = await make(broker, owner="acme:ann")
        await session.delete()
        await admin.rename("agw:owner:acme:ann", "aside")
        await admin.set("agw:owner:acme:ann", "not a list")
    async with opened(server.url) as other, asking(server) as admin:
        with pytest.raises(BrokerError, match="WRONGTYPE"):
            await other.due_timers(9)
        await admin.rename("aside", "agw:owner:acme:ann")

        async def done() -> bool:
            await other.due_timers(9)
            return await keys_of(admin, "owner") == await keys_of(admin, "timers") == []

        await eventually(done)


async def keys_of(admin: Redis, word: str) -> list[str]:
    return [key for key in await keys(admin) if word in key]
