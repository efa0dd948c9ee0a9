"""One timer for many: what is due in the same millisecond is called together."""

import asyncio
import time

import pytest

from gateway.runtime.beat import EARLY_S, Beat


class Counted(Beat):
    """A beat that says how many timers it has asked the loop for."""

    @property
    def slots(self) -> int:
        return len(self._slots)


async def test_a_millisecond_has_one_timer() -> None:
    beat = Counted()
    rung: list[int] = []
    all_rung = asyncio.Event()
    when = int(beat.time() * 1000 + 20) / 1000  # the beginning of a millisecond
    for n in range(100):
        beat.at(when + n / 200_000, lambda n=n: rung.append(n))
    assert beat.slots == 1
    beat.at(when + 0.005, all_rung.set)
    assert beat.slots == 2
    await all_rung.wait()
    assert rung == list(range(100))
    assert beat.slots == 0


@pytest.mark.parametrize("ahead", [-1.0, 0.0, 0.0101, 0.05])
async def test_wait_until_a_time(ahead: float) -> None:
    beat = Counted()
    when = beat.time() + ahead
    await beat.until(when)
    assert beat.time() >= when - EARLY_S
    assert beat.slots == 0


async def test_a_wait_may_be_cancelled() -> None:
    beat = Counted()
    when = beat.time() + 0.02
    sleepers = [beat.until(when) for _ in range(3)]
    sleepers[1].cancel()
    await sleepers[2]
    assert [s.cancelled() for s in sleepers] == [False, True, False]


async def test_one_that_fails_does_not_touch_the_next() -> None:
    beat = Counted()
    faults: list[BaseException | None] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(context.get("exception")))
    rung = asyncio.Event()

    def fail() -> None:
        raise RuntimeError("a bug")

    when = beat.time() + 0.01
    beat.at(when, fail)
    beat.at(when, rung.set)
    try:
        async with asyncio.timeout(20):
            await rung.wait()
    finally:
        loop.set_exception_handler(None)
    assert [type(fault) for fault in faults] == [RuntimeError]


async def test_its_clock_is_monotonic_by_default() -> None:
    assert Beat().time is time.monotonic
