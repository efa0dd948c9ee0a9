"""Asking Redis: scripts and pipelines in time, and what failures mean. No keys, no verbs.

Every call ends within `CALL_S`. What is sent is sent once: after a lost answer nobody but the
caller of a verb knows whether to repeat it.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from redis.asyncio.connection import Connection
from redis.exceptions import (
    AuthenticationError,
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as LostConnection

from gateway.broker.redis.address import read_url
from gateway.broker.redis.cluster import Cluster
from gateway.broker.redis.scripts import Script, load_scripts
from gateway.broker.redis.servers import Argument, OneServer, Servers, resets_told
from gateway.errors import BrokerError, BrokerUnavailable, ConfigurationError

CALL_S = 2.0
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


def failure(error: Exception) -> BrokerError:
    """What an exception of the Redis client means to the caller of a verb."""
    text = str(error) or type(error).__name__
    # redis-py keeps the code of errors that it has no class for.
    known = isinstance(error, ResponseError) and type(error) is ResponseError
    if known and text.partition(" ")[0] not in REFUSED:
        return BrokerError(text)
    return BrokerUnavailable(text)


def open_servers(url: str) -> Servers:
    """Raises `ConfigurationError`."""
    try:
        address = read_url(url)
        return Cluster(address) if address.kind == "cluster" else OneServer(address)
    except ValueError as error:
        raise ConfigurationError(f"the broker's URL cannot be read: {error}") from error


class RedisClient:
    """Commands and scripts, each bounded, each failing as a `BrokerError`."""

    def __init__(self, url: str) -> None:
        self._servers = open_servers(url)
        self.place = self._servers.place
        # Commands of one connection cannot go to several nodes.
        self.is_cluster = isinstance(self._servers, Cluster)
        self._scripts = load_scripts()
        self.answering = False

    async def check(self) -> None:
        """Raises `ConfigurationError` if this is no server to work with; names the remedy.

        Warns if the server may drop keys: a session would end with the loss of one.
        """
        try:
            infos = await self._bounded(self._servers.everywhere("INFO"))
        except BrokerError as error:
            raise ConfigurationError(self._remedy(error)) from error
        for info in infos:
            self._check(info)

    def _check(self, info: dict[str, Any]) -> None:
        version = str(info.get("redis_version", "0"))
        if int(version.partition(".")[0]) < 7:
            raise ConfigurationError(
                f"Redis at {self.place} is {version}: Redis 7.0 or a Valkey is needed"
            )
        if bool(info.get("cluster_enabled")) != self.is_cluster:
            right = "redis://" if self.is_cluster else "redis+cluster://"
            raise ConfigurationError(f"Redis at {self.place} is reached by {right}{self.place}")
        policy = info.get("maxmemory_policy", "noeviction")
        if info.get("maxmemory") and policy != "noeviction":
            _log.warning(
                "Redis at %s may drop keys of sessions: set maxmemory-policy noeviction, not %s",
                self.place,
                policy,
            )

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

    def connection(self, channel: bytes) -> Connection:
        """A connection of its own to where a channel is, not yet connected."""
        return self._servers.connection(channel)

    async def close(self) -> None:
        await self._servers.close()

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
        return await self._bounded(self._servers.execute(*parts))

    async def commands(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Many commands in one go; raises what the first failed one failed with."""
        return await self._bounded(self._servers.batch(commands))

    async def run_many(
        self, name: str, calls: Sequence[tuple[Sequence[str], Sequence[Argument]]]
    ) -> list[Any]:
        """One script that only reads, with many keys and arguments, in one go."""
        return await self._bounded(self._run_many(self._scripts[name], calls))

    async def _run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        try:
            return await self._servers.execute("EVALSHA", script.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            return await self._servers.execute("EVAL", script.source, len(keys), *keys, *arguments)

    async def _run_many(
        self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[Argument]]]
    ) -> list[Any]:
        batch = [("EVALSHA", script.sha, len(keys), *keys, *arguments) for keys, arguments in calls]
        try:
            return await self._servers.batch(batch)
        except NoScriptError:
            # Those that ran elsewhere only read.
            await self._servers.everywhere("SCRIPT LOAD", script.source)
            return await self._servers.batch(batch)

    async def _bounded(self, call: Awaitable[T]) -> T:
        task = asyncio.current_task()
        cancelling = task.cancelling() if task is not None else 0
        try:
            with resets_told():
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
