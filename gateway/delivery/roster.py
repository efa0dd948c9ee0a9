"""The connections of this process: one per (principal, client id), told of time and of the end.

The second to come with the same client id wins: it is the same tab, back before its old socket
was known to be dead (docs/protocol.md).
"""

import asyncio
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from gateway.auth import Grant
from gateway.limits import Clock
from protocol.values import Principal

TICK_S = 1.0
SLICE = 256
"""So many are told before others may use the loop."""
RECONNECTS_PER_S = 512
"""More come back in a second only if there are so many that the drain would not end in time."""
WAVE_S = 0.25
STOOD_STILL_S = 3.0
"""A tick that is so late says that the process was stopped, or its loop blocked."""
GRACE_S = 1.0
"""How long a client may take to leave after its time."""
LINGER_S = 3.0
"""How long a closed connection may take to be gone; the servers' own bound is 2 s."""

log = logging.getLogger("gateway.delivery")


class Member(Protocol):
    """A connection, as the roster sees it."""

    @property
    def slow(self) -> bool:
        """Whether its socket took nothing since the last tick."""
        ...

    @property
    def grant(self) -> Grant | None:
        """What it may do; None before that is known."""
        ...

    def close(self, code: int) -> None:
        """Ends it with a code of docs/protocol.md."""
        ...

    def tick(self, now: float) -> None:
        """A second has passed; `now` is monotonic."""
        ...

    def go_away(self, reason: str, reconnect_after_ms: int) -> None:
        """This process ends: the client should connect elsewhere."""
        ...

    def look_again(self, session: str, /) -> None:
        """If it is subscribed to the session: perhaps it may not see it any more."""
        ...

    def abort(self) -> None:
        """It cannot go on."""
        ...


class Place(NamedTuple):
    """Orders the connections of one client, on all replicas: the last one wins."""

    at: float
    """When it joined, by the broker's clock."""
    connection: str


class Roster:
    """Who is connected; `run` must run while it is used."""

    def __init__(
        self,
        clock: Clock = time.monotonic,
        *,
        most_of_a_subject: int | None = None,
        randomness: random.Random | None = None,
    ) -> None:
        self._clock = clock
        self._most_of_a_subject = most_of_a_subject
        self._watchers: list[Callable[[], None]] = []
        self._subjects: Counter[tuple[str, str]] = Counter()  # their clients here
        self._random = randomness or random.Random()  # noqa: S311 - an order, no secret
        self._members: dict[Member, None] = {}
        # tenant, subject, client id -> its connection and the place of that
        self._clients: dict[tuple[str, str, str], tuple[Member, Place]] = {}
        self.draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._members)

    def enter(self, member: Member) -> None:
        """A connection begins, nameless until `join`."""
        self._members[member] = None
        self._empty.clear()

    def join(self, member: Member, principal: Principal, client: str, place: Place) -> bool:
        """Its client is known; supersedes the one that had this name.

        False: there are too many of this subject, and it is not in.
        """
        subject = (principal.tenant, principal.subject)
        key = (*subject, client)
        old, _ = self._clients.get(key, (None, None))
        if old is None:
            most = self._most_of_a_subject
            if most is not None and self._subjects[subject] >= most:
                return False
            self._subjects[subject] += 1
        self._clients[key] = member, place
        if old is not None and old is not member:
            old.close(4409)
        return True

    def supersede(self, principal: Principal, client: str, place: Place) -> None:
        """The client has come somewhere: what it has here is closed, unless that came later."""
        member, here = self._clients.get(
            (principal.tenant, principal.subject, client), (None, None)
        )
        if member is not None and here is not None and here < place:
            member.close(4409)

    def look_again(self, session: str) -> None:
        """A permission was taken away: whoever is subscribed to the session finds out."""
        for member in list(self._members):
            self._spare(member, lambda one: one.look_again(session))

    def leave(self, member: Member, principal: Principal | None, client: str) -> None:
        """A connection is over."""
        self._members.pop(member, None)
        if not self._members:
            self._empty.set()
        if principal is None:
            return
        subject = (principal.tenant, principal.subject)
        if self._clients.get((*subject, client), (None,))[0] is member:
            del self._clients[*subject, client]
            self._subjects[subject] -= 1
            if not self._subjects[subject]:
                del self._subjects[subject]

    def shed(self, count: int) -> int:
        """Closes the newest of the slow ones, so many at most; how many it were."""
        slow = [member for member in reversed(self._members) if member.slow][:count]
        for member in slow:
            self._spare(member, lambda one: one.close(1013))
        return len(slow)

    def close_where(self, void: Callable[[Grant], bool], code: int) -> None:
        """Closes those with such a grant."""
        found = [m for m in self._members if m.grant is not None and void(m.grant)]
        for member in found:
            self._spare(member, lambda one: one.close(code))
        if found:
            log.info("%s connections are closed with %s", len(found), code)

    def each_second(self, look: Callable[[], None]) -> None:
        """`run` calls it, before it tells the connections."""
        self._watchers.append(look)

    async def run(self) -> None:
        """Tells every connection each second, until cancelled."""
        told = self._clock()
        while True:
            await asyncio.sleep(TICK_S)
            now = self._clock()
            away, told = now - told > TICK_S + STOOD_STILL_S, now
            if away:  # we, not they: what they sent meanwhile is read before they are judged
                continue
            for look in self._watchers:
                try:
                    look()
                except Exception:  # the top of a task
                    log.exception("a look failed")
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
