"""Connections to Redis: how they are made, and where to, when the place may change. No meaning.

redis-py's defaults do not suit a log: it repeats what it does not know the outcome of (a second
append), waits 5 s, and does not look for stale replies while maintenance notifications are on.
So: no retries, short limits, notifications off.
"""

import socket
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import Connection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import ReadOnlyError
from redis.maint_notifications import MaintNotificationsConfig

from gateway.broker.redis.address import Address, Place

MAX_CONNECTIONS = 50
# One Sentinel that hangs leaves time for another within a verb's 2 s.
SENTINEL_S = 0.4
# Options of a URL that are for the Sentinels, which have users of their own -> redis-py's name
SENTINELS_OWN = {"sentinel_username": "username", "sentinel_password": "password"}

Argument: TypeAlias = str | bytes | int | float
Command: TypeAlias = Sequence[Argument]
LookUp: TypeAlias = Callable[[], Awaitable[Place]]


@contextmanager
def resets_told() -> Generator[None]:
    """A write to a connection that was reset is a `ConnectionResetError` under uvloop, too.

    There redis-py's writer raises a RuntimeError, which nobody would take for a loss.
    """
    try:
        yield
    except RuntimeError as error:
        if "unable to perform operation" in str(error):
            raise ConnectionResetError(str(error)) from error
        raise


class Servers(Protocol):
    """One server or several that look like one. All may raise `RedisError`, `OSError`."""

    place: str

    async def execute(self, *command: Argument) -> Any: ...

    async def batch(self, commands: Sequence[Command]) -> list[Any]:
        """In one go, unordered; raises what one of them failed with; some may be sent twice."""
        ...

    async def everywhere(self, *command: Argument) -> list[Any]:
        """By each server that takes writes."""
        ...

    def connection(self, channel: bytes) -> Connection:
        """One of its own to where the channel is, not yet connected."""
        ...

    async def close(self) -> None: ...


class _LookedUp:
    """Mixin of a connection that asks where to go each time it connects."""

    host: str
    port: int

    def __init__(self, *, look_up: LookUp, **options: Any) -> None:
        super().__init__(**options)
        self._look_up = look_up
        # What the mixin is mixed into.
        self._plain: Any = super()

    async def connect(self) -> None:
        if not self._plain.is_connected:
            self.host, self.port = await self._look_up()
        await self._plain.connect()

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await self._plain.read_response(*args, **options)
        except ReadOnlyError as error:  # it was the master, and is a replica now
            await self._plain.disconnect()
            raise LostConnection(f"demoted: {error}") from error


class LookedUpConnection(_LookedUp, Connection):
    pass


class LookedUpTLSConnection(_LookedUp, SSLConnection):
    pass


def make_pool(
    url: str, *, place: Place | None = None, look_up: LookUp | None = None
) -> BlockingConnectionPool:
    """Connections as `url` says; to another `place`, or to wherever `look_up` says.

    Raises `ValueError` for a URL that cannot be read.
    """
    options: dict[str, Any] = {**parse_url(url)}
    for name in SENTINELS_OWN:
        options.pop(name, None)
    if not url.startswith("unix:"):
        # Unanswered data, too, ends a dead connection, which keep-alive alone does not.
        options["socket_keepalive"] = True
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            options["socket_keepalive_options"] = {socket.TCP_USER_TIMEOUT: 5000}
    if place is not None:
        options["host"], options["port"] = place
    if look_up is not None:
        tls = options.get("connection_class") is SSLConnection
        options["connection_class"] = LookedUpTLSConnection if tls else LookedUpConnection
        options["look_up"] = look_up
    defaults: dict[str, Any] = {
        "max_connections": MAX_CONNECTIONS,
        "timeout": 1,
        "socket_timeout": 1.5,
        "socket_connect_timeout": 1,
        "retry": Retry(NoBackoff(), 0),
        # Nothing is pushed to who only asks and listens on channels.
        "protocol": 2,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "client_name": "agent-gateway",
    }
    return BlockingConnectionPool(**{**defaults, **options})


def listening(pool: BlockingConnectionPool) -> Connection:
    """A connection made as those of the pool, that may be silent for ever."""
    connection = cast("Connection", pool.make_connection())
    connection.socket_timeout = None
    return connection


async def pipelined(redis: Any, commands: Sequence[Command]) -> list[Any]:
    async with redis.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        return await pipeline.execute()


class OneServer:
    """The server at a URL, or the one that is master by what Sentinels say."""

    def __init__(self, address: Address) -> None:
        self.place = address.place
        self._sentinels = None if address.kind == "single" else _Sentinels(address)
        look_up = None if self._sentinels is None else self._sentinels.master
        self._pool = make_pool(address.url, look_up=look_up)
        # Untyped: what redis-py declares about its commands is partly unknown.
        self._redis: Any = Redis(connection_pool=self._pool)

    async def execute(self, *command: Argument) -> Any:
        return await self._redis.execute_command(*command)

    async def batch(self, commands: Sequence[Command]) -> list[Any]:
        return await pipelined(self._redis, commands)

    async def everywhere(self, *command: Argument) -> list[Any]:
        return [await self.execute(*command)]

    def connection(self, channel: bytes) -> Connection:
        del channel
        return listening(self._pool)

    async def close(self) -> None:
        await self._redis.aclose()
        await self._pool.disconnect()
        if self._sentinels is not None:
            await self._sentinels.close()


class _Sentinels:
    """Who knows which server is the master of a service."""

    def __init__(self, address: Address) -> None:
        known: dict[str, Any] = {**parse_url(address.url)}
        options = {SENTINELS_OWN[name]: known[name] for name in SENTINELS_OWN if name in known}
        self._service = address.service
        self._sentinel: Any = Sentinel(
            list(address.hosts),
            sentinel_kwargs={
                "socket_timeout": SENTINEL_S,
                "socket_connect_timeout": SENTINEL_S,
                "retry": Retry(NoBackoff(), 0),
                "protocol": 2,
                "maint_notifications_config": MaintNotificationsConfig(enabled=False),
                **options,
            },
        )

    async def master(self) -> Place:
        """Raises `MasterNotFoundError`, a `RedisError`, while there is none."""
        host, port = await self._sentinel.discover_master(self._service)
        return host, int(port)

    async def close(self) -> None:
        for sentinel in self._sentinel.sentinels:
            await sentinel.aclose()
