"""Hearing Redis: one connection, one task, every channel of this process. No meaning of messages.

Pub/sub loses what it cannot deliver and says nothing, and a half-open connection looks like a quiet
one. So the listener sends itself a canary through the server; whenever it was deaf or away it
subscribes again to everything, waits for the confirmations, and says `missed`. Messages are heard
as they arrive, each by a plain call; the task only looks after the connection.
"""

import asyncio
import logging
import math
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import Struct
from redis.asyncio.connection import Connection
from redis.exceptions import RedisError

from gateway.broker.redis.stream import Lost, Stream, open_stream, pack
from gateway.errors import BrokerError, BrokerUnavailable

BATCH = 500

_log = logging.getLogger(__name__)


class Rhythm(Struct, frozen=True, kw_only=True):
    """Times of the listener, in seconds."""

    beat_s: float = 5.0
    """From one canary to the next."""
    deaf_s: float = 4.0
    """An unheard canary of this age means deaf."""
    linger_s: float = 5.0
    """How long a subscription outlives its last follower."""
    look_s: float = 1.0
    """How often these are looked at."""
    open_s: float = 5.0
    """Connecting and having all subscriptions confirmed."""
    confirm_s: float = 2.0
    """One new subscription's confirmation."""
    longest_pause_s: float = 0.3
    """Between two attempts to connect; the first comes after a tenth."""


class Deaf(Lost):
    """The canary was sung and not heard."""


@dataclass(slots=True)
class _Subscription:
    # Done when the server confirms it; None: it has.
    confirming: asyncio.Future[None] | None
    # Loop time when it ends; None while somebody wants it.
    ends: float | None = None


class Listener:
    """Subscribed channels, kept alive.

    Args:
        connect: a new, unconnected connection.
        sing: sends (channel, text) through the server; raises `BrokerError`.
        canary: the canary's channel, nobody else's.
        heard: called with (channel, payload), in order.
        missed: called after every gap, all channels being subscribed again.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        sing: Callable[[str, str], Awaitable[None]],
        canary: str,
        heard: Callable[[bytes, bytes], None],
        missed: Callable[[], None],
        rhythm: Rhythm = Rhythm(),  # noqa: B008 - frozen
    ) -> None:
        self._connect = connect
        self._sing = sing
        self._canary = canary.encode()
        self._heard = heard
        self._missed = missed
        self._rhythm = rhythm
        self._stream: Stream | None = None
        # Why the connection ended, once it has.
        self._lost: asyncio.Future[Exception] | None = None
        # Loop time since when everything is confirmed; None while it is not.
        self._open_since: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._subscriptions: dict[bytes, _Subscription] = {}
        # Wanted, but not yet asked for.
        self._pending: list[bytes] = []
        self._unconfirmed: set[bytes] = set()
        # Done when the last of a new connection's is confirmed.
        self._whole: asyncio.Future[None] | None = None
        # Confirmations of our own unsubscribing that are still to come.
        self._leaving: Counter[bytes] = Counter()
        self._song = b""
        self._sung_at = -math.inf
        self._sings = False

    async def start(self) -> None:
        """Connects, unless it is at work. Raises `RedisError`, `OSError`, `TimeoutError`."""
        if self._task is not None:
            return
        self._want(self._canary)
        try:
            await self._open()
        except BaseException:
            await self._drop()
            raise
        self._sings = True
        self._task = asyncio.create_task(self._supervise())  # noqa: TID251 - joined by close()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._task = None
        await self._drop()

    @property
    def healthy(self) -> bool:
        """Connected, everything confirmed, and the last canary was sung and heard in time."""
        return self._open_since is not None and self._sings and not self._late()

    async def subscribe(self, channels: Sequence[bytes]) -> None:
        """Returns when the server has confirmed them.

        Raises `BrokerUnavailable`; the channels stay wanted: `unsubscribe` them.
        """
        waiting = [self._want(channel) for channel in channels]
        self._ask()
        try:
            async with asyncio.timeout(self._rhythm.confirm_s):
                for subscription in waiting:
                    while subscription.confirming is not None:
                        await asyncio.wait((subscription.confirming,))
        except TimeoutError as error:
            raise BrokerUnavailable("subscription not confirmed") from error

    def unsubscribe(self, channel: bytes) -> None:
        """Nobody wants it any more; it lingers, as somebody often comes back."""
        subscription = self._subscriptions.get(channel)
        if subscription is not None:
            loop = asyncio.get_running_loop()
            subscription.ends = loop.time() + self._rhythm.linger_s

    def _want(self, channel: bytes) -> _Subscription:
        subscription = self._subscriptions.get(channel)
        if subscription is None:
            subscription = _Subscription(asyncio.get_running_loop().create_future())
            self._subscriptions[channel] = subscription
            self._pending.append(channel)
            self._unconfirmed.add(channel)
        subscription.ends = None
        return subscription

    def _ask(self) -> None:
        if self._stream is None:
            return  # it will ask for everything once it is back
        pending, self._pending = self._pending, []
        self._send(self._stream, "SSUBSCRIBE", pending)

    @staticmethod
    def _send(stream: Stream, verb: str, channels: Sequence[bytes]) -> None:
        for start in range(0, len(channels), BATCH):
            stream.write(pack((verb, *channels[start : start + BATCH])))

    # The task

    async def _supervise(self) -> None:
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                _log.warning("the broker's listener lost its connection: %s", error)
            except Exception:  # noqa: BLE001 - the top of a task that must not end
                _log.exception("the broker's listener failed; it starts again")
            await self._drop()
            await self._reopen()
            _log.info("the broker's listener is back")
            self._missed()

    async def _listen(self) -> None:
        stream, lost = self._stream, self._lost
        if stream is None or lost is None:
            raise Deaf("not connected")
        while not lost.done():
            await asyncio.wait((lost,), timeout=self._rhythm.look_s)
            if not lost.done():
                self._end_lingering(stream)
                await self._beat()
        raise lost.result()

    def _take(self, message: Any) -> None:
        """What it raises ends the connection."""
        try:
            kind, channel, payload = message
        except (TypeError, ValueError):
            raise Deaf(f"refused: {message}") from None
        if kind == b"smessage":
            if channel != self._canary:
                self._heard(channel, payload)
            elif payload == self._song:
                self._song = b""
        elif kind == b"ssubscribe":
            self._confirmed(channel)
        elif kind == b"sunsubscribe":
            self._left(channel)
        else:
            raise Deaf(f"unexpected {kind!r}")

    def _confirmed(self, channel: bytes) -> None:
        self._unconfirmed.discard(channel)
        subscription = self._subscriptions.get(channel)
        if subscription is not None and subscription.confirming is not None:
            subscription.confirming.set_result(None)
            subscription.confirming = None
        if not self._unconfirmed and self._whole is not None and not self._whole.done():
            self._whole.set_result(None)

    def _left(self, channel: bytes) -> None:
        if self._leaving[channel] > 1:
            self._leaving[channel] -= 1
        elif not self._leaving.pop(channel, 0) and channel in self._subscriptions:
            # The server ended it (a slot moved away): only a new start tells where it is.
            raise Deaf("the server ended a subscription")

    def _end_lingering(self, stream: Stream) -> None:
        now = asyncio.get_running_loop().time()
        ended = [
            channel
            for channel, subscription in self._subscriptions.items()
            if subscription.ends is not None and subscription.ends <= now
        ]
        if not ended:
            return
        for channel in ended:
            del self._subscriptions[channel]
            self._unconfirmed.discard(channel)
        self._leaving.update(ended)
        self._send(stream, "SUNSUBSCRIBE", ended)

    async def _beat(self) -> None:
        if self._late():
            raise Deaf("a canary was not heard")
        now = asyncio.get_running_loop().time()
        if self._song or now < self._sung_at + self._rhythm.beat_s:
            return
        song = secrets.token_hex(4)
        self._song, self._sung_at = song.encode(), now
        try:
            await self._sing(self._canary.decode(), song)
            self._sings = True
        except BrokerError:
            # The server does not answer; whether we are deaf is not known.
            self._song, self._sings = b"", False

    def _late(self) -> bool:
        now = asyncio.get_running_loop().time()
        return bool(self._song) and now > self._sung_at + self._rhythm.deaf_s

    async def _reopen(self) -> None:
        pause = self._rhythm.longest_pause_s / 10
        while True:
            try:
                await self._open()
            except (RedisError, OSError, TimeoutError):
                await self._drop()
            else:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._rhythm.longest_pause_s)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        lost: asyncio.Future[Exception] = loop.create_future()
        async with asyncio.timeout(self._rhythm.open_s):
            stream = await open_stream(
                self._connect(), self._take, lost.set_result, within_s=self._rhythm.open_s
            )
            self._stream, self._lost = stream, lost
            whole = self._whole = loop.create_future()
            self._ask_for_all(stream)
            await asyncio.wait((lost, whole), return_when=asyncio.FIRST_COMPLETED)
        if lost.done():
            raise lost.result()
        self._open_since = loop.time()

    def _ask_for_all(self, stream: Stream) -> None:
        loop = asyncio.get_running_loop()
        self._song, self._sung_at = b"", -math.inf
        self._leaving.clear()
        self._pending.clear()
        self._unconfirmed = set(self._subscriptions)
        for subscription in self._subscriptions.values():
            if subscription.confirming is None:
                subscription.confirming = loop.create_future()
        self._send(stream, "SSUBSCRIBE", list(self._subscriptions))

    async def _drop(self) -> None:
        self._open_since = None
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.abort(Lost("dropped"))
            await stream.closed()
