"""Finding what may be claimed, without asking more often than needed."""

import asyncio
import math
from functools import partial

import pytest

from gateway.broker.redis import layout
from gateway.broker.redis.claims import Claims
from gateway.broker.redis.client import RedisClient
from gateway.broker.redis.listener import Rhythm
from gateway.broker.schedule import Due
from gateway.errors import BrokerUnavailable
from tests.broker.driving import Ear, fresh, make
from tests.broker.redis.opening import asking, back, opened
from tests.support.processes import KeyValueServer
from tests.support.waiting import eventually


async def test_expired_leases_are_spared_after_an_outage(server: KeyValueServer) -> None:
    async with opened(server.url) as holder, opened(server.url) as thief:
        session, ear = await make(holder), Ear()
        await session.append(claimable_at=0.0)
        fence = (await session.claim(lease_s=0.0)).fence
        await thief.follow(session.id, ear)
        async with asking(server) as admin:
            await admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: ear.told_to_look)
        assert await thief.claim("thief", [session.agent], lease_s=9) is None
        await holder.renew(session.id, fence, lease_s=3600)
        assert await thief.claim("thief", [session.agent], lease_s=9) is None
        assert await session.append("mine", fence=fence, n=1) == 2


@pytest.mark.parametrize("verb", ["claim", "append"])
@pytest.mark.parametrize("trouble", ["frozen", "out of memory"])
async def test_they_are_spared_though_the_listener_lost_nothing(
    server: KeyValueServer, trouble: str, verb: str
) -> None:
    """Also by a worker whose slots were all taken: it only appends."""
    async with opened(server.url) as holder, opened(server.url, Rhythm()) as thief:
        session = await make(holder)
        await session.append(claimable_at=0.0)
        fence = (await session.claim(lease_s=0.0)).fence
        assert await thief.claim("thief", [fresh("agent")], lease_s=9) is None
        busy = await make(thief)
        async with asking(server) as admin:
            if trouble == "frozen":
                server.pause()
            else:
                await admin.config_set("maxmemory", "1")
            claim = partial(thief.claim, "thief", [session.agent], lease_s=9)
            with pytest.raises(BrokerUnavailable):
                await (claim() if verb == "claim" else busy.append("x"))
            server.resume()
            await admin.config_set("maxmemory", "0")
        assert await back(lambda: thief.claim("thief", [session.agent], lease_s=9)) is None
        await back(lambda: holder.renew(session.id, fence, lease_s=3600))
        assert await session.append("mine", fence=fence, n=1) == 2


async def test_they_are_spared_once_and_not_for_ever(server: KeyValueServer) -> None:
    """Calls that fail now and then keep nobody from the run of a dead worker."""
    async with opened(server.url) as holder, opened(server.url) as thief, asking(server) as admin:
        session = await make(holder)
        queue = layout.runs(layout.shard_of(session.id), session.agent)
        await session.append(claimable_at=0.0)
        await session.claim(lease_s=0.0)
        claimed = []
        for _ in range(2):
            await admin.zadd(queue, {session.id: 1})  # what it was spared for has passed
            thief._client._away()  # a call fails
            thief._claims._swept.clear()
            claimed.append(await thief.claim("thief", [session.agent], lease_s=9))
        assert claimed[0] is None
        assert claimed[1] is not None
        assert claimed[1].lost


async def test_other_runs_are_not(server: KeyValueServer) -> None:
    async with opened(server.url) as broker, asking(server) as admin:
        session, ear = await make(broker), Ear()
        await broker.follow(session.id, ear)
        await admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: ear.told_to_look)
        await session.append(claimable_at=0.0)
        assert (await session.claim()).lost is False


async def test_a_wake_up_names_the_shard(server: KeyValueServer) -> None:
    """Between two looks at all queues, only a wake-up finds anything."""
    async with opened(server.url) as writer, opened(server.url) as worker:
        some = [await make(writer) for _ in range(5)]
        agents = [session.agent for session in some]
        assert await worker.claim("worker", agents, lease_s=9) is None
        worker._claims._swept = dict.fromkeys(agents, math.inf)  # no more looks
        for session in some:
            await session.append(claimable_at=0.0)
            async with asyncio.timeout(5):
                while (claimed := await worker.claim("worker", agents, lease_s=9)) is None:
                    await worker.wait_claimable(agents, 30)
            assert claimed.session == session.id


async def test_what_no_wake_up_told_is_found(server: KeyValueServer) -> None:
    async with opened(server.url) as worker, asking(server) as admin:
        session = await make(worker)
        assert await worker.claim("worker", [session.agent], lease_s=9) is None
        shard = layout.shard_of(session.id)
        await admin.zadd(layout.runs(shard, session.agent), {session.id: 0})
        async with asyncio.timeout(5):
            while await worker.claim("worker", [session.agent], lease_s=9) is None:
                await worker.wait_claimable([session.agent], 30)


async def test_old_answers_do_not_hide_what_was_heard_since(server: KeyValueServer) -> None:
    client = RedisClient(server.url)
    claims = Claims(client)
    assert await claims.claim("w", ["agent"], lease_s=9, now=100) is None
    asked_at = claims._heard
    claims.hear(7, b"agent 50.0")
    claims._learn("agent", 7, None, asked_at)
    assert claims._next(["agent"]) == Due(50.0, "7")
    claims._learn("agent", 7, None, claims._heard)
    assert claims._next(["agent"]) is None
    claims.hear(7, b"stranger 50.0")
    assert claims._next(["agent", "stranger"]) is None
    await client.close()


async def test_queues_are_looked_at_once_a_second(server: KeyValueServer) -> None:
    async with opened(server.url) as worker, asking(server) as admin:
        agent = fresh("agent")
        await worker.claim("worker", [agent], lease_s=9)
        before = (await admin.info("commandstats"))["cmdstat_zrange"]["calls"]
        for _ in range(20):
            await worker.claim("worker", [agent], lease_s=9)
        after = (await admin.info("commandstats"))["cmdstat_zrange"]["calls"]
        assert after - before <= 2 * layout.SHARDS
