"""A server that a test answers for, and wires to it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from redis.asyncio.connection import Connection

from gateway.broker.redis.servers import connecting
from gateway.broker.redis.wire import Limits, Wire
from tests.support.waiting import eventually

PATIENT = Limits(call_s=30, answer_s=25, connect_s=20, room_s=20)


class Scripted:
    """Takes what is sent and says what it is told to; shakes hands by itself."""

    def __init__(self) -> None:
        self.port = 0
        # What came in one piece, of connections that are past their handshake.
        self.pieces: list[bytes] = []
        self.connections = 0
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def taken(self) -> bytes:
        return b"".join(self.pieces)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        while data := await reader.read(1 << 20):
            if b"CLIENT" in data:
                writer.write(b"+OK\r\n" * data.count(b"CLIENT"))
            else:
                self.pieces.append(data)
        writer.close()

    def say(self, data: bytes) -> None:
        """On the newest connection."""
        self._writers[-1].write(data)

    def say_on(self, connection: int, data: bytes) -> None:
        self._writers[connection].write(data)

    def hang_up(self) -> None:
        self._writers[-1].transport.abort()

    async def has(self, text: bytes, times: int = 1) -> None:
        await eventually(lambda: self.taken.count(text) >= times, what=f"{text!r} came")


@asynccontextmanager
async def scripted() -> AsyncGenerator[Scripted]:
    made = Scripted()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


@asynccontextmanager
async def wired(
    url: str, limits: Limits = PATIENT, connect: Callable[[], Connection] | None = None
) -> AsyncGenerator[Wire]:
    wire = Wire(connect or connecting(url), limits)
    try:
        yield wire
    finally:
        await wire.close()
