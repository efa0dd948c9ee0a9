"""In order within a lane, side by side between lanes, and no more than fits."""

import asyncio

from gateway.delivery.lanes import MAX_LANES, Job, Lanes


class Bench:
    """Jobs that note when they ran, and wait if told to."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.gate = asyncio.Event()

    def job(self, name: str, *, waits: bool = False) -> Job:
        async def work() -> None:
            if waits:
                await self.gate.wait()
            self.done.append(name)

        return work


async def test_order_within_and_freedom_between() -> None:
    bench = Bench()
    async with asyncio.TaskGroup() as group:
        lanes = Lanes(group, 8)
        assert lanes.put("a", bench.job("a1", waits=True))
        assert lanes.put("a", bench.job("a2"))
        assert lanes.put("b", bench.job("b1"))
        await asyncio.sleep(0)
        assert bench.done == ["b1"]
        bench.gate.set()
    assert bench.done == ["b1", "a1", "a2"]


async def test_a_lane_that_emptied_begins_again() -> None:
    bench = Bench()
    async with asyncio.TaskGroup() as group:
        lanes = Lanes(group, 1)
        for n in range(3):
            assert lanes.put("a", bench.job(str(n)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    assert bench.done == ["0", "1", "2"]


async def test_full_lanes_refuse_but_not_what_must_be() -> None:
    bench = Bench()
    async with asyncio.TaskGroup() as group:
        lanes = Lanes(group, 2)
        lanes.put("a", bench.job("runs", waits=True))
        await asyncio.sleep(0)
        assert [lanes.put("a", bench.job("waits")) for _ in range(3)] == [True, True, False]
        assert lanes.put("a", bench.job("must"), always=True)
        for n in range(MAX_LANES - 1):
            assert lanes.put(f"lane {n}", bench.job("x"))
        assert not lanes.put("one more", bench.job("x"))
        bench.gate.set()
    assert bench.done.count("waits") == 2
    assert bench.done[-1] == "must" or "must" in bench.done


async def test_dropping_lets_the_running_one_end() -> None:
    bench = Bench()
    async with asyncio.TaskGroup() as group:
        lanes = Lanes(group, 8)
        lanes.put("a", bench.job("runs", waits=True))
        lanes.put("a", bench.job("waits"))
        await asyncio.sleep(0)
        lanes.drop()
        bench.gate.set()
    assert bench.done == ["runs"]
