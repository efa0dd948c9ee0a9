"""When each of many keys is due: the in-process twin of a Redis sorted set. No clock here."""

import heapq
import math
from typing import NamedTuple

SLACK = 64


class Due(NamedTuple):
    at: float
    key: str


class Schedule:
    """Keys by time. A key has one time; infinity takes it out."""

    def __init__(self) -> None:
        self._times: dict[str, float] = {}
        # Holds outdated entries too: one counts only while `_times` agrees with it.
        self._heap: list[Due] = []

    def __len__(self) -> int:
        return len(self._times)

    def get(self, key: str) -> float:
        """Its time; infinity if it has none."""
        return self._times.get(key, math.inf)

    def set(self, key: str, at: float) -> None:
        if at == math.inf:
            self._times.pop(key, None)
        elif self._times.get(key) != at:
            self._times[key] = at
            heapq.heappush(self._heap, Due(at, key))
        if len(self._heap) > 2 * len(self._times) + SLACK:
            self._heap = [Due(at, key) for key, at in self._times.items()]
            heapq.heapify(self._heap)

    def discard(self, key: str) -> None:
        self.set(key, math.inf)

    def first(self) -> Due | None:
        """The earliest, due or not."""
        while self._heap and self._times.get(self._heap[0].key) != self._heap[0].at:
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None
