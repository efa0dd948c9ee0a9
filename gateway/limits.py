"""Limits on what a client may do, as small counters; who enforces them also answers the client.

Nothing here waits, sleeps or keeps a task; the clock is an argument.
"""

import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Clock = Callable[[], float]
K = TypeVar("K", bound=Hashable)


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

    def has(self, cost: float = 1) -> bool:
        """Whether `take` would succeed now."""
        return self._tokens + (self._clock() - self._then) * self._rate >= cost


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


class Buckets(Generic[K]):
    """A token bucket for each of many; only the `most` that were used last are remembered.

    A bucket that is forgotten is full again, so who changes names fast enough is not held up;
    the memory is bounded instead.
    """

    __slots__ = ("_buckets", "_burst", "_clock", "_most", "_rate")

    def __init__(
        self, rate: float, burst: float, *, most: int = 10_000, clock: Clock = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._most = most
        self._clock = clock
        self._buckets: dict[K, TokenBucket] = {}  # the least recently used first

    def take(self, key: K, cost: float = 1) -> bool:
        """As `TokenBucket.take`, of the bucket of `key`."""
        bucket = self._buckets.pop(key, None)
        if bucket is None:
            bucket = TokenBucket(self._rate, self._burst, self._clock)
            if len(self._buckets) >= self._most:
                del self._buckets[next(iter(self._buckets))]
        self._buckets[key] = bucket
        return bucket.take(cost)

    def has(self, key: K) -> bool:
        """Whether one could be taken; a bucket that is not remembered is full."""
        bucket = self._buckets.get(key)
        return bucket is None or bucket.has()

    def __len__(self) -> int:
        return len(self._buckets)
