"""A process says that it is there: at once, again and again, and after the broker was away."""

import asyncio

from gateway.broker.memory import MemoryBroker
from gateway.errors import BrokerUnavailable
from gateway.fleet.announcer import Announcer
from gateway.fleet.record import AgentOffer, ProcessRecord, records
from gateway.telemetry import Metrics
from tests.support.waiting import eventually

COOK = AgentOffer("cook", "Cooks.")


class Away(MemoryBroker):
    """Refuses while it is `away`; counts what was said."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.said = 0

    async def announce(self, process: str, record: bytes) -> None:
        if self.away:
            raise BrokerUnavailable("away")
        self.said += 1
        await super().announce(process, record)

    async def withdraw(self, process: str) -> None:
        if self.away:
            raise BrokerUnavailable("away")
        await super().withdraw(process)


def announcer(broker: MemoryBroker, metrics: Metrics | None = None) -> Announcer:
    record = ProcessRecord(id="p_1", role="worker", version="1", started="", agents=[COOK])
    return Announcer(broker, record, metrics=metrics, every_s=0.01, again_s=0.01)


async def test_d1_it_says_what_it_is_and_what_it_has() -> None:
    broker = MemoryBroker()
    speaker = announcer(broker)
    assert await speaker.announce()
    assert list(records(await broker.announced())) == [speaker.record]
    assert (await broker.offered()).agents == {"cook": b"Cooks."}
    await speaker.withdraw()
    assert await broker.announced() == []
    assert (await broker.offered()).agents == {"cook": b"Cooks."}


async def test_d1_again_and_again_also_after_the_broker_was_away() -> None:
    broker, metrics = Away(), Metrics()
    speaker = announcer(broker, metrics)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(speaker.run())
        await eventually(lambda: broker.said >= 3)
        broker.away = True
        text = 'agent_gateway_broker_errors_total{error="BrokerUnavailable"}'
        await eventually(lambda: text in metrics.render()[0].decode())
        broker.away, before = False, broker.said
        await eventually(lambda: broker.said > before)
        task.cancel()


async def test_a_broker_that_is_away_keeps_nobody_from_ending() -> None:
    broker = Away()
    broker.away = True
    assert not await announcer(broker).announce()
    await announcer(broker).withdraw()
