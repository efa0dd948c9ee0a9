"""What is heard, and what happens when nothing is."""

from tests.broker.driving import Ear, make
from tests.broker.redis.cable import cable
from tests.broker.redis.opening import asking, opened
from tests.support.processes import KeyValueServer
from tests.support.waiting import eventually


async def test_killed_connections(server: KeyValueServer) -> None:
    async with opened(server.url) as broker, asking(server) as admin:
        some, ear = [await make(broker) for _ in range(30)], Ear()
        for session in some:
            await broker.follow(session.id, ear)
        await admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: len(ear.told_to_look) == 30, what="all are told to look")
        assert {news.session for news in ear.heard} == {session.id for session in some}
        for session in some:
            await session.append("a")
        await eventually(lambda: len(ear.events()) == 30)


async def test_deaf_connection(server: KeyValueServer) -> None:
    async with cable(server.port) as wire, opened(wire.url) as broker:
        session, ear = await make(broker), Ear()
        await broker.follow(session.id, ear)
        wire.mute = True
        await session.append("a")
        await eventually(lambda: not broker.healthy, what="it notices that it is deaf")
        wire.mute = False
        await eventually(lambda: ear.told_to_look, what="followers are told")
        await session.append("b")
        await eventually(lambda: ear.events()[-1:] == [(3, b"b")])
        assert broker.healthy


async def test_nothing_is_followed_for_ever(server: KeyValueServer) -> None:
    async with opened(server.url) as broker, asking(server) as admin:
        before = set(await admin.execute_command("PUBSUB", "SHARDCHANNELS"))
        some, ear = [await make(broker) for _ in range(20)], Ear()
        for session in some:
            await broker.follow(session.id, ear)
        assert len(await admin.execute_command("PUBSUB", "SHARDCHANNELS")) == 20 + len(before)
        for session in some:
            broker.unfollow(session.id, ear)

        async def ended() -> bool:
            return set(await admin.execute_command("PUBSUB", "SHARDCHANNELS")) == before

        await eventually(ended, what="the subscriptions end")
        await broker.follow(some[0].id, ear)
        await some[0].append("a")
        await eventually(lambda: ear.events() == [(2, b"a")])


async def test_follow_while_away(server: KeyValueServer) -> None:
    async with opened(server.url) as broker, asking(server) as admin:
        session, ear = await make(broker), Ear()
        await admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await broker.follow(session.id, ear)
        await session.append("a")
        await eventually(lambda: (2, b"a") in ear.events() or ear.told_to_look)


async def test_over_64_kib_only_the_header(server: KeyValueServer) -> None:
    async with opened(server.url) as broker:
        session, ear = await make(broker), Ear()
        await broker.follow(session.id, ear)
        await session.append("x" * 65_536)
        await session.append("x" * 65_537, "y")
        await eventually(lambda: len(ear.heard) == 2)
        assert [len(news.bodies) for news in ear.heard] == [1, 0]
        assert [(news.first, news.last) for news in ear.heard] == [(2, 2), (3, 4)]
