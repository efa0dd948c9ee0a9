"""The commands that start nothing: `token` and `schema`; their help is in `words`."""

from typing import Annotated

import msgspec
from cyclopts import Parameter

from gateway.auth.token import DEFAULT_TENANT, mint_token
from gateway.errors import ConfigurationError
from gateway.settings import MIN_SECRET_BYTES
from gateway.transports import openapi as http_routes
from protocol import schema as protocol_schema
from protocol.values import Detail


def token(
    *,
    sub: str,
    secret: Annotated[
        str | None, Parameter(env_var="AGENT_GATEWAY_AUTH_SECRET", show_env_var=True)
    ] = None,
    tenant: str = DEFAULT_TENANT,
    detail: Detail | None = None,
    audience: Annotated[
        str | None, Parameter(env_var="AGENT_GATEWAY_AUTH_AUDIENCE", show_env_var=True)
    ] = None,
    ttl: int = 3600,
) -> None:
    """Mint a token for `serve --auth jwt` and print it.

    Parameters
    ----------
    sub
        Who it is for: the subject.
    secret
        The secret that the gateway has; better in the environment than on the command line.
    tenant
        The customer or organisation the subject belongs to.
    detail
        The most it may see; without it the gateway's setting decides.
    audience
        The `aud` claim, if the gateway wants one.
    ttl
        For how many seconds it is valid.
    """
    if secret is None or len(secret.encode()) < MIN_SECRET_BYTES:
        raise ConfigurationError(
            "--secret, or better AGENT_GATEWAY_AUTH_SECRET, must be the gateway's: "
            f"{MIN_SECRET_BYTES} random bytes or more, for example of `openssl rand -hex 32`."
        )
    if ttl <= 0:
        raise ConfigurationError("--ttl is a number of seconds above 0.")
    print(
        mint_token(secret, subject=sub, tenant=tenant, detail=detail, audience=audience, ttl_s=ttl)
    )


def schema(*, openapi: bool = False) -> None:
    """Print the JSON Schema of the protocol.

    Parameters
    ----------
    openapi
        Print the OpenAPI document of the HTTP routes instead.
    """
    text = msgspec.json.encode(http_routes.openapi() if openapi else protocol_schema.schema())
    print(msgspec.json.format(text, indent=2).decode())
