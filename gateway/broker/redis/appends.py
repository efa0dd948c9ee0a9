"""The hot path: stream events of attempts, all that gather in one turn of the loop in one script.

Only plain appends go this way: fence and n, nothing else to check or to set. Each is atomic for
itself. Whatever the script does not know how to do it leaves alone, and whatever cannot be sent at
once is not sent: the caller then runs the full script, which checks everything, a repeat included.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

from msgspec import Struct
from redis.exceptions import NoScriptError

from gateway.broker.base import Answered, Append
from gateway.broker.redis import layout
from gateway.broker.redis.client import RedisClient
from gateway.broker.redis.stream import Lost
from gateway.broker.redis.wire import Wire
from gateway.errors import BrokerUnavailable

MANY = 64
"""Appends of one script at most: the server does nothing else meanwhile."""
MANY_BYTES = 256 << 10
REMEMBERED = 10_000
"""Attempts whose part of a command is kept encoded; then it is forgotten for all of them."""

SCRIPT = "append_many"
WIDTH = 8
"""Arguments of each append."""


class _Attempt(Struct, frozen=True):
    epoch: str
    fence: int
    shard: int
    key: bytes
    prefix: bytes
    """Channel, session, epoch and fence, as they are sent."""


class _Asked(Struct, frozen=True):
    answered: Answered
    arguments: bytes
    key: bytes


def is_plain(append: Append) -> bool:
    """Whether the hot script does it; an attempt's first append is left to the other one."""
    return (
        append.control == 0
        and append.n is not None
        and append.n > 1
        and append.fence is not None
        and append.expect_version is None
        and append.claimable_at is None
        and append.timer_at is None
        and append.command is None
        and not append.raise_fence
        and bool(append.bodies)
    )


class Appends:
    """Gathers plain appends. They go out after the turn of the loop in which they were asked."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._script = client.script(SCRIPT)
        # Asking for it costs as much as a future.
        self._loop: asyncio.AbstractEventLoop | None = None
        # session -> its newest attempt
        self._attempts: dict[str, _Attempt] = {}
        # By where they go: a shard in a Cluster, else one group of all.
        self._gathered: dict[int, list[_Asked]] = {}

    def append(self, append: Append, text: bytes) -> asyncio.Future[int]:
        """The last seq, or 0: nothing was done here. `text` are the bodies, a line each.

        The future fails with `BrokerUnavailable`.
        """
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.begin(append, text, partial(_settle, answer))
        return answer

    def begin(self, append: Append, text: bytes, answered: Answered) -> None:
        """The same for a callback."""
        fence, n = append.fence, append.n
        assert fence is not None, "a plain append has one"
        assert n is not None, "a plain append has one"
        attempt = self._attempts.get(append.session)
        if attempt is None or attempt.epoch != append.epoch or attempt.fence != fence:
            attempt = self._remember(append.session, append.epoch, fence)
        count = b"1" if len(append.bodies) == 1 else b"%d" % len(append.bodies)
        before, this = b"%d:%d:" % (fence, n - 1), b"%d:%d:" % (fence, n)
        arguments = b"%b$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (
            attempt.prefix,
            len(count),
            count,
            len(before),
            before,
            len(this),
            this,
            len(text),
            text,
        )
        if not self._gathered:
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._send_all)
        group = self._gathered.setdefault(attempt.shard, [])
        group.append(_Asked(answered, arguments, attempt.key))

    def _remember(self, session: str, epoch: str, fence: int) -> _Attempt:
        shard = layout.shard_of(session)
        channel = layout.channel(session)
        prefix = b"".join(map(_bulk, (channel, session.encode(), epoch.encode(), b"%d" % fence)))
        # Where there is one server keys tell it nothing.
        several = self._client.is_cluster
        key = _bulk(channel + b":meta") if several else b""
        attempt = _Attempt(epoch, fence, shard if several else 0, key, prefix)
        if len(self._attempts) >= REMEMBERED:
            self._attempts.clear()
        self._attempts[session] = attempt
        return attempt

    def _send_all(self) -> None:
        gathered, self._gathered = self._gathered, {}
        wires: dict[Wire, None] = {}
        for shard, group in gathered.items():
            for some in _portions(group):
                wire = self._client.writes(layout.base(shard).encode())
                if wire is None:
                    self._leave(some)
                else:
                    self._send(wire, some, b"EVALSHA", self._script.sha.encode())
                    wires[wire] = None
        for wire in wires:
            wire.flush()

    def _send(self, wire: Wire, some: Sequence[_Asked], verb: bytes, script: bytes) -> None:
        keys = [asked.key for asked in some if asked.key]
        words = 3 + len(keys) + WIDTH * len(some)
        command = [b"*%d\r\n" % words, _bulk(verb), _bulk(script), _bulk(b"%d" % len(keys)), *keys]
        command += [asked.arguments for asked in some]
        wire.ask(b"".join(command), partial(self._answered, wire, some))

    def _answered(self, wire: Wire, some: Sequence[_Asked], reply: Any) -> None:
        if isinstance(reply, Lost):
            self._fail(some, reply)
        elif isinstance(reply, NoScriptError) and wire.ready:
            self._send(wire, some, b"EVAL", self._script.source.encode())
        elif isinstance(reply, Exception):
            self._leave(some)  # refused as a whole; the other script is told why
        elif not isinstance(reply, list) or len(cast("list[int]", reply)) != len(some):
            self._fail(some, Lost("an answer was another call's"))
        else:
            self._client.told(None)
            for asked, seq in zip(some, cast("list[int]", reply), strict=True):
                asked.answered(seq)

    def _leave(self, some: Sequence[_Asked]) -> None:
        for asked in some:
            asked.answered(0)

    def _fail(self, some: Sequence[_Asked], error: Lost) -> None:
        for asked in some:
            meaning = self._client.told(error)
            asked.answered(meaning if isinstance(meaning, BrokerUnavailable) else 0)


def _settle(future: asyncio.Future[int], answer: int | BrokerUnavailable) -> None:
    if future.done():  # whoever waited was cancelled
        return
    if isinstance(answer, BrokerUnavailable):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def _bulk(word: bytes) -> bytes:
    """A word of a command, as it is sent."""
    return b"$%d\r\n%b\r\n" % (len(word), word)


def _portions(group: list[_Asked]) -> list[list[_Asked]]:
    """Small enough for one script each."""
    portions: list[list[_Asked]] = []
    size = 0
    for asked in group:
        more = len(asked.arguments)
        if not portions or len(portions[-1]) == MANY or size + more > MANY_BYTES:
            portions.append([])
            size = 0
        portions[-1].append(asked)
        size += more
    return portions
