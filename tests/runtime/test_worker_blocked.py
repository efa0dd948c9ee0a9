"""A worker whose loop stands still at any point, and loses its run meanwhile, begins nothing more.

Before and after everything that it asks of the broker, one after the other, the loop stands still
for longer than the lease and another worker takes the run. Neither waits nor threads are needed:
the broker in memory answers at once, so the takeover happens within the block.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from gateway.broker.base import Answered, Append, Claimed, Follower, Loaded
from gateway.runtime.agent import FunctionAgent, agent
from gateway.runtime.context import RunContext
from gateway.runtime.lease import LeaseTimes
from gateway.runtime.tools import server_tool
from gateway.runtime.worker import Worker
from tests.runtime.stage import FaultyBroker, ManualClock, Stage
from tests.support.waiting import eventually

LEASE_S = 15.0
MOST_POINTS = 60
ROUND_TRIP = 10
"""Turns of the loop in which others go on before it is known that a lease is gone."""


class BlockingBroker(FaultyBroker):
    """A broker at whose `block_at`-th point the process that asks stands still."""

    block_at = 0
    points = 0
    blocked = False

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.block: Callable[[], None] = lambda: None

    def _point(self) -> None:
        self.points += 1
        if self.points == self.block_at:
            self.blocked = True
            self.block()

    async def append(self, append: Append) -> int:
        self._point()
        seq = await super().append(append)
        self._point()
        return seq

    def append_soon(self, append: Append, answered: Answered) -> None:
        def hear(answer: Any) -> None:
            self._point()
            answered(answer)

        self._point()
        super().append_soon(append, hear)

    async def load(self, session: str, **options: Any) -> Loaded:
        found = await super().load(session, **options)
        self._point()
        return found

    async def follow(self, session: str, follower: Follower) -> None:
        await super().follow(session, follower)
        self._point()

    async def renew(self, session: str, fence: int, *, lease_s: float) -> float:
        self._point()
        for _ in range(ROUND_TRIP):
            await asyncio.sleep(0)
        end = await super().renew(session, fence, lease_s=lease_s)
        self._point()
        return end

    async def claim(self, worker: str, agents: Sequence[str], *, lease_s: float) -> Claimed | None:
        found = await super().claim(worker, agents, lease_s=lease_s)
        if found is not None:
            self._point()
        return found


def at_once(call: Coroutine[Any, Any, Any]) -> Any:
    """The answer of a verb that never waits."""
    try:
        call.send(None)
    except StopIteration as answer:
        return answer.value
    raise AssertionError("the broker in memory waits for nothing")


class Scene:
    """One worker at one run, and what its agent did before and after another had it."""

    def __init__(self, block_at: int, *, taken: bool) -> None:
        self.taken = False
        self.begun: list[str] = []
        self.own = ManualClock(1_000.0)
        self._take = taken
        self.stage = Stage([self._agent()], broker=BlockingBroker)
        self.broker: Any = self.stage.broker
        self.broker.block_at = block_at
        self.broker.block = self._stand_still

    def _stand_still(self) -> None:
        self.own.advance(LEASE_S + 0.1)
        self.stage.clock.advance(LEASE_S + 0.1)
        if self._take:
            other = FaultyBroker.claim(self.broker, "w_other", ["a"], lease_s=LEASE_S)
            self.taken = at_once(other) is not None

    def _effect(self, what: str) -> None:
        self.begun.append(f"{what} of a run that is another's" if self.taken else what)

    def _agent(self) -> FunctionAgent:
        @server_tool
        def in_a_thread() -> None:
            """Has an effect."""
            self._effect("thread")

        @server_tool
        async def in_the_loop() -> None:
            """Has an effect."""
            self._effect("loop")

        async def act(run: RunContext) -> None:
            async with run.message() as message:
                self._effect("model")
                await message.write("I will do it.")
            await run.call_tool("in_a_thread")
            await run.call_tool("in_the_loop")

        return agent(name="a", resume="replay", tools=[in_a_thread, in_the_loop])(act)

    async def play(self) -> None:
        """Until the run has ended or is lost."""
        await self.stage.create("a")
        await self.stage.send("Go")
        self.broker.points = 0
        # The alarm rings by real time, and looks at the clock that the test moves.
        lease = LeaseTimes(renew_s=0.005)
        async with self.stage.worker(clock=self.own, lease=lease, max_runs=1) as worker:
            await eventually(lambda: self._over(worker), what="the run is over or lost")

    async def _over(self, worker: Worker) -> bool:
        if worker.active:
            return False
        run = (await self.stage.state()).run
        return self.taken or (run is not None and not run.live)


@pytest.mark.parametrize("taken", [True, False])
async def test_blocked_anywhere_it_begins_nothing_in_a_run_that_is_anothers(taken: bool) -> None:
    """`taken` is not so: nobody came, so the late renewal holds, and all is done once."""
    for block_at in range(1, MOST_POINTS):
        scene = Scene(block_at, taken=taken)
        await scene.play()
        if not scene.broker.blocked:
            assert block_at > 10, "so many points there are at least"
            return
        wrong = [what for what in scene.begun if "another" in what]
        assert not wrong, f"blocked at point {block_at}: {wrong}"
        assert len(set(scene.begun)) == len(scene.begun), f"blocked at point {block_at}"
        if not scene.taken:
            assert sorted(scene.begun) == ["loop", "model", "thread"], f"point {block_at}"
    raise AssertionError("more points than expected")
