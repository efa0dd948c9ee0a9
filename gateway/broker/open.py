"""Makes the broker that a URL names. Nothing about any one broker but its schemes."""

from importlib import import_module
from typing import cast
from urllib.parse import urlsplit

from gateway.broker.base import Broker
from gateway.broker.memory import MemoryBroker
from gateway.errors import ConfigurationError

REDIS_SCHEMES = frozenset(
    {
        "redis",
        "rediss",
        "unix",
        "redis+sentinel",
        "rediss+sentinel",
        "redis+cluster",
        "rediss+cluster",
    }
)


def open_broker(url: str) -> Broker:
    """The broker at `url`, not yet started.

    `memory://`, `redis://[[user]:password@]host[:port][/db]`, `rediss://…` (TLS),
    `unix://[[user]:password@]/path[?db=0]`, `redis+sentinel://host:port,host:port/service[/db]`,
    `redis+cluster://host:port,host:port` (with TLS `rediss+…`).

    Raises:
        ConfigurationError: no such scheme, a URL that cannot be read, or the extra is missing.
    """
    try:
        scheme = urlsplit(url).scheme
    except ValueError as error:
        raise ConfigurationError(f"the broker's URL cannot be read: {error}") from error
    if scheme == "memory":
        return MemoryBroker()
    if scheme not in REDIS_SCHEMES:
        raise ConfigurationError(
            f"{scheme or url!r} is no broker: use memory://, redis://, rediss://, unix://, "
            "redis+sentinel:// or redis+cluster://"
        )
    # The one import that is not at the top: the extra is optional, and only who asks for Redis
    # shall need it.
    try:
        module = import_module("gateway.broker.redis.broker")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("redis", "hiredis"):
            raise
        raise ConfigurationError(
            f"{scheme}:// needs the Redis client: pip install 'agent-gateway[redis]'"
        ) from error
    return cast("Broker", module.RedisBroker(url))
