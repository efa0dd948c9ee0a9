"""Who is connecting: a token becomes a `Grant`, or a refusal that tells a stranger nothing.

No sockets and no sessions here. Refusals are `auth.required`, `auth.invalid` and `auth.expired`;
what exactly is wrong with a token stays inside, for the log of whoever debugs it, never with the
token itself. How a token is read is in `token`.
"""

import time
from collections.abc import Callable
from importlib import import_module
from typing import Protocol, cast

from msgspec import Struct

from gateway.settings import Settings
from protocol.values import Detail, Principal

Clock = Callable[[], float]


class Grant(Struct, frozen=True):
    """What a connection may do: as whom, how much it may see, until when (None: for ever)."""

    principal: Principal
    detail: Detail
    expires_at: float | None = None
    """Seconds since the epoch, without leeway."""
    issued_at: float = 0
    """Seconds since the epoch; what was revoked since then ends it."""
    token_id: str | None = None
    """The token's `jti`: it alone can be revoked by it."""
    agents: frozenset[str] | None = None
    """The agents it may use; None: any."""
    sessions: frozenset[str] | None = None
    """The sessions it may use; None: any of the principal's."""
    scopes: frozenset[str] = frozenset()
    """What it may do beside conversing: `admin`."""


class Authenticator(Protocol):
    """Tells who holds a token."""

    async def authenticate(self, token: str | None) -> Grant:
        """The grant of a token; None: the client sent none.

        Raises:
            ProtocolError: `auth.required`, `auth.invalid` or `auth.expired`.
        """
        ...


class NoAuth:
    """Everyone is local/dev and may see everything; a token is not even looked at."""

    async def authenticate(self, token: str | None) -> Grant:
        """The same grant for everybody."""
        return Grant(Principal("local", "dev"), "full")


def open_auth(settings: Settings, clock: Clock = time.time) -> Authenticator:
    """The authenticator that the settings ask for."""
    if settings.auth == "none":
        return NoAuth()
    assert settings.auth_secret is not None, "Settings checks it"
    # Not at the top: who needs no tokens shall not load the cryptography.
    made = import_module("gateway.auth.token").JwtAuth(
        settings.auth_secret,
        audience=settings.auth_audience,
        detail=settings.detail,
        leeway_s=settings.auth_leeway_ms / 1000,
        clock=clock,
    )
    return cast("Authenticator", made)
