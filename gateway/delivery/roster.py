"""The connections of this process: one per (principal, client id), told of time and of the end.

The second to come with the same client id wins: it is the same tab, back before its old socket
was known to be dead (docs/protocol.md).
"""

import asyncio
import logging
import time
from contextlib import suppress
from typing import Protocol

from gateway.limits import Clock
from protocol.values import Principal

TICK_S = 1.0
SLICE = 256
"""So many are told before others may use the loop."""
RECONNECTS_PER_S = 512
GRACE_S = 1.0
"""How long a client may take to leave after its time."""

log = logging.getLogger("gateway.delivery")


class Member(Protocol):
    """A connection, as the roster sees it."""

    def close(self, code: int) -> None:
        """Ends it with a code of docs/protocol.md."""
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
            old.close(4409)

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
            for at, member in enumerate(list(self._members)):
                if at % SLICE == SLICE - 1:
                    await asyncio.sleep(0)
                try:
                    member.tick(now)
                except Exception:  # the top of a task: one connection's fault is not another's
                    log.exception("a tick failed")
                    member.abort()

    async def drain(self, within_s: float) -> None:
        """Sends every client away, spread over some time, and closes those who stay.

        Ends when all have left, at the latest after `within_s`.
        """
        self.draining = True
        members = list(self._members)
        spread_s = min(within_s / 2, len(members) / RECONNECTS_PER_S)
        for at, member in enumerate(members):
            member.go_away("restart", int(spread_s * 1000 * at / len(members)))
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                with suppress(TimeoutError):
                    async with asyncio.timeout(spread_s + GRACE_S):
                        await self._empty.wait()
                for member in list(self._members):
                    member.close(1012)
                await self._empty.wait()
