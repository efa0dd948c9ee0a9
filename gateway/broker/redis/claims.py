"""Where a run may be claimed, and claiming it: 64 shards, looked at as rarely as possible.

Every append that makes a session claimable says so on its shard's wake channel; the times heard
there, and those seen in the queues, tell which shard to ask next. What is missed is found by the
look at all queues every second.
"""

import asyncio
import math
from collections.abc import Sequence

from gateway.broker.base import Claimed
from gateway.broker.redis import layout
from gateway.broker.redis.client import RedisClient
from gateway.broker.schedule import Due, Schedule

SWEEP_S = 1.0
SPARE_S = 5.0


class Claims:
    """What this process knows about the queues."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        # agent -> shard (as text) -> when the first of its queue may be claimed
        self._first: dict[str, Schedule] = {}
        # agent -> loop time of the last look at all its queues
        self._swept: dict[str, float] = {}
        # (agent, shard) -> how many changes had been heard of when this one was
        self._heard_at: dict[tuple[str, int], int] = {}
        self._heard = 0
        self._waiting: set[asyncio.Event] = set()
        # loop time when wake-ups may have been lost
        self._missed_at = -math.inf

    def hear(self, shard: int, payload: bytes) -> None:
        """A message of the shard's wake channel: `<agent> <time>`."""
        agent, _, at = payload.decode().partition(" ")
        schedule = self._first.get(agent)
        if schedule is None:
            return  # nobody here claims for it
        self._heard += 1
        self._heard_at[agent, shard] = self._heard
        schedule.set(str(shard), min(float(at), schedule.get(str(shard))))
        self._wake()

    def missed(self) -> None:
        """Wake-ups may have been lost: look at everything again."""
        self._missed_at = asyncio.get_running_loop().time()
        self._swept.clear()
        self._wake()

    async def claim(
        self, worker: str, agents: Sequence[str], *, lease_s: float, now: float
    ) -> Claimed | None:
        async with self._client.in_time():
            await self._sweep(agents)
            tried: set[str] = set()
            while (due := self._next(agents)) and due.at <= now and due.key not in tried:
                tried.add(due.key)
                claimed = await self._claim_in(int(due.key), worker, agents, lease_s)
                if claimed is not None:
                    return claimed
            return None

    async def wait(self, agents: Sequence[str], timeout_s: float, *, now: float) -> None:
        loop = asyncio.get_running_loop()
        swept = min((self._swept.get(agent, -math.inf) for agent in agents), default=math.inf)
        timeout_s = min(timeout_s, swept + SWEEP_S - loop.time())
        if (due := self._next(agents)) is not None:
            timeout_s = min(timeout_s, due.at - now)
        if timeout_s <= 0:
            return
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting.discard(event)

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()

    def _next(self, agents: Sequence[str]) -> Due | None:
        firsts = (self._first[agent].first() for agent in agents if agent in self._first)
        return min((first for first in firsts if first is not None), default=None)

    def _learn(self, agent: str, shard: int, at: bytes | None, asked_at: int) -> None:
        """What an answer says, unless something newer was heard since it was asked for."""
        if self._heard_at.get((agent, shard), 0) <= asked_at:
            self._first[agent].set(str(shard), float(at) if at else math.inf)

    async def _sweep(self, agents: Sequence[str]) -> None:
        now = asyncio.get_running_loop().time()
        outdated = [a for a in agents if self._swept.get(a, -math.inf) + SWEEP_S <= now]
        if not outdated:
            return
        asked_at = self._heard
        for agent in outdated:
            self._swept[agent] = now
            self._first.setdefault(agent, Schedule())
        queues = [(agent, shard) for agent in outdated for shard in range(layout.SHARDS)]
        try:
            firsts = await self._client.commands(
                [
                    ("ZRANGE", layout.runs(shard, agent), 0, 0, "WITHSCORES")
                    for agent, shard in queues
                ]
            )
        except BaseException:
            self._swept.clear()
            raise
        for (agent, shard), first in zip(queues, firsts, strict=True):
            self._learn(agent, shard, first[1] if first else None, asked_at)

    async def _claim_in(
        self, shard: int, worker: str, agents: Sequence[str], lease_s: float
    ) -> Claimed | None:
        asked_at = self._heard
        # After an outage who could not renew does, before what ran out is taken over.
        away_at = max(self._missed_at, self._client.away_at)
        spare_s = max(0.0, away_at + SPARE_S - asyncio.get_running_loop().time())
        queues = [layout.runs(shard, agent) for agent in agents]
        arguments = (layout.base(shard), worker, lease_s, spare_s)
        reply = await self._client.run("claim", queues, arguments)
        for agent, at in zip(agents, reply[-1], strict=True):
            self._learn(agent, shard, at, asked_at)
        if reply[0] == b"none":
            return None
        _, session, epoch, fence, lease_until, lost, _ = reply
        return Claimed(session.decode(), epoch.decode(), int(fence), float(lease_until), bool(lost))
