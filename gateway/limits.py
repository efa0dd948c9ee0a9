"""Limits on what a client may do, as small counters; who enforces them also answers the client.

Nothing here waits, sleeps or keeps a task; the clock is an argument.
"""

import time
from collections import deque
from collections.abc import Callable

Clock = Callable[[], float]


class TokenBucket:
    """At most `rate` a second in the long run, at most `burst` at once."""

    __slots__ = ("_burst", "_clock", "_rate", "_then", "_tokens")

    def __init__(self, rate: float, burst: float, clock: Clock = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = burst
        self._then = clock()

    def take(self, cost: float = 1) -> bool:
        """Take `cost` tokens; False, and none taken, if there are not so many."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._then) * self._rate)
        self._then = now
        if self._tokens < cost:
            return False
        self._tokens -= cost
        return True


class Strikes:
    """Counts offences; so many within so many seconds are too many."""

    __slots__ = ("_clock", "_times", "_within_s")

    def __init__(self, limit: int, within_s: float, clock: Clock = time.monotonic) -> None:
        self._times: deque[float] = deque(maxlen=limit)
        self._within_s = within_s
        self._clock = clock

    def strike(self) -> bool:
        """Count one more; True when `limit` of them came within the time."""
        now = self._clock()
        self._times.append(now)
        return len(self._times) == self._times.maxlen and now - self._times[0] <= self._within_s
