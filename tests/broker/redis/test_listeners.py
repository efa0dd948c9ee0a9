"""Hearing a Cluster: what happens at one node is that node's sessions' business."""

import pytest
from redis.asyncio import Redis

from gateway.broker.redis import layout
from tests.broker.driving import Ear, make
from tests.broker.redis.constellations import Ring, ask
from tests.broker.redis.opening import opened
from tests.broker.redis.test_cluster import node_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.cluster


async def channels(cluster: Ring) -> set[bytes]:
    found = [await ask(node, "PUBSUB", "SHARDCHANNELS") for node in cluster.nodes]
    return {channel for some in found for channel in some}


async def test_only_those_of_a_lost_node_are_told_to_look(cluster: Ring) -> None:
    async with opened(cluster.url) as broker:
        some, ears = [await make(broker) for _ in range(30)], list[Ear]()
        for session in some:
            ears.append(Ear())
            await broker.follow(session.id, ears[-1])
        lost = cluster.nodes[1]
        await ask(lost, "CLIENT", "KILL", "TYPE", "pubsub")
        there = [ear for ear, s in zip(ears, some, strict=True) if node_of(cluster, s.id) is lost]
        assert 0 < len(there) < len(ears)
        await eventually(lambda: all(ear.told_to_look for ear in there), what="they are told")
        assert [ear for ear in ears if ear.heard] == there
        for session in some:
            await session.append("a")
        await eventually(lambda: all(ear.events() == [(2, b"a")] for ear in ears))


async def test_nothing_is_followed_for_ever(cluster: Ring) -> None:
    async with opened(cluster.url) as broker:
        before, ear = await channels(cluster), Ear()
        assert len(before) == layout.SHARDS + 2, "the canaries, and the channel of all processes"
        some = [await make(broker) for _ in range(20)]
        for session in some:
            await broker.follow(session.id, ear)
        assert len(await channels(cluster)) == len(before) + 20
        for session in some:
            broker.unfollow(session.id, ear)

        async def ended() -> bool:
            return await channels(cluster) == before

        await eventually(ended, what="the subscriptions end")


async def test_closing_leaves_no_connection(cluster: Ring) -> None:
    async def connections() -> int:
        lists = [await ask(node, "CLIENT LIST") for node in cluster.nodes]
        return sum(client["name"] == "agent-gateway" for some in lists for client in some)

    async with opened(cluster.url) as broker:
        await make(broker)
        assert await connections() > layout.SHARDS

    async def none() -> bool:
        return await connections() == 0

    await eventually(none)


async def test_start_fails_as_one(cluster: Ring, caplog: pytest.LogCaptureFixture) -> None:
    """A node that is away when a process starts: one sentence, and it is waited for."""
    away = cluster.nodes[2]
    # Its one connection is there before and after.
    async with Redis.from_url(away.url, max_connections=1) as admin:
        await admin.config_set("maxclients", 11)
        try:
            async with opened(cluster.url) as broker:
                assert "max number of clients" in caplog.text
                assert not broker.healthy
                await admin.config_set("maxclients", 10_000)
                await eventually(lambda: broker.healthy, within=20, what="it has begun")
        finally:
            await admin.config_set("maxclients", 10_000)
