"""How a run of the load agent takes its credits."""

import asyncio

import msgspec
import pytest

from loadtest.agent import Feed, Order


async def taken(feed: Feed) -> list[int]:
    found: list[int] = []
    while await feed.more():
        found.append(feed.times.popleft())
    return found


async def test_each_credit_is_one_event_in_order() -> None:
    feed = Feed(1)
    async with asyncio.TaskGroup() as group:
        taking = group.create_task(taken(feed))
        for at in (5, 0, 7):
            feed.give(0, at)
            await asyncio.sleep(0)
        feed.end()

    assert taking.result() == [5, 0, 7]


async def test_with_several_desks_the_slowest_decides() -> None:
    feed = Feed(2)
    for desk in (0, 0, 0, 1):
        feed.give(desk, 0)
    feed.end()
    first = await taken(feed)
    feed.give(1, 0)
    feed.give(1, 0)
    feed.give(1, 0)

    assert len(first) == 1
    assert len(await taken(feed)) == 2


async def test_what_was_given_before_the_end_is_published() -> None:
    feed = Feed(1)
    feed.give(0, 3)
    feed.end()

    assert await taken(feed) == [3]


@pytest.mark.parametrize("ports", [[], [1] * 65])
def test_an_order_names_a_desk(ports: list[int]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"verb": "emit", "slot": 0, "ports": ports}, Order)
