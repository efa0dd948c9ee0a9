"""Which processes there are and which agents they offered: two hashes in Redis.

Each value has the time by the server's clock before it (`announce.lua`). What cannot be read is of
a version to come, or not ours: it is passed over.
"""

import math
from collections.abc import Iterator, Mapping
from itertools import chain

from gateway.broker.base import GONE_S, OFFERED_S, Announced, Offered
from gateway.broker.redis import layout
from gateway.broker.redis.client import RedisClient

SINCE = ""
"""The field that says since when the hash was never without an entry."""


class Announcements:
    """The verbs; `now` is seconds by the broker's clock."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def announce(self, process: str, record: bytes) -> None:
        await self._client.run("announce", [layout.PROCESSES], (int(GONE_S), process, record))

    async def withdraw(self, process: str) -> None:
        await self._client.command("HDEL", layout.PROCESSES, process)

    async def announced(self, now: float) -> list[Announced]:
        held = await self._held(layout.PROCESSES)
        return [
            Announced(process, record, max(0.0, now - at))
            for process, at, record in held
            if process != SINCE and at > now - GONE_S
        ]

    async def offer(self, agents: Mapping[str, bytes]) -> None:
        if agents:
            pairs = chain.from_iterable(agents.items())
            await self._client.run("announce", [layout.AGENTS], (int(OFFERED_S), *pairs))

    async def offered(self, now: float) -> Offered:
        agents: dict[str, bytes] = {}
        since = math.inf
        for name, at, description in await self._held(layout.AGENTS):
            if name == SINCE:
                since = at
            elif at > now - OFFERED_S:
                agents[name] = description
        return Offered(agents, since)

    async def _held(self, key: str) -> list[tuple[str, float, bytes]]:
        reply: list[bytes] = await self._client.command("HGETALL", key)
        return list(_entries(reply))


def _entries(reply: list[bytes]) -> Iterator[tuple[str, float, bytes]]:
    for name, value in zip(reply[::2], reply[1::2], strict=True):
        at, _, text = value.partition(b" ")
        try:
            yield name.decode(), float(at), text
        except ValueError:
            continue
