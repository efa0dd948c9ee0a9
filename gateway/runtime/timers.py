"""One loop per process: fires what is due, in any session, whoever owns its run.

Repeats and other processes doing the same are harmless: what is due is decided from the session.
"""

import asyncio
import random
from collections.abc import Callable

import structlog

from gateway.errors import BrokerError, BrokerUnavailable
from gateway.sessions.store import Store
from gateway.telemetry import Metrics

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

AT_ONCE = 100


class Timers:
    """Asks the broker every `every_s`, spread by up to half as much, for due sessions."""

    def __init__(
        self,
        store: Store,
        *,
        every_s: float = 1.0,
        metrics: Metrics | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._every_s = every_s
        self._metrics = metrics or Metrics()
        self._chance = chance

    async def run(self) -> None:
        """Until cancelled; goes on through failures."""
        while True:
            await self.fire()
            await asyncio.sleep(self._every_s * (0.75 + 0.5 * self._chance()))

    async def fire(self) -> int:
        """Everything that is due now; returns how many sessions were."""
        fired = 0
        while True:
            try:
                due = await self._store.broker.due_timers(AT_ONCE)
            except BrokerUnavailable as error:
                self._metrics.broker_error(error)
                return fired
            for session in due:
                await self._tick(session)
            fired += len(due)
            if len(due) < AT_ONCE:
                return fired

    async def _tick(self, session: str) -> None:
        try:
            await self._store.tick(session)
        except BrokerError as error:
            self._metrics.broker_error(error)
        except Exception:
            log.exception("timer failed", session=session)
