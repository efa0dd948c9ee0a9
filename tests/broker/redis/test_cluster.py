"""Faults, R11: a Cluster whose slots move and whose masters die; the contract is held elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.broker.redis import layout
from gateway.broker.redis.broker import RedisBroker
from gateway.broker.redis.cluster import Cluster
from gateway.errors import BrokerUnavailable, ConfigurationError, EpochChanged
from tests.broker.driving import Ear, Session, fresh, make
from tests.broker.redis.constellations import SLOTS, Node, Ring, ask, ring
from tests.broker.redis.opening import opened
from tests.broker.redis.test_servers import assert_true, writer
from tests.support.processes import KeyValueServer
from tests.support.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


def slot_of(session: str) -> int:
    return Cluster.slot(layout.channel(session))


def node_of(cluster: Ring, session: str) -> Node:
    """The master that has the session at first."""
    return cluster.nodes[min(slot_of(session) * 3 // SLOTS, 2)]


async def make_at(broker: RedisBroker, cluster: Ring, node: Node) -> Session:
    """A session at a node, and what follows in another slot at another."""
    while node_of(cluster, name := fresh()) is not node:
        pass
    return await make(broker, session=name)


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Ring]:
    """A Cluster to be troubled; the first master has a replica."""
    async with ring(tmp_path, replicas=1) as made:
        yield made


async def move(cluster: Ring, slot: int, source: Node, target: Node, *, half: bool) -> None:
    """Moves a slot as an operator does; `half`: its keys are there, the word of it is not."""
    source_id, target_id = await source.id(), await target.id()
    await ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
    await ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
    while keys := await ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
        await ask(
            source, "MIGRATE", "127.0.0.1", target.port, "", 0, 2000, "REPLACE", "KEYS", *keys
        )
    if not half:
        await settle(cluster, slot, target)


async def settle(cluster: Ring, slot: int, target: Node) -> None:
    target_id = await target.id()
    for node in (target, *(n for n in cluster.nodes[:3] if n is not target)):
        await ask(node, "CLUSTER", "SETSLOT", slot, "NODE", target_id)


async def again(session: Session, text: str) -> int:
    """Appends, in the new epoch if there is one."""
    try:
        return await session.append(text)
    except EpochChanged as changed:
        session.epoch = changed.epoch
        return await session.append(text)


async def test_sessions_are_spread_and_a_session_is_not(cluster: Ring) -> None:
    await cluster.flush()
    async with opened(cluster.url) as broker:
        some = [await make(broker, owner="acme:ann") for _ in range(60)]
        assert len({node_of(cluster, session.id).port for session in some}) == 3
        heads = await broker.heads([session.id for session in some])
        assert [head.seq for head in heads if head] == [1] * 60
        found, more = await broker.sessions("acme:ann", limit=99, before=None)
        assert (set(found), more) == ({session.id for session in some}, False)
        for session in some:
            await session.delete()

        async def gone() -> bool:
            await broker.due_timers(1000)
            return await cluster.keys("agw:owner:*") == []

        await eventually(gone)
        assert {key.rpartition(":")[2] for key in await cluster.keys("*")} == {"meta", "log"}


async def test_r11_a_forgotten_script(cluster: Ring) -> None:
    async with opened(cluster.url) as broker:
        some = [await make(broker) for _ in range(20)]
        await ask(cluster.nodes[1], "SCRIPT", "FLUSH")
        heads = await broker.heads([session.id for session in some])
        assert len([head for head in heads if head]) == 20
        for session in some:
            assert await session.append("a") == 2


async def test_r11_a_slot_that_moves(own: Ring) -> None:
    """ASK while it moves, MOVED afterwards; whoever follows hears on."""
    source, target = own.nodes[0], own.nodes[1]
    async with opened(own.url) as broker, opened(own.url) as other:
        session, ear = await make_at(broker, own, source), Ear()
        still = await make_at(broker, own, own.nodes[2])
        quiet = Ear()
        await other.follow(session.id, ear)
        await other.follow(still.id, quiet)
        slot = slot_of(session.id)
        await move(own, slot, source, target, half=True)
        # Asked where it was, sent on to where it is: another server, so another epoch.
        assert (await session.head()).epoch != session.epoch
        # Between two nodes nothing can be done with several keys.
        started = asyncio.get_running_loop().time()
        with pytest.raises(BrokerUnavailable):
            await session.append("between")
        assert asyncio.get_running_loop().time() - started < 15
        await settle(own, slot, target)
        assert await again(session, "a") == 2
        assert await session.append("b") == 3
        assert [text for _, text in await session.events()] == [b"created", b"a", b"b"]
        await eventually(lambda: ear.told_to_look, what="the listener is at the new node")
        await eventually(lambda: other.healthy)
        await session.append("heard")
        await eventually(lambda: ear.events()[-1:] == [(4, b"heard")])
        assert quiet.heard == [], "the others are left alone"


async def test_r11_a_master_dies(own: Ring) -> None:
    first, replica = own.nodes[0], own.nodes[3]
    async with opened(own.url) as broker, opened(own.url) as other:
        wrote = await writer(broker)
        while node_of(own, wrote.session.id) is not first:
            wrote = await writer(broker)
        elsewhere = await make_at(broker, own, own.nodes[1])
        ear = Ear()
        await other.follow(wrote.session.id, ear)
        epoch = wrote.session.epoch
        writing = asyncio.create_task(wrote.write())  # noqa: TID251 - cancelled below
        await eventually(lambda: len(wrote.acked) > 100)
        seen = len(wrote.acked)
        await first.kill()
        # Not everything stands still.
        assert await again(elsewhere, "a") == 2
        await eventually(lambda: len(wrote.acked) > seen + 100, within=30, what="it goes on")
        writing.cancel()
        await asyncio.wait((writing,))
        assert wrote.longest_s < 6
        assert wrote.longest_verb_s < 15
        assert await assert_true(broker, wrote) != epoch
        await eventually(lambda: other.healthy and broker.healthy, within=6)
        last = await wrote.session.append("last")
        await eventually(lambda: ear.events()[-1:] == [(last, b"last")])
        assert (await ask(replica, "INFO", "replication"))["role"] == "master"


async def test_r11_slots_without_a_node(own: Ring) -> None:
    """No replica: the Cluster is down, and says so in time; it comes back with the node."""
    gone = own.nodes[1]
    async with opened(own.url) as broker:
        there = await make_at(broker, own, own.nodes[0])
        lost = await make_at(broker, own, gone)
        gone.pause()
        loop = asyncio.get_running_loop()

        async def down() -> bool:
            for session in (lost, there):
                started = loop.time()
                try:
                    await session.append("a")
                except BrokerUnavailable as error:
                    if session is there:
                        return "down" in str(error)
                finally:
                    assert loop.time() - started < 15
            return False

        await eventually(down, within=30, what="the Cluster is down")
        assert not broker.healthy
        gone.resume()

        async def back() -> bool:
            try:
                return await again(lost, "b") > 1 and await again(there, "b") > 1
            except BrokerUnavailable:
                return False

        await eventually(back, within=20, what="it is back")
        await eventually(lambda: broker.healthy, within=10)


async def test_one_node_is_enough_to_find_the_others(cluster: Ring) -> None:
    async with opened(f"redis+cluster://127.0.0.1:{cluster.nodes[2].port}") as broker:
        some = [await make(broker) for _ in range(9)]
        assert [await session.append("a") for session in some] == [2] * 9


async def test_a_node_is_not_taken_for_a_server(cluster: Ring) -> None:
    with pytest.raises(ConfigurationError, match=r"redis\+cluster://127"):
        async with opened(cluster.nodes[0].url):
            pass


async def test_a_server_is_not_taken_for_a_cluster(server: KeyValueServer) -> None:
    with pytest.raises(ConfigurationError, match=r"redis://|cluster support disabled"):
        async with opened(f"redis+cluster://127.0.0.1:{server.port}"):
            pass
