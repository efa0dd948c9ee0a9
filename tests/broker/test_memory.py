"""What only the broker in memory has: a clock that tests turn, and that it forgets in time."""

import pytest

from gateway.broker.base import KEPT_S
from gateway.broker.memory import MemoryBroker
from gateway.errors import SessionMissing
from tests.broker.driving import command, make


class Clock:
    def __init__(self) -> None:
        self.at = 1_000_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def broker(clock: Clock) -> MemoryBroker:
    return MemoryBroker(clock)


async def test_times_are_the_clocks(broker: MemoryBroker, clock: Clock) -> None:
    session = await make(broker)
    assert broker.now() == 1_000_000
    await session.append("a", claimable_at=1_000_010, timer_at=1_000_020)
    assert await broker.claim("worker", [session.agent], lease_s=15) is None
    clock.at += 10
    claimed = await broker.claim("worker", [session.agent], lease_s=15)
    assert claimed is not None
    assert claimed.lease_until == 1_000_025
    assert await broker.renew(session.id, claimed.fence, lease_s=15) == 1_000_025
    assert await broker.due_timers(9) == []
    clock.at += 10
    assert await broker.due_timers(9) == [session.id]
    assert await broker.due_timers(9) == []
    clock.at += 1
    assert await broker.due_timers(9) == [session.id]
    assert await broker.claim("worker", [session.agent], lease_s=15) is None
    clock.at += 4
    assert await broker.claim("worker", [session.agent], lease_s=15) is not None


async def test_answers_are_kept_for_a_day(broker: MemoryBroker, clock: Clock) -> None:
    session = await make(broker, command=command("c:1"))
    clock.at += KEPT_S / 2
    await session.append("a", command=command("c:2"))
    clock.at += KEPT_S / 2 - 1
    assert (await broker.load(session.id, command="c:1")).command is not None
    clock.at += 1
    assert (await broker.load(session.id, command="c:1")).command is None
    assert (await broker.load(session.id, command="c:2")).command is not None
    assert await session.append("b", command=command("c:1")) == 3


async def test_deleted_sessions_are_gone_after_a_day(broker: MemoryBroker, clock: Clock) -> None:
    session = await make(broker)
    await session.delete(command=command())
    clock.at += KEPT_S - 1
    assert (await broker.load(session.id)).deleted
    clock.at += 1
    with pytest.raises(SessionMissing):
        await broker.load(session.id)
    assert list(await broker.heads([session.id])) == [None]
    again = await make(broker, session=session.id, owner=session.owner)
    assert again.epoch != session.epoch
    assert await broker.sessions(session.owner, limit=9, before=None) == ([session.id], False)


async def test_nothing_is_left_of_them(broker: MemoryBroker, clock: Clock) -> None:
    for _ in range(20):
        session = await make(broker, agent="agent", command=command())
        await session.append("a", claimable_at=0.0, timer_at=0.0)
        await session.delete()
    clock.at += KEPT_S
    await make(broker, agent="agent")
    assert len(broker._sessions) == len(broker._owned) == 1
    assert len(broker._expiring) == len(broker._timers) == len(broker._claimable["agent"]) == 0


async def test_an_event_is_one_line(broker: MemoryBroker) -> None:
    session = await make(broker)
    before = await session.head()
    with pytest.raises(ValueError, match="line break"):
        await session.append("a\nb")
    assert await session.head() == before
