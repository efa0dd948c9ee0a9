"""JSON Web Tokens (RFC 7519): what a token says, and for how long, once its signature is right.

Loads the cryptography; nothing that runs without tokens imports it.
"""

import time
from typing import Annotated, Any, TypedDict, Unpack

import msgspec
from joserfc import jws
from joserfc.jwk import OctKey
from msgspec import Meta, Struct

from gateway.auth import Clock, Grant
from gateway.auth.signature import SYMMETRIC, SharedSecret, Verifier
from gateway.errors import ConfigurationError
from gateway.settings import AUDIENCE, MAX_AGE_MS, Settings
from protocol.errors import ProtocolError
from protocol.values import Detail, Id, Principal

DEFAULT_TENANT = "default"

# Whoever prints one prints one line: no control characters, no spaces, no surrogates.
Name = Annotated[str, Meta(pattern=r"^[!-~]{1,256}\Z", max_length=256)]
Seconds = Annotated[float, Meta(ge=0, le=2**40)]


class Claims(Struct, frozen=True, omit_defaults=True):
    """What is read of a token; everything else in it is ignored."""

    sub: Name
    iat: Seconds
    exp: Seconds
    aud: str | list[str]
    nbf: Seconds = 0
    iss: str | None = None
    tenant: Name = DEFAULT_TENANT
    detail: Detail | None = None
    jti: Name | None = None
    agents: list[Name] | None = None
    sessions: list[Id] | None = None
    scope: str = ""
    """Words joined by spaces (RFC 8693 section 4.2)."""


class Terms(Struct, frozen=True, kw_only=True):
    """What a token must say to be taken, beside being signed."""

    audience: str = AUDIENCE
    issuer: str | None = None
    detail: Detail = "steps"
    """The most that a token without such a claim may see."""
    leeway_s: float = 30
    """Granted on both ends: clocks differ."""
    max_age_s: float = MAX_AGE_MS / 1000
    """A token that was issued longer ago has ended."""
    tenant_claim: str = "tenant"
    detail_claim: str = "detail"

    @classmethod
    def of(cls, settings: Settings) -> "Terms":
        """Those that the settings name."""
        return cls(
            audience=settings.auth_audience,
            issuer=settings.auth_issuer,
            detail=settings.detail,
            leeway_s=settings.auth_leeway_ms / 1000,
            max_age_s=settings.auth_max_age_ms / 1000,
            tenant_claim=settings.auth_tenant_claim,
            detail_claim=settings.auth_detail_claim,
        )


class JwtAuth:
    """Signed tokens; `sub`, `iat`, `exp` and `aud` are required."""

    def __init__(
        self, verifier: Verifier, terms: Terms | None = None, clock: Clock = time.time
    ) -> None:
        self._verifier = verifier
        self._terms = terms or Terms()
        self._clock = clock

    async def authenticate(self, token: str | None) -> Grant:
        """The grant of a token.

        Raises:
            ProtocolError: `auth.required`, `auth.invalid`, `auth.expired`, `auth.unavailable`.
        """
        if not token:
            raise ProtocolError("auth.required")
        terms = self._terms
        claims = self._claims(await self._verifier.payload(token), terms)
        now = self._clock()
        ends_at = min(claims.exp, claims.iat + terms.max_age_s)
        if max(claims.iat, claims.nbf) > now + terms.leeway_s:
            raise ProtocolError("auth.invalid")
        if ends_at <= now - terms.leeway_s:
            raise ProtocolError("auth.expired")
        return Grant(
            Principal(claims.tenant, claims.sub),
            claims.detail or terms.detail,
            ends_at,
            issued_at=claims.iat,
            token_id=claims.jti,
            agents=None if claims.agents is None else frozenset(claims.agents),
            sessions=None if claims.sessions is None else frozenset(claims.sessions),
            scopes=frozenset(claims.scope.split()),
        )

    def apply(self, settings: Settings) -> None:
        """Measure the tokens that come from now on by these settings."""
        self._terms = Terms.of(settings)
        if settings.auth_secret is not None:
            self._verifier = SharedSecret(settings.auth_secret, settings.auth_secret_previous)

    @property
    def unready(self) -> str | None:
        """Why no token can be checked; None: they can."""
        return self._verifier.unready

    async def run(self) -> None:
        """Keeps the keys fresh, where they are somebody else's."""
        await self._verifier.run()

    @staticmethod
    def _claims(payload: bytes, terms: Terms) -> Claims:
        try:
            said = msgspec.json.decode(payload, type=dict[str, Any])
            for name, claim in (("tenant", terms.tenant_claim), ("detail", terms.detail_claim)):
                if claim != name:
                    said.pop(name, None)
                    if claim in said:
                        said[name] = said[claim]
            claims = msgspec.convert(said, Claims)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise ProtocolError("auth.invalid") from error
        audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        if terms.audience not in audiences or terms.issuer not in (None, claims.iss):
            raise ProtocolError("auth.invalid")
        return claims


class MoreClaims(TypedDict, total=False):
    """Of a token to be minted; those that are None are left out."""

    tenant: str | None
    detail: Detail | None
    aud: str | None
    iss: str | None
    jti: str | None
    agents: list[str] | None
    sessions: list[str] | None
    scope: str | None


def mint_token(
    secret: str,
    *,
    subject: str,
    ttl_s: float = 3600,
    clock: Clock = time.time,
    **claims: Unpack[MoreClaims],
) -> str:
    """A token that `JwtAuth` with the same secret accepts for `ttl_s` seconds.

    Raises:
        ConfigurationError: a claim is one that it would refuse.
    """
    now = int(clock())
    given = {name: value for name, value in claims.items() if value is not None}
    said = {"sub": subject, "iat": now, "exp": now + ttl_s, "aud": AUDIENCE, **given}
    try:
        msgspec.convert(said, Claims)
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            f"no token has such a claim: {error}; a subject, tenant or jti is 1 to 256 printable "
            "ASCII characters without a space."
        ) from None
    key = OctKey.import_key(secret)
    header = {"alg": SYMMETRIC, "typ": "JWT"}
    payload = msgspec.json.encode(said)
    return jws.serialize_compact(header, payload, key, algorithms=[SYMMETRIC])
