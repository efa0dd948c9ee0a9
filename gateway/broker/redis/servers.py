"""Connections to Redis: how they are made, and where to, when the place may change. No meaning.

redis-py makes connections, asks Sentinels, and no more: commands go over wires (`wire`). Its
defaults do not suit a log: it repeats what it does not know the outcome of, and waits 5 s. So: no
retries, short limits, no notifications.
"""

import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeAlias, cast

from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from gateway.broker.redis.address import Address, Place
from gateway.broker.redis.stream import Argument, ended_within
from gateway.broker.redis.wire import Command, Wire

# One Sentinel that hangs leaves time for another within a verb's 2 s.
SENTINEL_S = 0.4
SENTINELS_S = 1.4
# Options of a URL that are for the Sentinels, which have users of their own -> redis-py's name
SENTINELS_OWN = {"sentinel_username": "username", "sentinel_password": "password"}

LookUp: TypeAlias = Callable[[], Awaitable[Place]]


class Servers(Protocol):
    """One server or several that look like one. All may raise `RedisError`, `OSError`."""

    place: str

    async def execute(self, *command: Argument, reads: bool = False) -> Any:
        """`reads`: the reply may be big, and nobody who writes should wait for it."""
        ...

    async def batch(self, commands: Sequence[Command]) -> list[Any]:
        """What only reads, in one go, unordered; raises what one of them failed with."""
        ...

    async def everywhere(self, *command: Argument) -> list[Any]:
        """By each server that takes writes."""
        ...

    def writes(self, key: bytes) -> Wire | None:
        """The wire to where a key is, if that is known; it need not be ready."""
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


class LookedUpConnection(_LookedUp, Connection):
    pass


class LookedUpTLSConnection(_LookedUp, SSLConnection):
    pass


def connecting(
    url: str, *, place: Place | None = None, look_up: LookUp | None = None
) -> Callable[[], Connection]:
    """Makes connections as `url` says, not yet connected.

    They go to another `place`, or to wherever `look_up` says. Raises `ValueError` for a URL that
    cannot be read.
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
        "socket_timeout": 1.5,
        "socket_connect_timeout": 1,
        "retry": Retry(NoBackoff(), 0),
        # Nothing is pushed to who only asks and listens on channels.
        "protocol": 2,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "client_name": "agent-gateway",
    }
    # A pool knows which class of connection goes with the options, and is used for nothing else.
    return cast("Any", ConnectionPool(**{**defaults, **options})).make_connection


class Node:
    """One server's wires: big replies of what is read must not delay what is written."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self.writes = Wire(connect)
        self.reads = Wire(connect)

    async def execute(self, command: Command, *, reads: bool) -> Any:
        return await (self.reads if reads else self.writes).call(*command)

    async def batch(self, commands: Sequence[Command]) -> list[Any]:
        """The replies of what only reads; raises the first that is an error."""
        replies = await self.reads.calls(commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    async def close(self) -> None:
        await self.writes.close()
        await self.reads.close()


class OneServer:
    """The server at a URL, or the one that is master by what Sentinels say."""

    def __init__(self, address: Address) -> None:
        self.place = address.place
        self._sentinels = None if address.kind == "single" else _Sentinels(address)
        look_up = None if self._sentinels is None else self._sentinels.master
        self._connect = connecting(address.url, look_up=look_up)
        self._node = Node(self._connect)

    async def execute(self, *command: Argument, reads: bool = False) -> Any:
        return await self._node.execute(command, reads=reads)

    async def batch(self, commands: Sequence[Command]) -> list[Any]:
        return await self._node.batch(commands)

    async def everywhere(self, *command: Argument) -> list[Any]:
        return [await self.execute(*command)]

    def writes(self, key: bytes) -> Wire | None:
        del key
        return self._node.writes

    def connection(self, channel: bytes) -> Connection:
        del channel
        return self._connect()

    async def close(self) -> None:
        await self._node.close()
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
        """Raises `MasterNotFoundError`, a `RedisError`, while there is none; `TimeoutError`."""
        asking = self._sentinel.discover_master(self._service)
        host, port = await ended_within(SENTINELS_S, asking)
        return host, int(port)

    async def close(self) -> None:
        for sentinel in self._sentinel.sentinels:
            await sentinel.aclose()
