"""The connections of this process: one per (principal, client id), told of time and of the end.

The second to come with the same client id wins: it is the same tab, back before its old socket
was known to be dead (DESIGN 4.6, 4409).
"""

import asyncio
import logging
import time
from contextlib import suppress
from typing import Protocol

from gateway.limits import Clock
from protocol.values import Principal

TICK_S = 1.0

log = logging.getLogger("gateway.delivery")


class Member(Protocol):
    """A connection, as the roster sees it."""

    def superseded(self) -> None:
        """The same client connected again."""
        ...

    def tick(self, now: float) -> None:
        """A second has passed; `now` is monotonic."""
        ...

    def go_away(self, reason: str, reconnect_after_ms: int) -> None:
        """This process ends: the client should connect elsewhere."""
        ...

    def abort(self) -> None:
        """It cannot go on."""
        ...


class Roster:
    """Who is connected; `run` must run while it is used."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._members: dict[Member, None] = {}
        self._clients: dict[tuple[str, str, str], Member] = {}
        self.draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._members)

    def enter(self, member: Member) -> None:
        """A connection begins, nameless until `join`."""
        self._members[member] = None
        self._empty.clear()

    def join(self, member: Member, principal: Principal, client: str) -> None:
        """Its client is known; supersedes the one that had this name."""
        key = (principal.tenant, principal.subject, client)
        old = self._clients.get(key)
        self._clients[key] = member
        if old is not None and old is not member:
            old.superseded()

    def leave(self, member: Member, principal: Principal | None, client: str) -> None:
        """A connection is over."""
        self._members.pop(member, None)
        if not self._members:
            self._empty.set()
        if principal is not None:
            key = (principal.tenant, principal.subject, client)
            if self._clients.get(key) is member:
                del self._clients[key]

    async def run(self) -> None:
        """Tells every connection each second, until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            now = self._clock()
            for member in list(self._members):
                try:
                    member.tick(now)
                except Exception:  # the top of a task: one connection's fault is not another's
                    log.exception("a tick failed")
                    member.abort()

    async def drain(self, within_s: float) -> None:
        """Sends every client away, spread over the time, and waits until they left."""
        self.draining = True
        members = list(self._members)
        for at, member in enumerate(members):
            spread_ms = int(within_s * 500 * at / len(members))
            member.go_away("restart", spread_ms)
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._empty.wait()
