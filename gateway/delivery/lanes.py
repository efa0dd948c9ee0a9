"""Work in order per key, without one key waiting for another.

A connection's commands and subscriptions on one session keep their order (docs/protocol.md), and a
session whose broker hangs holds up no other. A lane is a queue and, while there is work in it,
one task of the group.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

Job = Callable[[], Awaitable[None]]
MAX_LANES = 256


class Lanes:
    """At most `depth` jobs wait in a lane; a job must not raise."""

    def __init__(self, group: asyncio.TaskGroup, depth: int) -> None:
        self._group = group
        self._depth = depth
        self._lanes: dict[str, deque[Job]] = {}

    def put(self, key: str, job: Job, *, always: bool = False) -> bool:
        """Queues a job; False if the lane is full. `always`: for the connection's own jobs."""
        lane = self._lanes.get(key)
        if lane is None:
            if len(self._lanes) >= MAX_LANES and not always:
                return False
            lane = self._lanes[key] = deque()
            lane.append(job)
            self._group.create_task(self._work(key, lane))
            return True
        if len(lane) >= self._depth and not always:
            return False
        lane.append(job)
        return True

    def drop(self) -> None:
        """Forgets what waits; a job that runs goes on to its end."""
        for lane in self._lanes.values():
            lane.clear()

    async def _work(self, key: str, lane: deque[Job]) -> None:
        while lane:
            await lane.popleft()()
        # no await since the lane was seen empty: nothing can be put in between
        del self._lanes[key]
