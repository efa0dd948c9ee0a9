"""Which sessions a principal has, or shares: an index beside them, so it may be ahead of them.

An entry is written before its session is made (they are in different slots); one without a session
is dropped when a list meets it, once it is too old to be still in the making.
"""

from typing import Any

from gateway.broker.redis import layout
from gateway.broker.redis.client import RedisClient

IN_THE_MAKING_S = 60.0
PAGE = 100


class Owners:
    """The index by owner; times are seconds by the broker's clock."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def add(self, owner: str, session: str, now: float, *, shared: bool = False) -> None:
        if shared:  # first: what is only there is never counted as its own
            await self._client.command("ZADD", layout.shared(owner), "NX", now, session)
        await self._client.command("ZADD", layout.owner(owner), "NX", now, session)

    async def drop(self, owner: str, *sessions: str) -> None:
        await self._client.command("ZREM", layout.owner(owner), *sessions)
        await self._client.command("ZREM", layout.shared(owner), *sessions)

    async def count(self, owner: str) -> int:
        """Its own, about: an entry may still lead nowhere."""
        all_, shared = await self._client.commands(
            [("ZCARD", layout.owner(owner)), ("ZCARD", layout.shared(owner))]
        )
        return max(0, int(all_) - int(shared))

    async def newest(
        self, owner: str, *, limit: int, before: str | None, now: float
    ) -> tuple[list[str], bool]:
        start = 0
        if before is not None:
            rank = await self._client.command("ZREVRANK", layout.owner(owner), before)
            if rank is None:
                return [], False
            start = int(rank) + 1
        found: list[str] = []
        while len(found) <= limit:
            page = await self._page(owner, start)
            alive, dangling = await self._sort(owner, page, now)
            found += alive
            if len(page) < PAGE:
                break
            start += PAGE - dangling
        return found[:limit], len(found) > limit

    async def _page(self, owner: str, start: int) -> list[tuple[str, float]]:
        reply: list[Any] = await self._client.command(
            "ZRANGE", layout.owner(owner), start, start + PAGE - 1, "REV", "WITHSCORES"
        )
        return [
            (name.decode(), float(at)) for name, at in zip(reply[::2], reply[1::2], strict=True)
        ]

    async def _sort(
        self, owner: str, page: list[tuple[str, float]], now: float
    ) -> tuple[list[str], int]:
        """The live ones, and how many entries were dropped."""
        if not page:
            return [], 0
        metas = await self._client.commands(
            [
                ("HMGET", layout.meta(session), "owner", "deleted", f"share:{owner}")
                for session, _ in page
            ]
        )
        alive: list[str] = []
        dangling: list[str] = []
        for (session, at), (of, deleted, share) in zip(page, metas, strict=True):
            if of == owner.encode() or share is not None:
                if deleted is None:
                    alive.append(session)
            elif at < now - IN_THE_MAKING_S:
                dangling.append(session)
        if dangling:
            await self.drop(owner, *dangling)
        return alive, len(dangling)
