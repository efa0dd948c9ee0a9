"""Tickets: what a page that must not put a token into its address shows at the handshake instead.

One is good for one handshake, within half a minute, from the origin that asked for it, and stands
for the grant of the token that it was bought with. The broker keeps it under its hash, so whoever
reads the broker can use none; taking it is atomic, on whatever replica.
"""

import hashlib
import re
import secrets
import time
from collections.abc import Callable

import msgspec
from msgspec import Struct

from gateway.auth import Clock, Grant
from gateway.broker.base import Broker
from protocol.errors import ProtocolError

TTL_S = 30.0
LATE_S = 25.0
"""So long after its token has ended a connection is closed; a ticket is no good then either."""
_TICKET = re.compile(r"[A-Za-z0-9_-]{43}")


class _Kept(Struct, frozen=True, omit_defaults=True):
    key: str
    """Its own, so that an answer meant for somebody else is noticed."""
    origin: str | None
    grant: Grant


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Kept).decode


class Tickets:
    """Sold and taken; the same on every replica of a broker."""

    def __init__(
        self,
        broker: Broker,
        clock: Clock = time.time,
        new: Callable[[], str] = lambda: secrets.token_urlsafe(32),
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._new = new

    async def sell(self, grant: Grant, origin: str | None) -> str:
        """A ticket for `TTL_S`; without an origin it is for who sends none either."""
        ticket = self._new()
        key = _key(ticket)
        await self._broker.keep(key, _encode(_Kept(key, origin, grant)), ttl_s=TTL_S)
        return ticket

    async def redeem(self, ticket: str, origin: str | None) -> Grant:
        """The grant that a ticket stands for, which is used up, also by who may not use it.

        Raises:
            ProtocolError: `auth.invalid` if there is none, or it was sold to another origin;
                `auth.expired` if its token has ended meanwhile.
        """
        if not _TICKET.fullmatch(ticket):
            raise ProtocolError("auth.invalid")
        key = _key(ticket)
        value = await self._broker.take(key)
        kept = None if value is None else _decode(value)
        if kept is None or kept.key != key or kept.origin != origin:
            raise ProtocolError("auth.invalid")
        ends_at = kept.grant.expires_at
        if ends_at is not None and ends_at + LATE_S <= self._clock():
            raise ProtocolError("auth.expired")
        return kept.grant


def _key(ticket: str) -> str:
    return f"ticket:{hashlib.sha256(ticket.encode()).hexdigest()}"
