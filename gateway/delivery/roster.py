"""The connections of this process: one per (principal, client id), told of time and of the end.

The second to come with the same client id wins: it is the same tab, back before its old socket
was known to be dead (docs/protocol.md).
"""

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from gateway.limits import Clock
from protocol.values import Principal

TICK_S = 1.0
SLICE = 256
"""So many are told before others may use the loop."""
RECONNECTS_PER_S = 512
"""More come back in a second only if there are so many that the drain would not end in time."""
WAVE_S = 0.25
GRACE_S = 1.0
"""How long a client may take to leave after its time."""
LINGER_S = 3.0
"""How long a closed connection may take to be gone; the servers' own bound is 2 s."""

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

    def __init__(
        self, clock: Clock = time.monotonic, *, randomness: random.Random | None = None
    ) -> None:
        self._clock = clock
        self._random = randomness or random.Random()  # noqa: S311 - an order, no secret
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
                self._spare(member, lambda one, now=now: one.tick(now))

    @staticmethod
    def _spare(member: Member, act: Callable[[Member], None]) -> None:
        """One connection's fault is not another's."""
        try:
            act(member)
        except Exception:  # the top of a task
            log.exception("a connection failed")
            member.abort()

    async def drain(self, within_s: float) -> None:
        """Sends every client away, spread over some time, and closes those who stay.

        In waves, each client at a moment of its own, in random order: so those who come back
        elsewhere are never a crowd. Ends when all have left, at the latest after `within_s`.
        """
        self.draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._send_away(within_s)
                for member in list(self._members):
                    self._spare(member, lambda one: one.close(1012))
                await self._empty.wait()

    async def _send_away(self, within_s: float) -> None:
        """Wave after wave; returns when all have left, or the last one's time is over."""
        members = list(self._members)
        self._random.shuffle(members)
        fit = RECONNECTS_PER_S * max(within_s - GRACE_S - LINGER_S, within_s / 2)
        per_s = RECONNECTS_PER_S * max(1.0, len(members) / fit)
        size = max(1, int(per_s * WAVE_S))
        waves = [members[at : at + size] for at in range(0, len(members), size)]
        stay = 1 + math.ceil(GRACE_S / WAVE_S)  # waves later those who stayed are closed
        for at in range(len(waves) + stay):
            for slot, member in enumerate(waves[at] if at < len(waves) else ()):
                after_ms = int(slot * 1000 / per_s)
                self._spare(member, lambda one, ms=after_ms: one.go_away("restart", ms))
            for member in waves[at - stay] if at >= stay else ():
                if member in self._members:
                    self._spare(member, lambda one: one.close(1012))
            with suppress(TimeoutError):
                async with asyncio.timeout(WAVE_S):
                    await self._empty.wait()
                    return
