"""WebSockets of the real server's class, on transports that keep only what was written last."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode

from gateway.server import server_config
from gateway.transports.websocket import native_endpoint
from tests.support.inprocess import InProcess
from tests.support.waiting import eventually

HANDSHAKE = (
    b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
KEPT = 32


class Sink(asyncio.Transport):
    """Takes what is written for nothing; of it the newest few are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.written: deque[bytes] = deque(maxlen=KEPT)
        # In C: what is measured is who writes.
        vars(self)["write"] = self.written.append

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


def masked(frame: dict[str, Any]) -> bytes:
    """A frame of ours as a browser puts it on the wire."""
    return bytes(Frame(Opcode.TEXT, msgspec.json.encode(frame)).serialize(mask=True))


class Tab:
    """A client's socket, as the server holds it."""

    def __init__(self, protocol: Any) -> None:
        self.sink = Sink()
        self._protocol = protocol
        self.hear: Callable[[bytes], None] = protocol.data_received
        protocol.connection_made(self.sink)

    async def open(self, client: str, sessions: Sequence[str], **options: Any) -> None:
        """Handshake, hello, and a subscription with these options to each session."""
        self.hear(HANDSHAKE)
        await eventually(lambda: self.sink.written, what="the handshake is answered")
        wanted = [{"session": session, **options} for session in sessions]
        self.hear(masked({"type": "hello", "client": client, "sessions": wanted}))
        await eventually(lambda: self.confirmed == len(sessions), what=f"{client} is subscribed")

    @property
    def confirmed(self) -> int:
        """Subscriptions, as far as what was written is still kept."""
        return sum(message.count(b'"type":"subscribed"') for message in self.sink.written)

    @property
    def last(self) -> bytes:
        """What was written last."""
        return self.sink.written[-1]


def tabs(inside: InProcess, count: int) -> list[Tab]:
    """So many sockets of one server."""
    routes = [WebSocketRoute("/v1/ws", native_endpoint(inside.delivery, lambda _: None))]
    config = server_config(Starlette(routes=routes), inside.delivery.settings, interface="asgi3")
    config.ws_ping_interval = None  # by the clock of the machine, and nobody would answer
    config.load()
    make: Any = config.ws_protocol_class
    return [Tab(make(config, ServerState(), {})) for _ in range(count)]
