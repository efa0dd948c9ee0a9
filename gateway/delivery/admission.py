"""Who may still come in: so many, so fast, and only while there are memory and descriptors.

Whoever is in is left in peace, with one exception: when memory runs out, the newest of those who
do not read are sent away. Nothing here speaks with a client: transports do, by what they are told.
"""

import logging
import random
import time

from gateway.delivery.resources import Resources
from gateway.delivery.roster import Roster
from gateway.limits import Clock, TokenBucket
from gateway.settings import Settings
from gateway.telemetry import Metrics

RETRY_S = (1, 5)
"""Who is refused comes back after a random time between these."""
SPARE_DESCRIPTORS = 64
"""For Redis, files and probes; a quarter of them, if there are few."""
MEMORY_SHARE = 0.8
CALM_SHARE = 0.95
"""Of the limit: below it the guard stands down."""
SHED_AT_ONCE = 32

log = logging.getLogger("gateway.delivery")


class Admission:
    """One per process; `look` is called each second."""

    def __init__(
        self,
        settings: Settings,
        roster: Roster,
        *,
        metrics: Metrics | None = None,
        resources: Resources | None = None,
        clock: Clock = time.monotonic,
        randomness: random.Random | None = None,
    ) -> None:
        self._roster = roster
        self._metrics = metrics or Metrics()
        self._resources = resources or Resources()
        self._random = randomness or random.Random()  # noqa: S311 - spreads load, no secret
        self._most = settings.max_connections
        self._rate = TokenBucket(settings.handshakes_per_s, settings.handshakes_burst, clock)
        self._max_bytes = _max_bytes(settings, self._resources)
        self._short_of_memory = False
        self._short_of_descriptors = False
        roster.each_second(self.look)

    def refused(self) -> int | None:
        """A handshake has come: None, or after how many seconds it may come again (HTTP 503)."""
        reason = self._reason()
        if reason is None and not self._rate.take():
            reason = "rate"
        if reason is None:
            return None
        self._metrics.refused(reason)
        return self._random.randint(*RETRY_S)

    @property
    def full(self) -> bool:
        """Whether one more would be too many (close code 4480)."""
        return self._most is not None and len(self._roster) >= self._most

    @property
    def unready(self) -> str | None:
        """Why nobody should be sent here; None: they may."""
        return "full" if self.full else self._reason()

    def _reason(self) -> str | None:
        if self._roster.draining:
            return "draining"
        if self._short_of_memory:
            return "memory"
        if self._short_of_descriptors:
            return "descriptors"
        return None

    def look(self) -> None:
        """Compares what the process has with what it may have."""
        self._look_at_descriptors()
        if self._max_bytes is None:
            return
        resident = self._resources.resident_bytes() or 0
        was_short = self._short_of_memory
        limit = self._max_bytes * (CALM_SHARE if was_short else 1)
        self._short_of_memory = resident > limit
        if self._short_of_memory != was_short:
            log.warning(
                "memory: %s of at most %s bytes, handshakes are %s",
                resident,
                self._max_bytes,
                "refused" if self._short_of_memory else "taken again",
            )
        if resident > self._max_bytes and (shed := self._roster.shed(SHED_AT_ONCE)):
            log.warning("memory: %s slow connections are closed", shed)

    def _look_at_descriptors(self) -> None:
        most = self._resources.descriptors()
        if most is None:
            return
        lowest = self._resources.lowest_free_descriptor()
        short = lowest is None or lowest >= most - min(SPARE_DESCRIPTORS, most // 4)
        if short != self._short_of_descriptors:
            self._short_of_descriptors = short
            log.warning(
                "descriptors: of %s %s, handshakes are %s",
                most,
                "few are left" if short else "enough are left",
                "refused" if short else "taken again",
            )


def _max_bytes(settings: Settings, resources: Resources) -> int | None:
    """The limit of one process; None: there is none, or none is known."""
    if settings.max_rss_bytes is not None:
        return settings.max_rss_bytes or None
    known = resources.memory_bytes()
    return None if known is None else int(known * MEMORY_SHARE / settings.processes)
