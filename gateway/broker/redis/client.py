"""Asking Redis: scripts and commands in time, and what failures mean. No keys, no verbs.

Every call ends within `CALL_S`, which wires see to. What is sent is sent once: after a lost answer
nobody but the caller of a verb knows whether to repeat it.
"""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

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
from gateway.broker.redis.servers import OneServer, Servers
from gateway.broker.redis.stream import Argument
from gateway.broker.redis.wire import CALL_S, Wire
from gateway.errors import BrokerError, BrokerUnavailable, ConfigurationError

# Scripts whose replies may be big.
READING = frozenset({"heads", "load", "read"})
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


def failure(error: Exception) -> BrokerError:
    """What an exception of the Redis client means to the caller of a verb."""
    text = str(error) or type(error).__name__
    # redis-py keeps the code of errors that it has no class for.
    known = isinstance(error, ResponseError) and type(error) is ResponseError
    if known and text.partition(" ")[0] not in REFUSED:
        return BrokerError(text)
    return BrokerUnavailable(text)


def _info(reply: bytes) -> dict[str, str]:
    """What INFO answers."""
    lines = reply.decode(errors="replace").splitlines()
    pairs = (line.partition(":") for line in lines if not line.startswith("#"))
    return {name: value for name, _, value in pairs}


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
        self.away_at = -math.inf
        """Loop time when it last did not answer, or refused to."""

    async def check(self) -> None:
        """Whether this is a server to work with.

        Warns if the server may drop keys: a session would end with the loss of one.

        Raises:
            ConfigurationError: it never will be; the text names the remedy.
            BrokerUnavailable: it does not answer, or not yet; the text names the remedy.
        """
        try:
            with self._told():
                infos = await self._servers.everywhere("INFO")
        except BrokerError as error:
            raise self._remedy(error) from error
        for info in infos:
            self._check(_info(info))

    def _check(self, info: Mapping[str, str]) -> None:
        version = info.get("redis_version", "0")
        if int(version.partition(".")[0]) < 7:
            raise ConfigurationError(
                f"Redis at {self.place} is {version}: Redis 7.0 or a Valkey is needed"
            )
        if (info.get("cluster_enabled", "0") != "0") != self.is_cluster:
            right = "redis://" if self.is_cluster else "redis+cluster://"
            raise ConfigurationError(f"Redis at {self.place} is reached by {right}{self.place}")
        policy = info.get("maxmemory_policy", "noeviction")
        if info.get("maxmemory", "0") != "0" and policy != "noeviction":
            _log.warning(
                "Redis at %s may drop keys of sessions: set maxmemory-policy noeviction, not %s",
                self.place,
                policy,
            )

    def _remedy(self, error: BrokerError) -> ConfigurationError | BrokerUnavailable:
        cause = error.__cause__
        if isinstance(cause, AuthenticationError):
            return ConfigurationError(f"Redis at {self.place} refused the password: {error}")
        if "cluster support disabled" in str(error):
            right = f"redis://{self.place}"
            return ConfigurationError(f"Redis at {self.place} is one server: reach it by {right}")
        if not isinstance(error, BrokerUnavailable):
            return ConfigurationError(f"Redis at {self.place} does not work: {error}")
        if isinstance(cause, LostConnection) and "onnect" in str(cause):
            return BrokerUnavailable(
                f"Redis at {self.place} refused the connection: start one with `redis-server`"
                f" or correct the URL, or use --broker memory:// ({error})"
            )
        return BrokerUnavailable(f"Redis at {self.place} does not answer: {error}")

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
            self._away()
            raise BrokerUnavailable("the server is too slow") from error

    async def run(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """One script, by its digest; in full if the server has forgotten it."""
        script = self._scripts[name]
        reads = name in READING
        execute = self._servers.execute
        given = (len(keys), *keys, *arguments)
        with self._told():
            try:
                return await execute("EVALSHA", script.sha, *given, reads=reads)
            except NoScriptError:
                return await execute("EVAL", script.source, *given, reads=reads)

    async def command(self, *parts: Argument) -> Any:
        with self._told():
            return await self._servers.execute(*parts)

    async def commands(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Many commands that only read, in one go; raises what the first failed one failed with."""
        with self._told():
            return await self._servers.batch(commands)

    async def run_many(
        self, name: str, calls: Sequence[tuple[Sequence[str], Sequence[Argument]]]
    ) -> list[Any]:
        """One script that only reads, with many keys and arguments, in one go."""
        script = self._scripts[name]
        batch = [("EVALSHA", script.sha, len(keys), *keys, *arguments) for keys, arguments in calls]
        with self._told():
            try:
                return await self._servers.batch(batch)
            except NoScriptError:
                # Those that ran elsewhere only read.
                await self._servers.everywhere("SCRIPT", "LOAD", script.source)
                return await self._servers.batch(batch)

    # Without waiting

    def script(self, name: str) -> Script:
        return self._scripts[name]

    def writes(self, key: bytes) -> Wire | None:
        """The wire to where a key is, if it is ready."""
        wire = self._servers.writes(key)
        return wire if wire is not None and wire.ready else None

    def told(self, error: Exception | None) -> BrokerError | None:
        """Takes note of how a call ended; what its error means to the caller of a verb."""
        meaning = None if error is None else failure(error)
        if isinstance(meaning, BrokerUnavailable):
            self._away()
        else:
            self.answering = True
        return meaning

    def _away(self) -> None:
        self.answering = False
        self.away_at = asyncio.get_running_loop().time()

    @contextmanager
    def _told(self) -> Generator[None]:
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            meaning = failure(error)
            if isinstance(meaning, BrokerUnavailable):
                self._away()
            raise meaning from error
        self.answering = True
