"""JSON Web Tokens (RFC 7519), the algorithm fixed to HS256 whatever a header says.

The one module that loads the cryptography; nothing that runs without tokens imports it.
"""

import re
import time
from typing import Annotated

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from msgspec import Meta, Struct

from gateway.auth import Clock, Grant
from gateway.errors import ConfigurationError
from protocol.errors import ProtocolError
from protocol.values import Detail, Id, Principal

ALGORITHM = "HS256"
DEFAULT_TENANT = "default"
MAX_TOKEN_CHARS = 8_192
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")

# Whoever prints one prints one line: no control characters, no spaces, no surrogates.
Name = Annotated[str, Meta(pattern=r"^[!-~]{1,256}\Z", max_length=256)]
Seconds = Annotated[float, Meta(ge=0, le=2**40)]


class Claims(Struct, frozen=True, omit_defaults=True):
    """What is read of a token; everything else in it is ignored."""

    sub: Name
    iat: Seconds
    exp: Seconds
    nbf: Seconds = 0
    tenant: Name = DEFAULT_TENANT
    detail: Detail | None = None
    aud: str | list[str] | None = None
    jti: Name | None = None
    agents: list[Name] | None = None
    sessions: list[Id] | None = None
    scope: str = ""
    """Words joined by spaces (RFC 8693 section 4.2)."""


class JwtAuth:
    """Tokens signed with a shared secret; `sub`, `iat` and `exp` are required.

    `detail` is the most that a token without such a claim may see. `leeway_s` is granted on both
    ends: clocks differ.
    """

    def __init__(
        self,
        secret: str,
        *,
        audience: str | None = None,
        detail: Detail = "steps",
        leeway_s: float = 30,
        clock: Clock = time.time,
    ) -> None:
        self._key = OctKey.import_key(secret)
        self._audience = audience
        self._detail: Detail = detail
        self._leeway_s = leeway_s
        self._clock = clock

    async def authenticate(self, token: str | None) -> Grant:
        """The grant of a token.

        Raises:
            ProtocolError: `auth.required`, `auth.invalid` or `auth.expired`.
        """
        if not token:
            raise ProtocolError("auth.required")
        claims = self._verify(token)
        now = self._clock()
        if max(claims.iat, claims.nbf) > now + self._leeway_s:
            raise ProtocolError("auth.invalid")
        if claims.exp <= now - self._leeway_s:
            raise ProtocolError("auth.expired")
        return Grant(
            Principal(claims.tenant, claims.sub),
            claims.detail or self._detail,
            claims.exp,
            issued_at=claims.iat,
            token_id=claims.jti,
            agents=None if claims.agents is None else frozenset(claims.agents),
            sessions=None if claims.sessions is None else frozenset(claims.sessions),
            scopes=frozenset(claims.scope.split()),
        )

    def _verify(self, token: str) -> Claims:
        if len(token) > MAX_TOKEN_CHARS or not _COMPACT.fullmatch(token):
            raise ProtocolError("auth.invalid")
        try:
            signed = jws.deserialize_compact(token, self._key, algorithms=[ALGORITHM])
            claims = msgspec.json.decode(signed.payload or b"", type=Claims)
        except (JoseError, msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
            raise ProtocolError("auth.invalid") from error
        audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud or []
        if self._audience is not None and self._audience not in audiences:
            raise ProtocolError("auth.invalid")
        return claims


def mint_token(
    secret: str,
    *,
    subject: str,
    tenant: str = DEFAULT_TENANT,
    detail: Detail | None = None,
    audience: str | None = None,
    ttl_s: float = 3600,
    clock: Clock = time.time,
) -> str:
    """A token that `JwtAuth` with the same secret accepts for `ttl_s` seconds.

    Raises:
        ConfigurationError: a claim is one that it would refuse.
    """
    now = int(clock())
    claims = Claims(subject, now, now + ttl_s, 0, tenant, detail, audience)
    try:
        msgspec.convert(msgspec.to_builtins(claims), Claims)
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            f"no token has such a claim: {error}; a subject or tenant is 1 to 256 printable "
            "ASCII characters without a space."
        ) from None
    key = OctKey.import_key(secret)
    header = {"alg": ALGORITHM, "typ": "JWT"}
    return jws.serialize_compact(header, msgspec.json.encode(claims), key, algorithms=[ALGORITHM])
