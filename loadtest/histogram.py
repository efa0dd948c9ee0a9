"""Latencies in constant memory at three significant digits: an HDR histogram.

Values are whole microseconds from 0 to 60 s. Up to 2047 each has a bucket of its own; above, every
power of two is split into 1024 buckets, so a bucket is never wider than 0.1 % of its values
(G. Tene, HdrHistogram). Minimum, maximum and sum are kept exactly. Nothing here knows a clock.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec

from loadtest.result import Latency

LONGEST_US = 60_000_000
_HALF_BITS = 10  # 1024 buckets for each power of two


def _index(us: int) -> int:
    shift = max(0, us.bit_length() - _HALF_BITS - 1)
    return (shift << _HALF_BITS) + (us >> shift)


def _upper(index: int) -> int:
    shift = max(0, (index >> _HALF_BITS) - 1)
    return ((index - (shift << _HALF_BITS) + 1) << shift) - 1


class Histogram:
    """Counts by bucket; what is longer than 60 s counts as 60 s, what is negative as 0."""

    def __init__(self) -> None:
        self.count = 0
        self._sum_us = 0.0
        self._min_us = LONGEST_US
        self._max_us = 0
        self._counts = [0] * (_index(LONGEST_US) + 1)  # bucket -> values

    def record(self, us: int, count: int = 1) -> None:
        """Adds a value, `count` times."""
        us = min(max(us, 0), LONGEST_US)
        self._counts[_index(us)] += count
        self.count += count
        self._sum_us += us * count
        self._min_us = min(self._min_us, us)
        self._max_us = max(self._max_us, us)

    def record_many(self, values: Iterable[int]) -> None:
        """Adds many values; far cheaper than one by one when they repeat."""
        for us, count in Counter(values).items():
            self.record(us, count)

    def merge(self, latency: Latency | None) -> None:
        """Adds a distribution measured elsewhere, in another process for instance."""
        if latency is None:
            return
        for upper_us, count in latency.buckets:
            self._counts[_index(upper_us)] += count
        self.count += latency.count
        self._sum_us += latency.mean_us * latency.count
        self._min_us = min(self._min_us, latency.min_us)
        self._max_us = max(self._max_us, latency.max_us)

    def latency(self) -> Latency | None:
        """The distribution so far; None if nothing was recorded."""
        if not self.count:
            return None
        whole = Latency(
            count=self.count,
            min_us=self._min_us,
            mean_us=self._sum_us / self.count,
            p50_us=0,
            p90_us=0,
            p99_us=0,
            p999_us=0,
            max_us=self._max_us,
            buckets=tuple((_upper(i), n) for i, n in enumerate(self._counts) if n),
        )
        names = ("p50_us", "p90_us", "p99_us", "p999_us")
        points = zip(names, whole.at_many((0.5, 0.9, 0.99, 0.999)), strict=True)
        return msgspec.structs.replace(whole, **dict(points))
