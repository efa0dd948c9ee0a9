"""Plain appends that go together: each as if it were alone."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.broker.base import Append, Broker
from gateway.broker.redis.appends import MANY, MANY_BYTES, Appends, is_plain
from gateway.broker.redis.client import RedisClient
from gateway.errors import (
    BrokerError,
    BrokerUnavailable,
    EpochChanged,
    Fenced,
    SessionMissing,
)
from tests.broker.driving import Ear, Session, command, fresh, make
from tests.broker.redis.cable import cable
from tests.broker.redis.constellations import Ring
from tests.broker.redis.lines import scripted
from tests.broker.redis.opening import asking, opened
from tests.support.processes import KeyValueServer
from tests.support.waiting import eventually

PLAIN = {"fence": 3, "n": 2}


@pytest.mark.parametrize(
    "other",
    [
        {"n": 1},
        {"n": None},
        {"fence": None},
        {"control": 1},
        {"expect_version": 1},
        {"raise_fence": True},
        {"claimable_at": 0.0},
        {"timer_at": 0.0},
        {"command": command()},
        {"bodies": ()},
    ],
)
def test_only_stream_events_of_an_attempt_are_plain(other: dict[str, Any]) -> None:
    given: dict[str, Any] = {"session": "s", "epoch": "e", "bodies": (b"a",), "control": 0, **PLAIN}
    assert is_plain(Append(**given))
    assert not is_plain(Append(**{**given, **other}))


async def claimed(broker: Broker, **given: Any) -> tuple[Session, int]:
    """A session with an attempt that has made its first append."""
    session = await make(broker, **given)
    await session.append(claimable_at=0.0)
    fence = (await session.claim(lease_s=3600)).fence
    assert await session.append("first", fence=fence, n=1) == 2
    return session, fence


async def all_of(calls: Sequence[Any]) -> list[Any]:
    """What each returns or raises; all begun in one turn of the loop."""
    tasks = [asyncio.ensure_future(call) for call in calls]  # noqa: TID251 - awaited here
    await asyncio.wait(tasks)
    return [task.exception() or task.result() for task in tasks]


async def scripts_run(admin: Any) -> int:
    stats = await admin.info("commandstats")
    return sum(
        stats[name]["calls"] for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats
    )


async def test_what_gathers_in_a_turn_goes_as_one(server: KeyValueServer) -> None:
    async with opened(server.url) as broker, asking(server) as admin:
        some = [await claimed(broker) for _ in range(20)]
        before = await scripts_run(admin)
        for n in range(2, 7):
            seqs = await all_of([s.append("a", "b", fence=f, n=n) for s, f in some])
            assert seqs == [2 * n] * 20
        # and a canary every 0.1 s; one by one they are 100
        assert await scripts_run(admin) - before < 50
        for session, _ in some:
            assert [seq for seq, _ in await session.events()] == list(range(1, 13))


async def test_many_or_large_ones_are_several_scripts(server: KeyValueServer) -> None:
    async with opened(server.url) as broker:
        some = [await claimed(broker) for _ in range(MANY + 10)]
        assert await all_of([s.append("a", fence=f, n=2) for s, f in some]) == [3] * len(some)
        large = "x" * (MANY_BYTES // 3)
        assert await all_of([s.append(large, fence=f, n=3) for s, f in some]) == [4] * len(some)


async def test_it_stores_and_publishes_what_the_other_script_does(server: KeyValueServer) -> None:
    async with opened(server.url) as broker, asking(server) as admin:
        hot, full = await claimed(broker), await claimed(broker)
        kept: list[Any] = []
        # An append with a command is not plain.
        some = ((hot, None, None), (full, command("client:1"), command("client:2")))
        for (session, fence), one, two in some:
            ear = Ear()
            await broker.follow(session.id, ear)
            assert await session.append("a", fence=fence, n=2, command=one) == 3
            assert await session.append("é", "c", fence=fence, n=3, command=two) == 5
            await eventually(lambda ear=ear: len(ear.heard) == 2)
            (meta,) = await admin.keys(f"*{session.id}:meta")
            (log,) = await admin.keys(f"*{session.id}:log")
            fields = await admin.hgetall(meta)
            entries = await admin.xrange(log)
            for _, entry in entries:
                assert abs(int(entry.pop(b"at")) / 1000 - broker.now()) < 5
            for name in (b"session", b"owner", b"agent", b"epoch"):
                fields.pop(name)
            news = [(n.first, n.last, n.version, n.bodies) for n in ear.heard]
            assert {n.epoch for n in ear.heard} == {session.epoch}
            kept.append((fields, entries, news))
        assert kept[0] == kept[1]


async def test_each_fails_for_itself(server: KeyValueServer) -> None:
    async with opened(server.url) as broker, asking(server) as admin:
        some = [await claimed(broker) for _ in range(8)]
        (fenced, old), (deleted, of_deleted), (ahead, of_ahead) = some[:3]
        (broken, of_broken), (elsewhere, of_elsewhere), (lost, of_lost) = some[3:6]
        await fenced.append("stop", raise_fence=True, control=1)
        await deleted.delete()
        (log,) = await admin.keys(f"*{broken.id}:log")
        await admin.delete(log)
        await admin.set(log, "nonsense")
        (log,) = await admin.keys(f"*{ahead.id}:log")
        await admin.xadd(log, {"first": 3, "count": 1, "bodies": "x", "at": 1, "bytes": 9}, "3-0")
        await admin.delete(*await admin.keys(f"*{lost.id}:meta"))
        elsewhere.epoch = "another"
        results = await all_of(
            [
                fenced.append("a", fence=old, n=2),
                deleted.append("a", fence=of_deleted, n=2),
                broken.append("a", fence=of_broken, n=2),
                ahead.append("a", fence=of_ahead, n=2),
                elsewhere.append("a", fence=of_elsewhere, n=2),
                lost.append("a", fence=of_lost, n=2),
                *(session.append("a", fence=fence, n=2) for session, fence in some[6:]),
            ]
        )
        kinds = [type(result) for result in results[:6]]
        assert kinds == [
            Fenced,
            SessionMissing,
            BrokerError,
            EpochChanged,
            EpochChanged,
            SessionMissing,
        ]
        assert results[6:] == [3, 3]


async def test_a_repeat_stores_nothing(server: KeyValueServer) -> None:
    """Together with others, and after an answer that was lost."""
    async with cable(server.port) as wire, opened(wire.url) as broker:
        some = [await claimed(broker) for _ in range(3)]
        wire.lose_replies = True
        calls = [session.append("a", fence=fence, n=2) for session, fence in some]
        assert {type(result) for result in await all_of(calls)} == {BrokerUnavailable}
        for _ in range(2):
            calls = [session.append("a", fence=fence, n=2) for session, fence in some]
            assert await all_of(calls) == [3] * 3
        for session, fence in some:
            assert await session.append("b", fence=fence, n=3) == 4
            with pytest.raises(Fenced):  # the ghost of a lost connection
                await session.append("a", fence=fence, n=2)
            assert [text for _, text in await session.events(1)] == [b"first", b"a", b"b"]


async def test_a_cancelled_one_among_others(server: KeyValueServer) -> None:
    async with opened(server.url) as broker:
        some = [await claimed(broker) for _ in range(4)]
        for turns in range(6):
            calls = [
                asyncio.ensure_future(s.append("a", fence=f, n=2 + turns))  # noqa: TID251 - here
                for s, f in some
            ]
            for _ in range(turns):
                await asyncio.sleep(0)
            calls[0].cancel()
            await asyncio.wait(calls)
            assert [call.result() for call in calls[1:]] == [3 + turns] * 3


async def test_a_forgotten_script(server: KeyValueServer) -> None:
    async with opened(server.url) as broker, asking(server) as admin:
        some = [await claimed(broker) for _ in range(5)]
        for n in (2, 3):
            await admin.script_flush()
            assert await all_of([s.append("a", fence=f, n=n) for s, f in some]) == [n + 1] * 5


async def test_over_64_kib_only_the_header(server: KeyValueServer) -> None:
    async with opened(server.url) as broker:
        (session, fence), ear = await claimed(broker), Ear()
        await broker.follow(session.id, ear)
        await session.append("x" * 65_536, fence=fence, n=2)
        await session.append("x" * 65_537, "y", fence=fence, n=3)
        await eventually(lambda: len(ear.heard) == 2)
        assert [len(news.bodies) for news in ear.heard] == [1, 0]
        assert [(news.first, news.last) for news in ear.heard] == [(3, 3), (4, 5)]


async def test_without_a_connection_the_other_way_finds_one(server: KeyValueServer) -> None:
    async with opened(server.url) as broker, asking(server) as admin:
        session, fence = await claimed(broker)
        await admin.execute_command("CLIENT", "KILL", "TYPE", "normal")

        async def appended() -> bool:
            try:
                return await session.append("a", fence=fence, n=2) == 3
            except BrokerUnavailable:
                return False

        await eventually(appended)


async def test_a_connection_that_is_lost_leaves_it_unknown(server: KeyValueServer) -> None:
    async with opened(server.url) as broker, asking(server) as admin:
        session, fence = await claimed(broker)
        append = session.appending("a", fence=fence, n=2)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        await admin.execute_command("CLIENT", "PAUSE", 10_000, "WRITE")
        broker.append_soon(append, answer.set_result)
        await admin.execute_command("CLIENT", "KILL", "TYPE", "normal")
        assert isinstance(await answer, BrokerUnavailable)
        await admin.execute_command("CLIENT", "UNPAUSE")

        async def appended() -> int:
            try:
                return await broker.append(append)
            except BrokerUnavailable:
                return 0

        assert await eventually(appended) == 3


async def test_out_of_memory(server: KeyValueServer) -> None:
    async with opened(server.url) as broker, asking(server) as admin:
        session, fence = await claimed(broker)
        await admin.config_set("maxmemory", "1")
        with pytest.raises(BrokerUnavailable, match="memory"):
            await session.append("a", fence=fence, n=2)
        await admin.config_set("maxmemory", "0")
        assert await session.append("a", fence=fence, n=2) == 3


async def test_a_body_with_a_line_break_is_refused(server: KeyValueServer) -> None:
    async with opened(server.url) as broker:
        session, fence = await claimed(broker)
        with pytest.raises(ValueError, match="line break"):
            await session.append("a\nb", fence=fence, n=2)


@pytest.mark.cluster
async def test_in_a_cluster_each_shard_goes_for_itself(cluster: Ring) -> None:
    async with opened(cluster.url) as broker:
        some = [await claimed(broker, session=fresh()) for _ in range(40)]
        for n in range(2, 6):
            assert await all_of([s.append("a", fence=f, n=n) for s, f in some]) == [n + 1] * 40


async def test_anothers_answer_is_no_answer() -> None:
    """Of a server that is out of step: whatever it says, nobody waits for ever."""
    async with scripted() as server:
        client = RedisClient(server.url)
        warm = asyncio.ensure_future(client.command("PING"))  # noqa: TID251 - awaited here
        await server.has(b"PING")
        server.say(b"+PONG\r\n")
        await warm
        appends = Appends(client)
        for said in (b":7\r\n", b"*1\r\n:7\r\n", b"+OK\r\n"):
            asked = [appends.append(plain(name), b"a") for name in "ab"]
            times = server.taken.count(b"EVALSHA")
            await server.has(b"EVALSHA", times + 1)
            server.say(said)
            await asyncio.wait(asked)
            assert {type(each.exception()) for each in asked} == {BrokerUnavailable}
        await client.close()


def plain(session: str) -> Append:
    return Append(session=session, epoch="e", bodies=(b"a",), control=0, fence=3, n=2)
