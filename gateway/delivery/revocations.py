"""Tokens that are void before their time: the set in memory, and how a process learns of it.

What is revoked stands on a board of the broker until no token can be that old; a word on the
control channel (`control`) tells it at once, the board is read at the start and again and again
for who missed the word. Nothing here speaks with a client: refusals go to who asks, and a
connection whose grant is void is closed by the roster.
"""

import asyncio
import logging
import math
import time
from contextlib import suppress

import msgspec
from msgspec import Struct

from gateway.auth import Authenticator, Grant
from gateway.broker.base import Broker
from gateway.delivery.roster import Roster
from gateway.errors import BrokerError
from gateway.limits import Clock
from protocol.errors import ProtocolError

BOARD = "revoked"
POLL_S = 30.0
RETRY_S = 1.0
WAIT_S = 2.0
"""How long a token waits at the start for what is revoked to be known."""

LOOK_S = 1.0
"""Between two looks at all who are connected."""

log = logging.getLogger("gateway.delivery")


class Revoke(Struct, frozen=True, omit_defaults=True, tag="revoke"):
    """Tokens of a tenant that are void: one, or those of a subject, or all; issued until `at`.

    Times are by the broker's clock. After `until` no such token can be alive, and it is forgotten.
    """

    tenant: str
    at: float
    until: float
    subject: str | None = None
    token_id: str | None = None

    @property
    def key(self) -> tuple[str, str | None, str | None]:
        """Whom it is about."""
        return self.tenant, self.subject, self.token_id


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Revoke).decode


async def revoke(broker: Broker, word: Revoke) -> None:
    """Stores it, then tells every process. Raises `BrokerUnavailable`: it may not be stored."""
    await broker.post(BOARD, _encode(word), until=word.until)
    with suppress(BrokerError):  # who does not hear it reads it
        await broker.publish_control(_encode(word))


class Revocations:
    """One per process; `run` must run while it is used."""

    def __init__(self, broker: Broker, roster: Roster, clock: Clock = time.monotonic) -> None:
        self._broker = broker
        self._roster = roster
        self._clock = clock
        # whom it is about -> the one that reaches furthest
        self._words: dict[tuple[str, str | None, str | None], Revoke] = {}
        self._known = asyncio.Event()
        self._news = False  # not yet held against those who are connected
        self._looked_at = -math.inf
        roster.each_second(self._close_void)

    def learn(self, word: Revoke) -> None:
        """It counts from now on. Who is connected is closed at once; of many words, in a second."""
        known = self._words.get(word.key)
        if known is not None and (known.at, known.until) >= (word.at, word.until):
            return
        self._words[word.key] = word
        self._news = True
        log.info("revoked: tenant %s, subject %s, token %s", *word.key)
        if self._clock() - self._looked_at >= LOOK_S:
            self._close_void()

    def voids(self, grant: Grant) -> bool:
        """Whether it, its subject or its tenant was revoked since it was issued."""
        words = self._words
        if not words:
            return False
        tenant, subject = grant.principal.tenant, grant.principal.subject
        if grant.token_id is not None and (tenant, None, grant.token_id) in words:
            return True
        for key in ((tenant, subject, None), (tenant, None, None)):
            word = words.get(key)
            if word is not None and grant.issued_at <= word.at:
                return True
        return False

    def check(self, grant: Grant) -> None:
        """Raises `ProtocolError` `auth.forbidden` if it is void."""
        if self.voids(grant):
            raise ProtocolError("auth.forbidden", "The token was revoked.")

    async def known(self) -> None:
        """Returns when the board was read once. Raises `ProtocolError` `auth.unavailable`."""
        if self._known.is_set():
            return
        try:
            async with asyncio.timeout(WAIT_S):
                await self._known.wait()
        except TimeoutError:
            raise ProtocolError("auth.unavailable") from None

    async def run(self) -> None:
        """Reads the board again and again, until cancelled."""
        while True:
            try:
                await self._read()
            except BrokerError:
                pause = POLL_S if self._known.is_set() else RETRY_S
            except Exception:  # the top of a task that must not end
                log.exception("the board of revocations could not be read")
                pause = RETRY_S
            else:
                self._known.set()
                pause = POLL_S
            await asyncio.sleep(pause)

    async def _read(self) -> None:
        for notice in await self._broker.posted(BOARD):
            with suppress(msgspec.DecodeError, UnicodeError):  # of a newer version, perhaps
                self.learn(_decode(notice))
        now = self._broker.now()
        for key, word in list(self._words.items()):
            if word.until <= now:
                del self._words[key]

    def _close_void(self) -> None:
        if self._news:
            self._news, self._looked_at = False, self._clock()
            self._roster.close_where(self.voids, 4403)


class Unrevoked:
    """An authenticator that also refuses what was revoked."""

    def __init__(self, auth: Authenticator, revocations: Revocations) -> None:
        self._auth = auth
        self._revocations = revocations

    async def authenticate(self, token: str | None) -> Grant:
        """As `Authenticator`; `auth.forbidden` if it was revoked."""
        grant = await self._auth.authenticate(token)
        await self._revocations.known()
        self._revocations.check(grant)
        return grant
