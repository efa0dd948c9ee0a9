"""What is published goes straight to a follower that takes it so; to all others as `News`."""

import asyncio
from collections.abc import Callable

from gateway.broker.redis import layout
from gateway.errors import BrokerUnavailable
from tests.broker.driving import Ear, make
from tests.broker.redis.opening import asking, opened
from tests.support.processes import KeyValueServer
from tests.support.waiting import eventually


class Keen(Ear):
    """Takes what is published as long as `takes` says so."""

    def __init__(self, takes: Callable[[], bool] = lambda: True) -> None:
        super().__init__()
        self.published: list[tuple[bytes, bytes, bytes, bytes]] = []
        self._takes = takes

    def hear(self, epoch: bytes, first: bytes, count: bytes, text: bytes) -> bool:
        if not self._takes():
            return False
        self.published.append((epoch, first, count, text))
        return True


async def test_the_only_one_takes_it_as_it_is(server: KeyValueServer) -> None:
    async with opened(server.url) as broker:
        session, keen, ear = await make(broker), Keen(), Ear()
        await broker.follow(session.id, keen)
        await session.append('{"a":1}')
        await session.append('{"b":1}', '{"c":1}')
        await eventually(lambda: len(keen.published) == 2)
        epoch = session.epoch.encode()
        assert keen.published == [
            (epoch, b"2", b"1", b'"a":1}'),
            (epoch, b"3", b"2", b'"b":1}\n{"c":1}'),
        ]
        await broker.follow(session.id, ear)
        await session.append('{"d":1}')
        await eventually(lambda: ear.events() == keen.events() == [(5, b'{"d":1}')])
        broker.unfollow(session.id, ear)
        await session.append('{"e":1}')
        await eventually(lambda: len(keen.published) == 3)
        broker.unfollow(session.id, keen)
        await session.append('{"f":1}')
        await broker.follow(session.id, ear)
        await session.append('{"g":1}')
        await eventually(lambda: ear.events()[-1] == (8, b'{"g":1}'))
        assert len(keen.published) == 3


async def test_what_it_does_not_take_comes_as_news(server: KeyValueServer) -> None:
    async with opened(server.url) as broker, asking(server) as admin:
        session, keen = await make(broker), Keen(lambda: False)
        await broker.follow(session.id, keen)
        await session.append('{"a":1}')
        await eventually(lambda: keen.events() == [(2, b'{"a":1}')])
        for strange in (b"", b"one two", b"a b c d", b"a 1 1 1 1\n{}"):
            heard = len(keen.heard)
            await admin.execute_command("SPUBLISH", layout.channel(session.id), strange)
            await eventually(lambda heard=heard: len(keen.heard) > heard)
            assert (keen.heard[-1].epoch, keen.heard[-1].last) == ("", 0)


async def test_one_that_fails_is_reported_and_hears_it_as_news(server: KeyValueServer) -> None:
    def fail() -> bool:
        raise BrokerUnavailable("broken")

    reported: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context.get("exception")))
    async with opened(server.url) as broker:
        session, keen = await make(broker), Keen(fail)
        await broker.follow(session.id, keen)
        try:
            await session.append('{"a":1}')
            await eventually(lambda: keen.events() == [(2, b'{"a":1}')])
        finally:
            loop.set_exception_handler(None)
        assert [type(error) for error in reported] == [BrokerUnavailable]
        assert broker.healthy
