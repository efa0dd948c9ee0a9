"""Who is connecting: a token becomes a `Grant`, or a refusal that tells a stranger nothing.

No sockets and no sessions here. Refusals are `auth.required`, `auth.invalid` and `auth.expired`,
and `auth.unavailable` when a token cannot be checked; what exactly is wrong with one stays inside,
never with the token itself. How a token is read is in `token`, how its signature is checked in
`signature` and `jwks`.
"""

import time
from collections.abc import Callable
from importlib import import_module
from typing import Protocol, cast

from msgspec import Struct

from gateway.errors import ConfigurationError
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
            ProtocolError: `auth.required`, `auth.invalid`, `auth.expired`, or `auth.unavailable` if
                that cannot be told now.
        """
        ...


class OwnAuthenticator(Authenticator, Protocol):
    """One that the gateway made as its settings say, and looks after."""

    @property
    def unready(self) -> str | None:
        """Why no token can be checked now; None: they can."""
        ...

    def apply(self, settings: Settings) -> None:
        """Measure what comes from now on by these settings."""
        ...

    async def run(self) -> None:
        """What has to be done meanwhile, until cancelled; ends at once if that is nothing."""
        ...


class NoAuth:
    """Everyone is local/dev and may see everything; a token is not even looked at."""

    unready = None

    async def authenticate(self, token: str | None) -> Grant:
        """The same grant for everybody."""
        return Grant(Principal("local", "dev"), "full")

    def apply(self, settings: Settings) -> None:
        """Nothing is measured."""

    async def run(self) -> None:
        """Nothing has to be done."""


def open_auth(settings: Settings, clock: Clock = time.time) -> OwnAuthenticator:
    """The authenticator that the settings ask for.

    Raises:
        ConfigurationError: it is one that only who embeds the gateway can give.
    """
    if settings.auth == "none":
        return NoAuth()
    if settings.auth == "own":
        raise ConfigurationError(
            "auth own is for create_app(settings, authenticator=…) alone: use --auth jwt."
        )
    # Not at the top: who needs no tokens shall not load the cryptography, nor who needs no key set
    # an HTTP client.
    verifier: object
    if settings.auth_jwks_url is not None:
        key_set = import_module("gateway.auth.jwks").KeySet
        verifier = key_set(settings.auth_jwks_url, settings.auth_algorithm)
    else:
        shared = import_module("gateway.auth.signature").SharedSecret
        verifier = shared(settings.auth_secret, settings.auth_secret_previous)
    token = import_module("gateway.auth.token")
    return cast("OwnAuthenticator", token.JwtAuth(verifier, token.Terms.of(settings), clock))
