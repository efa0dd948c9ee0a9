"""A TCP cable between a broker and its server, with the faults that real ones have."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress


class Cable:
    """Forwards every connection to `port`.

    `mute`: connections that listen (they have sent SSUBSCRIBE) get nothing any more, and stay open.
    `lose_replies`: what goes up goes on; the next reply cuts its connection instead.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listening: set[asyncio.StreamWriter] = set()
        self.mute = False
        self.lose_replies = False
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._up(reader, up_writer, writer))
                group.create_task(self._down(up_reader, writer, up_writer))
        except* OSError:
            pass
        finally:
            self._listening.discard(writer)
            for end in (writer, up_writer):
                end.close()
                with suppress(OSError):
                    await end.wait_closed()

    async def _up(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
    ) -> None:
        while data := await reader.read(65536):
            if b"SSUBSCRIBE" in data:
                self._listening.add(client)
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _down(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: asyncio.StreamWriter,
    ) -> None:
        while data := await reader.read(65536):
            if writer in self._listening:
                if self.mute:
                    continue
            elif self.lose_replies:
                self.lose_replies = False
                server.close()
                break
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def cable(port: int) -> AsyncGenerator[Cable]:
    made = Cable(port)
    server = await asyncio.start_server(made.carry, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made
        server.close()
