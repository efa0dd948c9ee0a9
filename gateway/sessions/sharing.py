"""With whom the owner of a session shares it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from gateway.auth import Grant
from gateway.broker.base import Broker, Share
from gateway.errors import SessionMissing
from gateway.sessions.access import Facts, facts_of, not_found, owner_key, principal_of
from gateway.sessions.heads import Heads
from protocol.errors import ProtocolError, malformed
from protocol.values import Principal


class Sharing:
    """The shares of sessions, at most `most` of each. Methods may raise `BrokerUnavailable`."""

    def __init__(self, broker: Broker, heads: Heads, most: int) -> None:
        self._broker = broker
        self._heads = heads
        self._most = most

    async def of(self, session: str, grant: Grant) -> dict[str, Share]:
        """With which subjects a session is shared.

        Raises `ProtocolError` `session.not_found`, `auth.forbidden`.
        """
        async with self._owning(session, grant):
            found = await self._broker.shares(session)
        return {principal_of(key).subject: share for key, share in found.items()}

    async def set(self, session: str, grant: Grant, subject: str, access: Share | None) -> None:
        """Lets a subject of the same tenant into a session, or (None) no more.

        Raises `ProtocolError` `session.not_found`, `auth.forbidden`, `limit.exceeded`.
        """
        async with self._owning(session, grant) as facts:
            other = Principal(facts.owner.tenant, subject)
            if other == facts.owner:
                raise malformed("The session is this subject's own.", "$.subject")
            if not await self._broker.share(session, owner_key(other), access, most=self._most):
                text = f"A session is shared with at most {self._most} others."
                raise ProtocolError("limit.exceeded", text)

    @asynccontextmanager
    async def _owning(self, session: str, grant: Grant) -> AsyncGenerator[Facts]:
        """The session's turn, of who may say with whom it is shared."""
        async with self._heads.turn(session):
            loaded, _ = await self._heads.load(session, grant, "share")
            try:
                yield facts_of(session, loaded)
            except SessionMissing:
                raise not_found(session) from None
