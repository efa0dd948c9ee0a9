"""The Redis broker between its public verbs and the bytes of its connections.

The server is a few lines here that answer at once: only this process is measured.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import hiredis

from gateway.broker.base import Append, News
from gateway.broker.redis.broker import RedisBroker
from gateway.broker.redis.layout import channel
from gateway.broker.redis.listener import Rhythm
from gateway.broker.redis.stream import pack
from gateway.broker.redis.wire import Command, Wire
from tests.speed.path import Path, Stage, body

SESSIONS, AT_ONCE = 64, 64
SEQ = 123
NOW = (1_767_225_600, 0)
INFO = b"redis_version:7.2.0\r\ncluster_enabled:0\r\n"


class Line(asyncio.Transport):
    """A connection's transport: what is written goes to `asked`, which may `say` something."""

    def __init__(self, asked: Callable[["Line", bytes], None]) -> None:
        super().__init__()
        self._asked = asked
        self._protocol: Any = None
        self._aborted = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def write(self, data: Any) -> None:
        self._asked(self, data)

    def say(self, data: bytes) -> None:
        self._protocol.data_received(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return self._aborted

    def abort(self) -> None:
        self._aborted = True
        asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)


class Connected:
    """What `open_stream` wants of redis-py's connection: one that is made at once."""

    def __init__(self, asked: Callable[[Line, bytes], None]) -> None:
        self.line = Line(asked)

    async def connect(self) -> None:
        loop, protocol = asyncio.get_running_loop(), asyncio.Protocol()
        self._reader = None
        self._writer = asyncio.StreamWriter(self.line, protocol, None, loop)

    async def can_read(self) -> bool:
        return False

    async def disconnect(self, nowait: bool = False) -> None:
        del nowait


class Server:
    """A `Servers` that confirms subscriptions and stores nothing."""

    place = "here"

    def __init__(self) -> None:
        self.appends = 0
        self.listening: Line | None = None
        self._wire = Wire(lambda: self._connected(self._appended))
        self._last = b""

    def _connected(self, asked: Callable[[Line, bytes], None]) -> Any:
        return Connected(asked)

    async def execute(self, *command: Any, reads: bool = False) -> Any:
        del reads
        if command[0] == "PING":
            return await self._wire.call("PING")
        return NOW  # to the only script that is asked for

    async def batch(self, commands: Sequence[Command]) -> list[Any]:
        return [1 for _ in commands]

    async def everywhere(self, *command: Any) -> list[Any]:
        del command
        return [INFO]

    def writes(self, key: bytes) -> Wire:
        del key
        return self._wire

    def connection(self, channel: bytes) -> Any:
        del channel
        return self._connected(self._subscribed)

    async def close(self) -> None:
        await self._wire.close()

    def _subscribed(self, line: Line, data: bytes) -> None:
        self.listening = line
        reader = hiredis.Reader()
        reader.feed(data)
        while command := reader.gets():
            verb, *names = command
            for name in names:
                confirmed = pack((verb.lower(), name, 1))
                asyncio.get_running_loop().call_soon(line.say, confirmed)

    def _appended(self, line: Line, data: bytes) -> None:
        """A script's reply holds a seq for each append in it."""
        loop = asyncio.get_running_loop()
        if data.startswith(b"*1\r\n$4\r\nPING"):
            loop.call_soon(line.say, b"+PONG\r\n")
            return
        words = int(data[1 : data.index(b"\r\n")])
        count = (words - 3) // 8
        self.appends += count
        loop.call_soon(line.say, b"*%d\r\n%b" % (count, b":%d\r\n" % SEQ * count))


@asynccontextmanager
async def _broker() -> AsyncGenerator[tuple[RedisBroker, Server]]:
    broker = RedisBroker("redis://127.0.0.1:1/0", rhythm=Rhythm(look_s=3600))
    server = Server()
    broker._client._servers = server
    await broker.start()
    yield broker, server
    await broker.close()


class Hearing:
    """A follower that takes what is published as it comes."""

    def __init__(self, session: str, heard: deque[tuple[str, bytes, bytes]]) -> None:
        self._session = session
        self._heard = heard

    def __call__(self, news: News) -> None:
        raise AssertionError(f"nothing is heard but what is published: {news}")

    def hear(self, epoch: bytes, first: bytes, count: bytes, text: bytes) -> bool:
        del epoch, count
        self._heard.append((self._session, first, text))
        return True


@asynccontextmanager
async def news(stage: Stage) -> AsyncGenerator[Path]:
    """Messages of 64 channels as they are read from the socket, to who follows."""
    async with _broker() as (broker, server):
        names = [f"s_{n:022d}" for n in range(SESSIONS)]
        heard: deque[tuple[str, bytes, bytes]] = deque(maxlen=SESSIONS)
        for name in names:
            await broker.follow(name, Hearing(name, heard))
        event, seq = body(), 1
        read: list[bytes] = []

        async def prepare() -> None:
            nonlocal seq
            read.clear()
            for _ in range(16):
                seq += 1
                message = b"0123456789abcdef %d 1 5\n%b" % (seq, event)
                told = [(b"smessage", channel(name), message) for name in names]
                read.append(b"".join(map(pack, told)))

        line = server.listening
        assert line is not None

        async def turn() -> None:
            for data in read:
                for _ in names:
                    stage(event)
                line.say(data)

        def check() -> None:
            assert [session for session, _, _ in heard] == names
            assert {(first, text) for _, first, text in heard} == {(b"%d" % seq, event[1:])}

        yield Path(turn, 16 * SESSIONS, SESSIONS, check, prepare)


@asynccontextmanager
async def appends(stage: Stage) -> AsyncGenerator[Path]:
    """64 attempts that append a token each, and again once all have their answers."""
    async with _broker() as (broker, server):
        assert await broker._client.command("PING") == b"PONG"
        sessions = [f"s_{n:022d}" for n in range(AT_ONCE)]
        event, rounds, n = [body()], 8, 1
        seqs: list[object] = []
        whole = asyncio.Event()

        def answered(seq: object) -> None:
            seqs.append(seq)
            if len(seqs) == AT_ONCE:
                whole.set()

        async def turn() -> None:
            nonlocal n
            for _ in range(rounds):
                n += 1
                seqs.clear()
                whole.clear()
                for session in sessions:
                    stage(event[0])
                    asked = Append(
                        session=session, epoch="e" * 16, bodies=event, control=0, fence=3, n=n
                    )
                    broker.append_soon(asked, answered)
                await whole.wait()

        def check() -> None:
            assert server.appends == (n - 1) * AT_ONCE
            assert seqs == [SEQ] * AT_ONCE

        yield Path(turn, rounds * AT_ONCE, AT_ONCE, check)
