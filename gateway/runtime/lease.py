"""The lease of one claimed session: when to renew it, and whether its holder may still begin.

Times here are monotonic seconds of this process; the broker's clock decides who holds what. A
holder cut off from the broker starts nothing new well before another worker may take over, but
does not give up: a late renewal still succeeds while nobody took the session (docs/agents.md).
"""

import asyncio
import time
from collections.abc import Callable

from msgspec import Struct

from gateway.broker.base import Broker, Claimed
from gateway.errors import BrokerUnavailable


class LeaseTimes(Struct, frozen=True):
    """How long a lease lasts, how often it is renewed, and when its holder stops beginning."""

    lease_s: float = 15.0
    renew_s: float = 5.0
    stop_s: float = 10.0
    retry_s: float = 0.5


class Lease:
    """One holder's right to a session; `since` is when it was asked for."""

    def __init__(
        self,
        broker: Broker,
        claimed: Claimed,
        times: LeaseTimes,
        *,
        since: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker = broker
        self._claimed = claimed
        self._times = times
        self._clock = clock
        self._held_since = since
        self._renewed = asyncio.Event()
        self.due = since + times.renew_s
        """When to renew next."""

    @property
    def fresh(self) -> bool:
        """Whether a model or tool call may begin."""
        return self._clock() < self._held_since + self._times.stop_s

    async def renew(self) -> None:
        """Holds on; unavailable, it is tried again soon. Raises `Fenced`."""
        sent = self._clock()
        try:
            await self._broker.renew(
                self._claimed.session, self._claimed.fence, lease_s=self._times.lease_s
            )
        except BrokerUnavailable:
            self.due = self._clock() + self._times.retry_s
            return
        self._held_since = sent
        self.due = sent + self._times.renew_s
        self._renewed.set()
        self._renewed = asyncio.Event()

    async def ready(self) -> None:
        """Returns when a model or tool call may begin."""
        while not self.fresh:
            await self._renewed.wait()
