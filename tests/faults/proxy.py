"""A TCP proxy with the faults of real networks, in front of the gateway or of Redis.

*up* is from who connects to the target, *down* the other way. Faults are set at any time and hold
for the connections that are there and those that come, until they are taken back.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from tests.support.waiting import eventually

Direction: TypeAlias = Literal["up", "down"]
Match: TypeAlias = Callable[[bytes], bool]

READ_BYTES = 65_536
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close is an RST


@dataclass
class Way:
    """The faults of one direction."""

    delay_s: float = 0.0
    """Each piece is held for so long; order is kept."""
    swallow: bool = False
    """What comes is read and lost: a black hole without a FIN."""
    trickle: bool = False
    """One byte at a time, each in a turn of the loop of its own."""
    swallowed: int = 0
    """Bytes lost so far."""
    quotas: list[int] = field(default_factory=list[int])
    """After so many bytes more the connection that carries the last of them is reset; then the
    next quota begins."""
    flowing: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.flowing.set()


class Link:
    """One connection through the proxy."""

    def __init__(
        self, client: asyncio.StreamWriter, server: asyncio.StreamWriter, opened: int
    ) -> None:
        self.client = client
        self.server = server
        self.opened = opened
        self.doomed = False  # its next reply is lost
        self.fits = False  # it has sent a piece that `only` asks for

    def reset(self) -> None:
        """Ends both sides with an RST."""
        for writer in (self.client, self.server):
            raw: socket.socket | None = writer.get_extra_info("socket")
            if raw is not None and raw.fileno() >= 0:
                with suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()


class FaultProxy:
    """Forwards connections to `target`; made by `fault_proxy`."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.up = Way()
        self.down = Way()
        self.refusing = False
        self.opened = 0  # connections so far
        self.caught = asyncio.Event()
        self._fatal: Match | None = None
        self._resets = True
        self._only: Match | None = None
        self._links: set[Link] = set()

    # --- addresses

    @property
    def redis_url(self) -> str:
        """A Redis behind it."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def url(self) -> str:
        """A gateway's WebSocket behind it."""
        return f"ws://127.0.0.1:{self.port}/v1/ws"

    def __len__(self) -> int:
        return len(self._links)

    # --- faults

    def way(self, direction: Direction) -> Way:
        return self.up if direction == "up" else self.down

    def only(self, match: Match) -> None:
        """Delay, swallow and pause spare connections that never sent a fitting piece.

        To be said before they are made.
        """
        self._only = match

    def delay(self, seconds: float, *directions: Direction) -> None:
        """Holds every piece for so long."""
        for each in directions or ("up", "down"):
            self.way(each).delay_s = seconds

    def swallow(self, *directions: Direction) -> None:
        """Black hole: what comes from now on is lost, and no one is told."""
        for each in directions or ("up", "down"):
            self.way(each).swallow = True

    def trickle(self, *directions: Direction) -> None:
        """Byte by byte."""
        for each in directions or ("up", "down"):
            self.way(each).trickle = True

    def pause(self, *directions: Direction) -> None:
        """Forwards nothing, and reads nothing once a piece waits: senders feel it."""
        for each in directions or ("up", "down"):
            self.way(each).flowing.clear()

    def heal(self) -> None:
        """Takes back every fault but what was lost; what was paused flows again."""
        self.refusing = False
        self._fatal = None
        for way in (self.up, self.down):
            way.delay_s, way.swallow, way.trickle = 0.0, False, False
            way.quotas.clear()
            way.flowing.set()

    def cut(self) -> int:
        """RST on both sides of every connection there is; how many there were."""
        links = list(self._links)
        for link in links:
            link.reset()
        return len(links)

    def cut_after(self, direction: Direction, *sizes: int) -> None:
        """RST in the middle of what flows, after so many bytes of it; once for each size."""
        self.way(direction).quotas = list(sizes)

    def refuse(self) -> None:
        """Cuts, and cuts whoever connects."""
        self.refusing = True
        self.cut()

    def half_close(self, direction: Direction) -> None:
        """A FIN in one direction, for every connection; the other goes on."""
        for link in self._links:
            (link.server if direction == "up" else link.client).write_eof()

    def lose_reply(self, match: Match = lambda _: True, *, reset: bool = True) -> None:
        """Once: what goes up and fits arrives, but the reply to it is lost.

        Then the connection is reset, or (`reset=False`) silent for ever. `match` sees single
        pieces as they are read. `caught` is set when the reply was lost.
        """
        self._fatal, self._resets = match, reset
        self.caught.clear()

    # --- forwarding

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until both sides have ended."""
        self.opened += 1
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        link = Link(writer, up_writer, self.opened)
        self._links.add(link)
        if self.refusing:
            link.reset()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(link, reader, up_writer, self.up))
                group.create_task(self._forward(link, up_reader, writer, self.down))
        except* OSError:
            pass
        finally:
            self._links.discard(link)
            link.reset()

    async def _forward(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way
    ) -> None:
        while data := await reader.read(READ_BYTES):
            if way is self.up and self._fatal is not None and self._fatal(data):
                link.doomed, self._fatal = True, None
            elif way is self.down and link.doomed:
                self.caught.set()
                if self._resets:
                    raise ConnectionResetError
                continue
            if self._only is not None and not link.fits:
                link.fits = way is self.up and self._only(data)
            if self._only is None or link.fits:
                await way.flowing.wait()
                if way.delay_s:
                    await asyncio.sleep(way.delay_s)
                if way.swallow:
                    way.swallowed += len(data)
                    continue
            await self._pass_on(data, writer, way)
        with suppress(OSError):
            writer.write_eof()

    async def _pass_on(self, data: bytes, writer: asyncio.StreamWriter, way: Way) -> None:
        if way.quotas and len(data) >= way.quotas[0]:
            writer.write(data[: way.quotas.pop(0)])
            await writer.drain()
            raise ConnectionResetError
        if way.quotas:
            way.quotas[0] -= len(data)
        for piece in [data[at : at + 1] for at in range(len(data))] if way.trickle else [data]:
            writer.write(piece)
            await writer.drain()
            if way.trickle:
                await asyncio.sleep(0)


@asynccontextmanager
async def fault_proxy(target: int, port: int = 0) -> AsyncGenerator[FaultProxy]:
    """A proxy to a port of this machine; at the end all its connections are reset."""
    proxy = FaultProxy(target)
    server = await asyncio.start_server(proxy.carry, "127.0.0.1", port)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.heal()
        proxy.cut()
        await eventually(lambda: len(proxy) == 0, what="the proxy's connections have ended")
