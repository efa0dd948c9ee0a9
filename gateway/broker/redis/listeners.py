"""Hearing a Cluster: a listener for the channels of each hash tag, so of each slot in use.

A slot moves, or its node dies: the listeners of the slots there lose their connection, find out
where it is now and catch up; nobody else notices. The price is a connection per tag (65).
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from redis.asyncio.connection import Connection

from gateway.broker.redis import layout
from gateway.broker.redis.listener import Listener, Rhythm


class Listeners:
    """The same verbs as `Listener`; `missed` is called with the shard that may have missed news."""

    def __init__(
        self,
        connect: Callable[[bytes], Connection],
        sing: Callable[[str, str], Awaitable[None]],
        heard: Callable[[bytes, bytes], None],
        missed: Callable[[int | None], None],
        rhythm: Rhythm,
    ) -> None:
        # shard, None for the channel of all processes -> its listener
        self._listeners: dict[int | None, Listener] = {}
        for shard in (None, *range(layout.SHARDS)):
            canary = layout.canary(shard, secrets.token_hex(8))
            self._listeners[shard] = Listener(
                partial(connect, canary.encode()),
                sing,
                canary,
                heard,
                partial(missed, shard),
                rhythm,
            )

    async def start(self) -> None:
        """Connects all of them. Raises as `Listener.start`, of several the first."""
        try:
            async with asyncio.TaskGroup() as group:
                for listener in self._listeners.values():
                    group.create_task(listener.start())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def close(self) -> None:
        for listener in self._listeners.values():
            await listener.close()

    @property
    def healthy(self) -> bool:
        return all(listener.healthy for listener in self._listeners.values())

    async def subscribe(self, channels: Sequence[bytes]) -> None:
        """Returns when all are confirmed. Raises `BrokerUnavailable`."""
        by_shard: dict[int | None, list[bytes]] = {}
        for channel in channels:
            by_shard.setdefault(layout.shard_in(channel), []).append(channel)
        for shard, some in by_shard.items():
            await self._listeners[shard].subscribe(some)

    def unsubscribe(self, channel: bytes) -> None:
        self._listeners[layout.shard_in(channel)].unsubscribe(channel)
