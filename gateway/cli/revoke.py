"""The command `revoke`: its help is in `words`, what it does is `gateway.delivery.revocations`'."""

import asyncio
from typing import Annotated

from cyclopts import Parameter

from gateway.broker.open import open_broker
from gateway.delivery import revocations
from gateway.errors import BrokerUnavailable, ConfigurationError
from gateway.settings import LEEWAY_MS, MAX_AGE_MS, Settings


def revoke(
    *,
    broker: Annotated[str, Parameter(env_var="AGENT_GATEWAY_BROKER", show_env_var=True)],
    tenant: str,
    sub: str | None = None,
    token_id: str | None = None,
    auth_max_age_ms: Annotated[
        int, Parameter(env_var="AGENT_GATEWAY_AUTH_MAX_AGE_MS", show_env_var=True)
    ] = MAX_AGE_MS,
    auth_leeway_ms: Annotated[
        int, Parameter(env_var="AGENT_GATEWAY_AUTH_LEEWAY_MS", show_env_var=True)
    ] = LEEWAY_MS,
) -> None:
    """Revoke tokens on all gateways of a broker: one, those of a subject, or of a tenant.

    Parameters
    ----------
    broker
        That of the gateways.
    tenant
        Whose tokens; all of them, if nothing else is said.
    sub
        Only those of this subject.
    token_id
        Only the one with this `jti`.
    auth_max_age_ms
        How long no token lives: the setting of the gateways.
    auth_leeway_ms
        How far the clock that made a token may be off: the setting of the gateways.
    """
    if broker.startswith("memory:"):
        raise ConfigurationError(
            "memory:// is one process's own: ask that one, by POST /v1/revocations, or give the "
            "broker that the gateways share, --broker redis://127.0.0.1:6379/0."
        )
    if sub is not None and token_id is not None:
        raise ConfigurationError(
            "--sub and --token-id exclude each other: revoke one, then the other."
        )
    if "" in (tenant, sub, token_id):  # a variable of the shell that is not set, perhaps
        raise ConfigurationError("--tenant, --sub and --token-id may not be empty: nobody has it.")
    settings = Settings(auth_max_age_ms=auth_max_age_ms, auth_leeway_ms=auth_leeway_ms)
    asyncio.run(_revoke(broker, tenant, sub, token_id, settings.revoked_for_ms / 1000))
    what = f"token {token_id}" if token_id else f"subject {sub}" if sub else "everybody"
    print(f"revoked: {what} of tenant {tenant}")


async def _revoke(
    url: str, tenant: str, subject: str | None, token_id: str | None, keep_s: float
) -> None:
    broker = open_broker(url)
    await broker.start()
    try:
        now = broker.now()
        await revocations.revoke(
            broker, revocations.Revoke(tenant, now, now + keep_s, subject, token_id)
        )
    except BrokerUnavailable as error:
        raise ConfigurationError(
            f"nothing is revoked, the broker does not answer: {error}"
        ) from error
    finally:
        await broker.close()
