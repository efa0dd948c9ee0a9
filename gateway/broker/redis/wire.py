"""Questions and answers over one connection to one server: many at a time, in order, each in time.

What is asked in one turn of the loop goes out in one write; Redis answers in the order it was
asked, so the first question without an answer owns the next one. No call has a task or a timer of
its own: one timer looks at the oldest question. When that is too old, or the connection is lost,
every question without an answer fails with `Lost`; nothing is ever sent twice. A caller that is
cancelled leaves its place, and its answer goes nowhere.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from msgspec import Struct
from redis.asyncio.connection import Connection
from redis.exceptions import ReadOnlyError, RedisError

from gateway.broker.redis.stream import Argument, Lost, Stream, open_stream, pack

CALL_S = 2.0

Command: TypeAlias = Sequence[Argument]
Answered: TypeAlias = Callable[[Any], None]
"""Called once with a reply; an error reply, or the loss of the connection, is an exception."""


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds of a wire; times in seconds."""

    call_s: float = CALL_S
    """Of a call, connecting and waiting for room included."""
    answer_s: float = 1.8
    """Of the oldest question's answer."""
    grace_s: float = 0.1
    """On top of it, for answers that came while this process was busy."""
    connect_s: float = 1.5
    room_s: float = 1.0
    """Waiting for room, when too much is unanswered."""
    pause_s: float = 0.1
    """After an attempt to connect that failed, until the next."""
    unanswered: int = 4096
    """So many questions at a time; more wait."""


class Wire:
    """A line to one server, connected when somebody asks and it is not.

    `connect` gives a new connection of redis-py, not yet connected. Every method that asks may
    raise `RedisError`, `OSError` or `TimeoutError`.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self._connect = connect
        self._limits = limits
        self._line: _Line | None = None
        # Those that finish what they were asked and take no more.
        self._leaving: set[_Line] = set()
        self._opening = asyncio.Lock()
        self._failure = ""
        # Loop time until when nobody tries to connect.
        self._next_try = 0.0
        self._closed = False

    @property
    def ready(self) -> bool:
        """Connected, with room: `ask` will do."""
        line = self._line
        return line is not None and not line.full

    def ask(self, packed: bytes, answered: Answered) -> None:
        """One encoded command, only when `ready`. `answered` must not raise."""
        assert self._line is not None, "ask a wire that is ready"
        self._line.ask(packed, answered)

    def flush(self) -> None:
        """Sends now what would go out after this turn of the loop."""
        if self._line is not None:
            self._line.flush()

    async def call(self, *command: Argument) -> Any:
        """One command's reply."""
        line = self._line
        if line is None or line.full:
            return await self._in_time([command], _one)
        return await _one(line, [command])

    async def calls(self, commands: Sequence[Command]) -> list[Any]:
        """Their replies, those that are errors as exceptions; sent next to each other."""
        line = self._line
        if line is None or line.full:
            return await self._in_time(commands, _several)
        return await _several(line, commands)

    async def close(self) -> None:
        """Whoever waits for an answer hears that the connection is lost."""
        self._closed = True
        for line in (*self._leaving, *((self._line,) if self._line else ())):
            line.abort(Lost("closed"))
            await line.closed()

    async def _in_time(self, commands: Sequence[Command], ask: Any) -> Any:
        async with asyncio.timeout(self._limits.call_s):
            return await ask(await self._with_room(), commands)

    async def _with_room(self) -> "_Line":
        while True:
            line = self._line or await self._open()
            if not line.full:
                return line
            try:
                async with asyncio.timeout(self._limits.room_s):
                    await line.room()
            except TimeoutError:
                raise TimeoutError("too many calls have no answer yet") from None

    async def _open(self) -> "_Line":
        loop = asyncio.get_running_loop()
        async with self._opening:
            if self._line is not None:
                return self._line
            if self._closed:
                raise Lost("closed")
            if loop.time() < self._next_try:
                raise Lost(self._failure)
            line = _Line(self._limits, self._left, self._retire)
            try:
                await line.open(self._connect())
            except (RedisError, OSError, TimeoutError) as error:
                self._failure = str(error) or type(error).__name__
                self._next_try = loop.time() + self._limits.pause_s
                raise
            if self._closed:  # meanwhile
                line.abort(Lost("closed"))
                raise Lost("closed")
            self._line = line
            return line

    def _left(self, line: "_Line") -> None:
        self._leaving.discard(line)
        if self._line is line:
            self._line = None

    def _retire(self, line: "_Line") -> None:
        """The server takes no writes any more: the next question looks for another."""
        if self._line is line:
            self._line = None
            self._leaving.add(line)


class _Line:
    """One connection and its questions without an answer."""

    def __init__(
        self,
        limits: Limits,
        left: Callable[["_Line"], None],
        demoted: Callable[["_Line"], None],
    ) -> None:
        self._limits = limits
        self._left = left
        self._demoted = demoted
        self._loop = asyncio.get_running_loop()
        self._stream: Stream | None = None
        self._unsent: list[bytes] = []
        self._flushing = False
        self._asked: deque[Answered] = deque()
        self._answered = 0
        # (how many had been asked, loop time) of each write
        self._writes: deque[tuple[int, float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._overdue = False
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._retired = False
        # Somebody waits for room, or for the last answer.
        self._watched = False

    async def open(self, connection: Connection) -> None:
        self._stream = await open_stream(
            connection, self._heard, self._lost, within_s=self._limits.connect_s
        )

    @property
    def full(self) -> bool:
        return len(self._asked) >= self._limits.unanswered or not self._writable

    @property
    def _writable(self) -> bool:
        return self._stream is not None and self._stream.writable

    def ask(self, packed: bytes, answered: Answered) -> None:
        self._asked.append(answered)
        self._unsent.append(packed)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        self._flushing = False
        if not self._unsent or self._stream is None:
            return
        data = b"".join(self._unsent)
        self._unsent.clear()
        self._forget_answered()
        self._writes.append((self._answered + len(self._asked), self._loop.time()))
        if self._timer is None:
            self._timer = self._loop.call_later(self._limits.answer_s, self._look)
        self._stream.write(data)

    async def room(self) -> None:
        """Until there may be some, or the line is lost."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(future)
        self._watched = True
        await future

    def abort(self, why: Exception) -> None:
        if self._stream is not None:
            self._stream.abort(why)

    async def closed(self) -> None:
        if self._stream is not None:
            await self._stream.closed()

    def _heard(self, reply: Any) -> None:
        if not self._asked:
            raise Lost("the server says what nobody asked for")
        answered = self._asked.popleft()
        self._answered += 1
        answered(reply)
        if type(reply) is ReadOnlyError:
            self._retired = self._watched = True
            self._demoted(self)
        if self._watched:
            self._watch()

    def _watch(self) -> None:
        if self._retired and not self._asked:
            self.abort(Lost("the server takes no writes"))
            return
        while self._waiting and not self.full:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                if self._asked:
                    break  # the next answer lets the next one in
        self._watched = self._retired or bool(self._waiting)

    def _look(self) -> None:
        """Is the oldest question too old?"""
        self._timer = None
        self._forget_answered()
        if not self._writes:
            self._overdue = False
            return
        now = self._loop.time()
        rest = self._writes[0][1] + self._limits.answer_s - now
        if rest > 0:
            self._overdue = False
        elif self._overdue:
            self.abort(Lost(f"no answer within {self._limits.answer_s:g} s"))
            return
        else:
            # The loop may have stood still: what has arrived is read before this looks again.
            self._overdue, rest = True, self._limits.grace_s
        self._timer = self._loop.call_later(rest, self._look)

    def _forget_answered(self) -> None:
        writes = self._writes
        while writes and writes[0][0] <= self._answered:
            writes.popleft()

    def _lost(self, error: Lost) -> None:
        self._left(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._unsent.clear()
        asked = list(self._asked)
        self._asked.clear()
        for answered in asked:
            answered(Lost(str(error)))
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()


async def _one(line: _Line, commands: Sequence[Command]) -> Any:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    line.ask(pack(tuple(commands[0])), partial(_settle, future))
    return await future


async def _several(line: _Line, commands: Sequence[Command]) -> list[Any]:
    future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
    if not commands:
        return []
    replies: list[Any] = []
    answered = partial(_collect, future, replies, len(commands))
    for packed in [pack(tuple(command)) for command in commands]:
        line.ask(packed, answered)
    return await future


def _settle(future: asyncio.Future[Any], reply: Any) -> None:
    if future.done():
        return
    if isinstance(reply, Exception):
        future.set_exception(reply)
    else:
        future.set_result(reply)


def _collect(future: asyncio.Future[list[Any]], replies: list[Any], count: int, reply: Any) -> None:
    if isinstance(reply, Lost):
        _settle(future, reply)
        return
    replies.append(reply)
    if len(replies) == count:
        _settle(future, replies)
