"""A process that publishes in place of workers, so that delivery is measured and no agent is.

    python -m loadtest.publisher BROKER

It claims the runs of the load agent and appends their events as an attempt does, each session's
one append after the other, through the same script; there is no agent, no message and no state.
"""

import asyncio
import sys
from collections.abc import Sequence

import msgspec
import uvloop

from gateway.broker.base import Append, Broker, Claimed
from gateway.broker.open import open_broker
from gateway.sessions.loading import fold_loaded
from gateway.sessions.session import Session
from loadtest.agent import AROUND, Feed, Lines, Order, load
from loadtest.stamps import now_us, stamp
from protocol.codec import encode
from protocol.events import Custom, Event, RunCompleted, RunStarted
from protocol.values import time_text

LEASE_S = 3600.0
CLAIM_S = 1.0


class Source(Feed):
    """One session: what its credits allow is appended, what comes meanwhile goes with the next."""

    __slots__ = ("_broker", "_claimed", "_flying", "_group", "_n", "_padding", "_session", "order")

    def __init__(
        self, broker: Broker, claimed: Claimed, session: Session, group: asyncio.TaskGroup
    ) -> None:
        self.order = msgspec.convert(session.state.queue[0].input, Order)
        super().__init__(len(self.order.ports))
        self._broker = broker
        self._claimed = claimed
        self._session = session
        self._group = group
        self._padding = "x" * (self.order.event_bytes - AROUND)
        self._n = 0
        self._flying = False

    def wake(self) -> None:
        if not self._flying:
            self._flying = True
            self._group.create_task(self._fly())

    async def begin(self) -> None:
        """The run is a live one, as if a worker had it."""
        await self._broker.append(self._control(RunStarted))

    async def _fly(self) -> None:
        while self.times:
            await self._broker.append(self._events())
        if self.ended:
            await self._broker.append(self._control(RunCompleted))
        else:
            self._flying = False

    def _events(self) -> Append:
        when = time_text(self._broker.now())
        texts = [stamp(at_us or now_us()) + self._padding for at_us in self.times]
        self.times.clear()
        return self._append([Custom(time=when, name="load", value=text) for text in texts])

    def _control(self, kind: type[RunStarted | RunCompleted]) -> Append:
        run, when = self._session.state.queue[0].id, time_text(self._broker.now())
        append = self._append([kind(time=when, run=run)])
        version, self._session.version = self._session.version, self._session.version + 1
        return msgspec.structs.replace(append, control=1, expect_version=version)

    def _append(self, events: Sequence[Event]) -> Append:
        self._n += 1
        return Append(
            session=self._claimed.session,
            epoch=self._claimed.epoch,
            bodies=[encode(event) for event in events],
            control=0,
            fence=self._claimed.fence,
            n=self._n,
        )


async def publish(url: str) -> None:
    """Until it is told to end."""
    broker = open_broker(url)
    lines = Lines()
    try:
        await broker.start()
        async with asyncio.TaskGroup() as group:
            while True:
                claimed = await broker.claim("publisher", [load.name], lease_s=LEASE_S)
                if claimed is None:
                    await broker.wait_claimable([load.name], CLAIM_S)
                    continue
                session = fold_loaded(claimed.session, await broker.load(claimed.session))
                source = Source(broker, claimed, session, group)
                await source.begin()
                for i, port in enumerate(source.order.ports):
                    (await lines.to(port)).enter(source.order.slot, source, i)
    finally:
        await broker.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(publish(sys.argv[1]))
