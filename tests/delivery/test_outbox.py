"""Who goes first, how much at a time, and what waits when nothing goes."""

import asyncio
import json

from gateway.delivery.feed import Feed
from gateway.delivery.outbox import (
    CONTROL_BYTES,
    CONTROL_LIMIT_FRAMES,
    MESSAGE_BYTES,
    TURN_BYTES,
    Outbox,
)
from gateway.delivery.subscription import Need, Subscription
from protocol.codec import encode
from protocol.detail import View
from tests.support.inprocess import FACTS, delta


def loaded(session: str, count: int, size: int) -> Subscription:
    """A subscription with so many deltas of that size ahead, of alternating parts."""
    feed = Feed(session, max_bytes=1 << 30)
    feed.begin("e_1", 0)
    feed.extend((n + 1, encode(delta("x" * size, part=n % 2))) for n in range(count))
    return Subscription(feed, View("full"), facts=FACTS, epoch="e_1", cursor=0)


class Line:
    """An outbox and why subscriptions left it."""

    def __init__(self) -> None:
        self.left: list[tuple[Subscription, Need]] = []
        self.outbox = Outbox(lambda subscription, need: self.left.append((subscription, need)))

    def take(self) -> list[str]:
        message, count = self.outbox.take()
        frames = [json.loads(line) for line in message.split(b"\n")] if message else []
        assert len(frames) == count
        return [frame["session"] if "session" in frame else frame["type"] for frame in frames]


async def test_control_frames_go_first() -> None:
    line = Line()
    assert line.take() == []
    line.outbox.ready(loaded("s_1", 1, 1))
    line.outbox.control(b'{"type":"ok"}')
    assert line.take() == ["ok", "s_1"]
    assert line.left == []
    assert line.take() == []


async def test_sessions_take_turns_and_messages_are_bounded() -> None:
    line = Line()
    subscriptions = [loaded(f"s_{n}", 300, 1000) for n in range(3)]
    for subscription in subscriptions:
        line.outbox.ready(subscription)
        line.outbox.ready(subscription)
    total = 0
    while message := line.outbox.take()[0]:
        assert len(message) <= MESSAGE_BYTES
        total += message.count(b"\n") + 1
        if total < 300:
            counts = [message.count(f'"{s.feed.session}"'.encode()) for s in subscriptions]
            assert min(counts) > 0
            assert max(counts) * 1000 <= 2 * TURN_BYTES
    assert total == 900
    assert line.left == []


async def test_a_huge_frame_travels_alone() -> None:
    line = Line()
    line.outbox.ready(loaded("s_small", 1, 10))
    line.outbox.ready(loaded("s_huge", 1, 2 * MESSAGE_BYTES))
    assert line.take() == ["s_small"]
    assert line.take() == ["s_huge"]
    assert line.take() == []


async def test_many_control_bytes_are_spread_over_messages() -> None:
    line = Line()
    for _ in range(3):
        line.outbox.control(b'{"type":"%s"}' % (b"x" * (MESSAGE_BYTES // 2)))
    assert [len(line.take()) for _ in range(4)] == [1, 1, 1, 0]


async def test_who_is_over_is_not_pulled() -> None:
    line = Line()
    subscription = loaded("s_1", 1, 1)
    line.outbox.ready(subscription)
    line.outbox.forget(subscription)
    line.outbox.forget(subscription)
    assert line.take() == []


async def test_who_does_not_catch_up_says_what_it_needs() -> None:
    line = Line()
    feed = loaded("s_1", 3, 1).feed
    waits = Subscription(feed, View("full"), facts=FACTS, epoch="e_1", cursor=0, window=2)
    line.outbox.ready(waits)
    assert line.take() == ["s_1", "s_1"]
    assert line.left == [(waits, Need.ACK)]
    elsewhere = Subscription(feed, View("full"), facts=FACTS, epoch="e_0", cursor=0)
    line.outbox.ready(elsewhere)
    assert line.take() == []
    assert line.left[1:] == [(elsewhere, Need.STATE)]


async def test_answers_wait_for_room() -> None:
    line = Line()
    await line.outbox.room()
    line.outbox.control(b"{}" + b" " * CONTROL_BYTES)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(line.outbox.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        line.outbox.take()
    assert not line.outbox.overflowing
    for _ in range(CONTROL_LIMIT_FRAMES + 1):
        assert not line.outbox.overflowing
        line.outbox.control(b"{}")
    assert line.outbox.overflowing
    line.outbox.close()
    await line.outbox.room()
    assert line.outbox.take() == (b"", 0)
    line.outbox.control(b" " * (CONTROL_BYTES + 1))
    await line.outbox.room()
