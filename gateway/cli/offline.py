"""The commands that start nothing: `token` and `schema`; their help is in `words`."""

import secrets
from dataclasses import dataclass
from typing import Annotated

import msgspec
from cyclopts import Parameter

from gateway.auth.token import DEFAULT_TENANT, mint_token
from gateway.errors import ConfigurationError
from gateway.settings import AUDIENCE, MIN_SECRET_BYTES, is_secret
from gateway.transports import openapi as http_routes
from protocol import schema as protocol_schema
from protocol.values import Detail

SECRET = Parameter(env_var="AGENT_GATEWAY_AUTH_SECRET", show_env_var=True)
OURS = Parameter(env_var="AGENT_GATEWAY_AUTH_AUDIENCE", show_env_var=True)
ISSUER = Parameter(env_var="AGENT_GATEWAY_AUTH_ISSUER", show_env_var=True)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TokenOptions:
    """What a token says, by the names of its claims."""

    sub: str
    """Who it is for: the subject."""

    tenant: str = DEFAULT_TENANT
    """The customer or organisation the subject belongs to."""

    detail: Detail | None = None
    """The most it may see; without it the gateway's setting decides."""

    audience: Annotated[str, OURS] = AUDIENCE
    """The `aud` claim: that of the gateway."""

    issuer: Annotated[str | None, ISSUER] = None
    """The `iss` claim, if the gateway wants one."""

    agents: tuple[str, ...] | None = None
    """The only agents it may use; comma-separated, repeatable [default: any]."""

    sessions: tuple[str, ...] | None = None
    """The only sessions it may use; comma-separated, repeatable [default: any of the subject's]."""

    scope: str | None = None
    """What it may do beside conversing, words joined by spaces: `admin`."""

    jti: str | None = None
    """Its id, by which it can be revoked [default: a random one]."""


def token(
    options: TokenOptions, *, secret: Annotated[str | None, SECRET] = None, ttl: int = 3600
) -> None:
    """Mint a token for `serve --auth jwt` and print it.

    Parameters
    ----------
    secret
        The secret that the gateway has; better in the environment than on the command line.
    ttl
        For how many seconds it is valid.
    """
    if secret is None or not is_secret(secret):
        raise ConfigurationError(
            "--secret, or better AGENT_GATEWAY_AUTH_SECRET, must be the gateway's: "
            f"{MIN_SECRET_BYTES} random bytes or more, for example of `openssl rand -hex 32`."
        )
    if ttl <= 0:
        raise ConfigurationError("--ttl is a number of seconds above 0.")
    minted = mint_token(
        secret,
        subject=options.sub,
        ttl_s=ttl,
        tenant=options.tenant,
        detail=options.detail,
        aud=options.audience,
        iss=options.issuer,
        agents=_split(options.agents),
        sessions=_split(options.sessions),
        scope=options.scope,
        jti=options.jti or secrets.token_hex(8),
    )
    print(minted)


def _split(entries: tuple[str, ...] | None) -> list[str] | None:
    """The entries, each of which may be several joined by commas; None: there was no such option.

    An option without an entry leaves an empty list: a token that may use none.
    """
    if entries is None:
        return None
    return [part for entry in entries for part in entry.split(",") if part]


def schema(*, openapi: bool = False) -> None:
    """Print the JSON Schema of the protocol.

    Parameters
    ----------
    openapi
        Print the OpenAPI document of the HTTP routes instead.
    """
    text = msgspec.json.encode(http_routes.openapi() if openapi else protocol_schema.schema())
    print(msgspec.json.format(text, indent=2).decode())
