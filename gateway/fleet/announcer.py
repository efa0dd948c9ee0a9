"""One loop per process: says again and again that it is there, and which agents it has.

Whoever reads it decides what a missing word means; nothing stored depends on it.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

from gateway.broker.base import Broker
from gateway.errors import BrokerError
from gateway.fleet.record import ProcessRecord, encode_record
from gateway.telemetry import Metrics

EVERY_S = 5.0
AGAIN_S = 1.0
"""After the broker failed."""


class Announcer:
    """Announces `record`, spread over time so that a fleet does not speak in one moment."""

    def __init__(
        self,
        broker: Broker,
        record: ProcessRecord,
        *,
        metrics: Metrics | None = None,
        every_s: float = EVERY_S,
        again_s: float = AGAIN_S,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.record = record
        self._broker = broker
        self._metrics = metrics or Metrics()
        self._every_s = every_s
        self._again_s = again_s
        self._chance = chance

    async def announce(self) -> bool:
        """Says it once; False: the broker did not take it."""
        agents = {a.name: (a.description or "").encode() for a in self.record.agents}
        try:
            await self._broker.offer(agents)
            await self._broker.announce(self.record.id, encode_record(self.record))
        except BrokerError as error:
            self._metrics.broker_error(error)
            return False
        return True

    async def run(self) -> None:
        """Until cancelled; goes on through failures."""
        while True:
            said = await self.announce()
            pause = self._every_s if said else self._again_s
            await asyncio.sleep(pause * (0.8 + 0.2 * self._chance()))

    async def withdraw(self) -> None:
        """The process ends. A broker that is away forgets it by itself."""
        with suppress(BrokerError):
            await self._broker.withdraw(self.record.id)
