"""Who the client of a connection is: by its token or its handshake, and for how long."""

from gateway.auth import Grant
from gateway.delivery.addresses import Visit
from gateway.delivery.delivery import Delivery
from gateway.delivery.identify import identify
from protocol.errors import ProtocolError
from protocol.frames import AuthExpiring

EXPIRING_S = 60.0
EXPIRED_S = 25.0


class Identity:
    """The grant of one connection; None before hello."""

    __slots__ = ("_in", "_told_expiring", "grant", "visit")

    def __init__(self, delivery: Delivery, visit: Visit) -> None:
        self._in = delivery
        self._told_expiring = False
        self.visit = visit
        self.grant: Grant | None = None

    async def shown(self, token: str | None) -> Grant:
        """By the token of the hello, or else by the handshake; both are of one principal.

        Raises `ProtocolError` as `identify` does, or `auth.forbidden`.
        """
        invited = self.visit.invited
        if token is None and invited is not None:
            self._in.revocations.check(invited)
            return invited
        grant = await self._identify(token)
        if invited is not None and grant.principal != invited.principal:
            raise ProtocolError("auth.forbidden")
        return grant

    async def refreshed(self, token: str) -> Grant | None:
        """The grant of a newer token; None: it is another's. Raises as `identify` does."""
        grant = await self._identify(token)
        if self.grant is None or grant.principal != self.grant.principal:
            return None
        self.grant, self._told_expiring = grant, False
        return grant

    def expiring(self) -> AuthExpiring | None:
        """What the client should be told of the end of its token; each is told once.

        Raises `ProtocolError` `auth.expired`.
        """
        if self.grant is None or self.grant.expires_at is None:
            return None
        left_s = self.grant.expires_at - self._in.wall()
        if left_s <= -EXPIRED_S:
            raise ProtocolError("auth.expired")
        if left_s > EXPIRING_S or self._told_expiring:
            return None
        self._told_expiring = True
        return AuthExpiring(in_ms=max(0, int(left_s * 1000)))

    async def _identify(self, token: str | None) -> Grant:
        return await identify(self._in.auth, self._in.addresses, token, self.visit.address)
