"""A gateway in the test's own process: real store, hub and server over the memory broker.

No worker runs in it: what a run would write a test appends itself, by `Script`.
"""

import asyncio
import json
import socket
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

from gateway.auth import Authenticator, Grant, NoAuth
from gateway.broker.base import Append, Broker
from gateway.broker.memory import MemoryBroker
from gateway.delivery.addresses import Addresses
from gateway.delivery.admission import Admission
from gateway.delivery.connection import Connection
from gateway.delivery.control import Control
from gateway.delivery.delivery import Delivery
from gateway.delivery.hub import Hub
from gateway.delivery.peer import Heard
from gateway.delivery.resources import Resources
from gateway.delivery.revocations import Revocations, Unrevoked
from gateway.delivery.roster import Roster
from gateway.delivery.tickets import Tickets
from gateway.limits import Clock
from gateway.server import Server, open_listener, server_config
from gateway.sessions.access import Facts
from gateway.sessions.store import Origin, Store
from gateway.settings import Settings
from gateway.transports.http import api_routes
from gateway.transports.websocket import native_endpoint
from protocol import commands as cmd
from protocol.codec import encode
from protocol.errors import ProtocolError
from protocol.events import ControlEvent, Event, MessageDelta
from protocol.values import Principal
from tests.support.waiting import eventually

DEV = Principal("local", "dev")
FACTS = Facts("s_1", "scripted", DEV)
TIME = "2026-01-01T00:00:00.000Z"


def delta(text: str, *, message: str = "m_1", part: int = 0, kind: str = "text") -> MessageDelta:
    """A delta as a worker would write it."""
    return MessageDelta(time=TIME, message=message, part=part, kind=kind, delta=text)  # type: ignore[arg-type]


class SlowBroker(MemoryBroker):
    """Reading its log takes until `go_on`; `begun` says that somebody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def read(
        self, session: str, after: int, limit: int, *, epoch: str = ""
    ) -> Sequence[tuple[int, bytes]]:
        self.begun.set()
        await self.go_on.wait()
        return await super().read(session, after, limit, epoch=epoch)


@dataclass
class InProcess:
    """The parts, and what a test does with them."""

    broker: Broker
    delivery: Delivery

    async def create(self, session: str, principal: Principal = DEV, **fields: object) -> None:
        """A session of that id."""
        command = cmd.SessionCreate(id=f"k_{session}", agent="scripted", session=session, **fields)  # type: ignore[arg-type]
        await self.delivery.store.submit(command, Origin(Grant(principal, "full"), "test"))

    async def append(self, session: str, *events: Event) -> int:
        """Stores events as a worker would."""
        (head,) = await self.broker.heads([session])
        assert head is not None
        control = sum(isinstance(event, ControlEvent) for event in events)
        bodies = [encode(event) for event in events]
        return await self.broker.append(
            Append(session=session, epoch=head.epoch, bodies=bodies, control=control)
        )


@asynccontextmanager
async def in_process(
    *,
    broker: Broker | None = None,
    auth: Authenticator | None = None,
    settings: Settings | None = None,
    clock: Clock = time.monotonic,
    wall: Clock = time.time,
    resources: Resources | None = None,
) -> AsyncGenerator[InProcess]:
    """The parts with their tasks running; at the end nobody follows anything any more."""
    broker = broker or MemoryBroker()
    settings = settings or Settings()
    hub = Hub(broker, max_events=settings.feed_events, max_bytes=settings.feed_bytes, clock=clock)
    roster = Roster(clock, most_of_a_subject=settings.most_of_a_subject)
    revocations = Revocations(broker, roster)
    delivery = Delivery(
        store=Store(broker),
        hub=hub,
        roster=roster,
        admission=Admission(settings, roster, resources=resources, clock=clock),
        control=Control(broker, roster, revocations=revocations),
        revocations=revocations,
        tickets=Tickets(broker, wall),
        auth=NoAuth() if auth is None else Unrevoked(auth, revocations),
        addresses=Addresses(settings, clock=clock),
        settings=settings,
        clock=clock,
        wall=wall,
    )
    async with asyncio.TaskGroup() as group:
        loops = (hub.run(), roster.run(), revocations.run())
        tasks = [group.create_task(loop) for loop in loops]
        yield InProcess(broker, delivery)
        for task in tasks:
            task.cancel()


@asynccontextmanager
async def serving(
    inside: InProcess, *, hardened: bool = True, origins: Sequence[str] = ()
) -> AsyncGenerator[int]:
    """A real uvicorn in front of it, ours or (`hardened=False`) a stock one; gives its port."""
    app = Starlette(
        routes=[
            WebSocketRoute(
                "/v1/ws",
                native_endpoint(
                    inside.delivery,
                    lambda http: (
                        None
                        if not origins or http.headers.get("origin") in origins
                        else ProtocolError("auth.forbidden")
                    ),
                ),
            ),
            *api_routes(inside.delivery),
        ]
    )
    stock = {} if hardened else {"http": "h11", "ws": "websockets-sansio"}
    config = server_config(app, inside.delivery.settings, **stock)
    listener = open_listener("127.0.0.1", 0)
    port: int = listener.getsockname()[1]

    async def drain() -> None:
        await inside.delivery.roster.drain(0.2)

    server = Server(config, drain, 2) if hardened else uvicorn.Server(config)
    with listener:
        async with asyncio.TaskGroup() as group:
            group.create_task(server._serve([listener]))  # without its signal handlers
            await eventually(lambda: server.started, what="the server has started")
            try:
                yield port
            finally:
                server.should_exit = True


@asynccontextmanager
async def raw_socket(
    port: int,
) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A TCP connection with a small receive buffer, so that not reading is soon felt."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


class MemoryPeer:
    """A client without a socket: a `Peer` whose other end is the test."""

    def __init__(self) -> None:
        self.writable = True
        self.messages: list[bytes] = []
        self.closed: int | None = None
        self._up: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self._resumed: Callable[[], None] = lambda: None

    # the connection's side

    def write(self, message: bytes) -> None:
        assert self.writable
        self.messages.append(message)

    def when_writable(self, callback: Callable[[], None]) -> None:
        self._resumed = callback

    async def receive(self) -> str | bytes | None:
        return await self._up.get()

    def listen(self, heard: Heard) -> None:
        del heard  # messages can only be received here

    def close(self, code: int, reason: str) -> None:
        del reason
        if self.closed is None:
            self.closed = code
            self._up.put_nowait(None)

    # the test's side

    def say(self, *frames: dict[str, Any] | str | bytes) -> None:
        """Frames in one message; a text or bytes as they are."""
        if len(frames) == 1 and not isinstance(frames[0], dict):
            self._up.put_nowait(frames[0])
            return
        self._up.put_nowait("\n".join(json.dumps(frame) for frame in frames))

    def hang_up(self) -> None:
        """The page is closed."""
        self._up.put_nowait(None)

    def block(self) -> None:
        """The socket takes nothing more."""
        self.writable = False

    def unblock(self) -> None:
        """The socket has drained."""
        self.writable = True
        self._resumed()

    @property
    def frames(self) -> list[dict[str, Any]]:
        """Everything that came, oldest first."""
        return [json.loads(line) for m in self.messages for line in m.split(b"\n")]

    def find(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        """The frames of a type with these fields."""
        return [
            frame
            for frame in self.frames
            if frame["type"] == kind and fields.items() <= frame.items()
        ]

    async def get(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The first such frame, waited for."""
        found = await eventually(lambda: self.find(kind, **fields), within=5, what=kind)
        return found[0]


@asynccontextmanager
async def connected(
    inside: InProcess, *, hello: dict[str, Any] | None = None
) -> AsyncGenerator[MemoryPeer]:
    """A connection over a `MemoryPeer` that has said hello (unless `hello` is empty)."""
    peer = MemoryPeer()
    async with asyncio.TaskGroup() as group:
        group.create_task(Connection(peer, inside.delivery).run())
        if hello != {}:
            peer.say({"type": "hello", **(hello or {})})
            await peer.get("welcome")
        try:
            yield peer
        finally:
            peer.hang_up()


class ManualClock:
    """Seconds that pass when the test says so."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
