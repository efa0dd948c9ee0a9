"""A lease: renewed in time, doubted when cut off, never given up while nobody took it."""

import asyncio

import pytest

from gateway.broker.base import Append, Claimed, Create
from gateway.broker.memory import MemoryBroker
from gateway.errors import BrokerUnavailable, Fenced
from gateway.runtime.lease import Lease, LeaseTimes
from tests.runtime.stage import ManualClock


class CutOff(MemoryBroker):
    """A broker that cannot be reached while `down`."""

    down = False

    async def renew(self, session: str, fence: int, *, lease_s: float) -> float:
        if self.down:
            raise BrokerUnavailable
        return await super().renew(session, fence, lease_s=lease_s)


async def held(clock: ManualClock) -> tuple[CutOff, Claimed, Lease]:
    broker = CutOff(clock=clock)
    create = Create(session="s_1", owner="o:o", agent="a", bodies=[b"{}"], control=1)
    head = await broker.create(create)
    await broker.append(
        Append(session="s_1", epoch=head.epoch, bodies=[b"{}"], control=1, claimable_at=0.0)
    )
    since = clock()
    claimed = await broker.claim("w_1", ["a"], lease_s=15.0)
    assert claimed is not None
    return broker, claimed, Lease(broker, claimed, LeaseTimes(), since=since, clock=clock)


async def test_it_is_renewed_every_third_of_its_time() -> None:
    clock = ManualClock(1000.0)
    broker, _, lease = await held(clock)
    for _ in range(4):
        assert lease.due == clock() + 5.0
        clock.advance(5.0)
        await lease.renew()
    assert lease.fresh
    assert await broker.claim("w_2", ["a"], lease_s=15.0) is None


async def test_cut_off_its_holder_begins_nothing_new_until_a_late_renewal() -> None:
    clock = ManualClock(1000.0)
    broker, _, lease = await held(clock)
    broker.down = True
    clock.advance(9.9)
    await lease.renew()
    assert lease.fresh
    assert lease.due == clock() + 0.5  # soon again
    clock.advance(0.2)
    assert not lease.fresh
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(lease.ready())
        await lease.renew()
        await asyncio.sleep(0)
        assert not waiting.done()
        clock.advance(60.0)  # long out, but nobody took it
        broker.down = False
        await lease.renew()
    assert lease.fresh


async def test_taken_over_it_is_gone() -> None:
    clock = ManualClock(1000.0)
    broker, _, lease = await held(clock)
    clock.advance(15.1)
    other = await broker.claim("w_2", ["a"], lease_s=15.0)
    assert other is not None
    assert other.lost
    with pytest.raises(Fenced):
        await lease.renew()
    assert not lease.fresh
