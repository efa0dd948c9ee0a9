"""Asking Redis: the pool, scripts and pipelines, and what failures mean. No keys, no verbs.

redis-py's defaults do not suit a log: it repeats what it does not know the outcome of (a second
append), waits 5 s, and does not look for stale replies while maintenance notifications are on.
So: no retries, short limits, notifications off. Every call ends within `CALL_S`.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as LostConnection
from redis.maint_notifications import MaintNotificationsConfig

from gateway.broker.redis.scripts import Script, load_scripts
from gateway.errors import BrokerError, BrokerUnavailable, ConfigurationError

CALL_S = 2.0
MAX_CONNECTIONS = 50
# The server or its operator says: not now.
REFUSED = frozenset(
    {
        "BUSY",
        "CLUSTERDOWN",
        "LOADING",
        "MASTERDOWN",
        "MISCONF",
        "NOAUTH",
        "NOPERM",
        "NOREPLICAS",
        "OOM",
        "READONLY",
        "TRYAGAIN",
        "UNBLOCKED",
        "WRONGPASS",
    }
)

_log = logging.getLogger(__name__)

T = TypeVar("T")
Argument = str | bytes | int | float


def failure(error: Exception) -> BrokerError:
    """What an exception of the Redis client means to the caller of a verb."""
    text = str(error) or type(error).__name__
    # redis-py keeps the code of errors that it has no class for.
    known = isinstance(error, ResponseError) and type(error) is ResponseError
    if known and text.partition(" ")[0] not in REFUSED:
        return BrokerError(text)
    return BrokerUnavailable(text)


def place(url: str) -> str:
    """Where a URL points to, without its password."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}"


def make_pool(url: str) -> BlockingConnectionPool:
    options: dict[str, Any] = {}
    if not url.startswith("unix:"):
        # Unanswered data, too, ends a dead connection, which keep-alive alone does not.
        options["socket_keepalive"] = True
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            options["socket_keepalive_options"] = {socket.TCP_USER_TIMEOUT: 5000}
    return BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType] - **kwargs
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=1,
        socket_timeout=1.5,
        socket_connect_timeout=1,
        retry=Retry(NoBackoff(), 0),
        # Nothing is pushed to who only asks and listens on channels.
        protocol=2,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
        client_name="agent-gateway",
        **options,
    )


class RedisClient:
    """Commands and scripts, each bounded, each failing as a `BrokerError`."""

    def __init__(self, url: str) -> None:
        try:
            self.place = place(url)
            self._pool = make_pool(url)
        except ValueError as error:
            raise ConfigurationError(f"the broker's URL cannot be read: {error}") from error
        # Untyped: what redis-py declares about its commands is partly unknown.
        self._redis: Any = Redis(connection_pool=self._pool)
        self._scripts = load_scripts()
        self.answering = False

    async def check(self) -> None:
        """Raises `ConfigurationError` if this is no server to work with; names the remedy.

        Warns if the server may drop keys: a session would end with the loss of one.
        """
        try:
            info = await self._info()
        except BrokerError as error:
            raise ConfigurationError(self._remedy(error)) from error
        version = str(info.get("redis_version", "0"))
        if int(version.partition(".")[0]) < 7:
            raise ConfigurationError(
                f"Redis at {self.place} is {version}: Redis 7.0 or a Valkey is needed"
            )
        policy = info.get("maxmemory_policy", "noeviction")
        if info.get("maxmemory") and policy != "noeviction":
            _log.warning(
                "Redis at %s may drop keys of sessions: set maxmemory-policy noeviction, not %s",
                self.place,
                policy,
            )

    async def _info(self) -> dict[str, Any]:
        return cast("dict[str, Any]", await self.command("INFO", "server", "memory"))

    def _remedy(self, error: BrokerError) -> str:
        cause = error.__cause__
        if isinstance(cause, AuthenticationError):
            return f"Redis at {self.place} refused the password: {error}"
        if isinstance(cause, LostConnection) and "onnect" in str(cause):
            return (
                f"Redis at {self.place} refused the connection: start one with `redis-server`"
                f" or correct the URL, or use --broker memory:// ({error})"
            )
        return f"Redis at {self.place} does not work: {error}"

    def connection(self) -> Connection:
        """A connection of its own to the same server, not yet connected."""
        connection = cast("Connection", self._pool.make_connection())
        connection.socket_timeout = None
        return connection

    async def close(self) -> None:
        await self._redis.aclose()
        await self._pool.disconnect()

    @asynccontextmanager
    async def in_time(self) -> AsyncGenerator[None]:
        """For a verb of several calls: together, too, they end within `CALL_S`."""
        try:
            async with asyncio.timeout(CALL_S):
                yield
        except TimeoutError as error:
            self.answering = False
            raise BrokerUnavailable("the server is too slow") from error

    async def run(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """One script, by its digest; in full if the server has forgotten it."""
        script = self._scripts[name]
        return await self._bounded(self._run(script, keys, arguments))

    async def command(self, *parts: Argument) -> Any:
        return await self._bounded(self._redis.execute_command(*parts))

    async def commands(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Many commands in one go; raises what the first failed one failed with."""
        return await self._bounded(self._pipeline(commands))

    async def run_many(
        self, name: str, calls: Sequence[tuple[Sequence[str], Sequence[Argument]]]
    ) -> list[Any]:
        """One script with many keys and arguments, in one go."""
        return await self._bounded(self._run_many(self._scripts[name], calls))

    async def _run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        try:
            return await self._redis.execute_command(
                "EVALSHA", script.sha, len(keys), *keys, *arguments
            )
        except NoScriptError:
            return await self._redis.execute_command(
                "EVAL", script.source, len(keys), *keys, *arguments
            )

    async def _run_many(
        self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[Argument]]]
    ) -> list[Any]:
        batch = [("EVALSHA", script.sha, len(keys), *keys, *arguments) for keys, arguments in calls]
        try:
            return await self._pipeline(batch)
        except NoScriptError:
            # None of them ran: a forgotten script is forgotten for all.
            await self._redis.execute_command("SCRIPT LOAD", script.source)
            return await self._pipeline(batch)

    async def _pipeline(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute()

    async def _bounded(self, call: Awaitable[T]) -> T:
        task = asyncio.current_task()
        cancelling = task.cancelling() if task is not None else 0
        try:
            async with asyncio.timeout(CALL_S):
                result = await call
        except (RedisError, OSError, TimeoutError) as error:
            meaning = failure(error)
            if isinstance(meaning, BrokerUnavailable):
                self.answering = False
            raise meaning from error
        self.answering = True
        if task is not None and task.cancelling() > cancelling:
            # redis-py sends with wait_for, which loses cancellations on Python 3.11.
            raise asyncio.CancelledError
        return result
