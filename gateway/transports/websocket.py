"""The native protocol over WebSocket: `/v1/ws` (docs/protocol.md).

Under the server of `gateway.server` the socket itself is the connection's `Peer`: it is found in
`scope["extensions"]["gateway"]` (`transports.sockets`). Under any other ASGI server a writer task
awaits `send`. No frame is looked at here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.delivery.addresses import Visit
from gateway.delivery.connection import Connection
from gateway.delivery.delivery import Delivery
from gateway.delivery.peer import Heard, Peer
from gateway.delivery.refusal import refusal
from gateway.transports.access import invited, offered_protocols
from gateway.transports.answers import not_let_in, refused, too_many_requests
from gateway.transports.proxies import address_of
from gateway.transports.sockets import SocketPeer, content_of
from protocol import SUBPROTOCOL
from protocol.codes import CLOSES
from protocol.errors import ProtocolError

CLOSE_S = 2.0
CROWDED_S = 5
OriginCheck = Callable[[HTTPConnection], bool]
Endpoint = Callable[[WebSocket], Awaitable[None]]


class AwaitingPeer:
    """A client on any ASGI server: one message at a time is on its way, sent by `pump`."""

    def __init__(self, socket: WebSocket, write_timeout_s: float) -> None:
        self._socket = socket
        self._write_timeout_s = write_timeout_s
        self._message: bytes | None = None
        self._closing: tuple[int, str] | None = None
        self._work = asyncio.Event()
        self._gone = asyncio.Event()
        self._callback: Callable[[], None] = lambda: None

    @property
    def writable(self) -> bool:
        return self._message is None and self._closing is None and not self._gone.is_set()

    def write(self, message: bytes) -> None:
        """Hands a message to `pump`."""
        self._message = message
        self._work.set()

    def when_writable(self, callback: Callable[[], None]) -> None:
        """`callback` is called after each message that went out."""
        self._callback = callback

    def close(self, code: int, reason: str) -> None:
        """Ends `pump`, after the message that is on its way."""
        if self._closing is None:
            self._closing = (code, reason)
            self._work.set()

    async def receive(self) -> str | bytes | None:
        """The next message; None as soon as the connection is closed from either side."""
        if self._gone.is_set():
            return None
        try:
            return content_of(await self._socket.receive())
        except (WebSocketDisconnect, RuntimeError):  # RuntimeError: received after the end
            return None

    def listen(self, heard: Heard) -> None:
        """Messages can only be received here."""
        del heard

    async def pump(self) -> None:
        """Sends what is written until `close`; ends early when the client takes nothing."""
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                if self._message is not None:
                    async with asyncio.timeout(self._write_timeout_s):
                        await self._socket.send_text(self._message.decode())
                    self._message = None
                    self._callback()
                if self._closing is not None:
                    async with asyncio.timeout(CLOSE_S):
                        await self._socket.close(*self._closing)
                    return
        except (TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
            pass  # the client is gone, or as good as gone
        finally:
            self._gone.set()


Check = Callable[[HTTPConnection], ProtocolError | None]
"""Why the page that opened a connection may not use it; None: it may."""


def native_endpoint(delivery: Delivery, check: Check) -> Endpoint:
    """The endpoint of `/v1/ws`. `check` says whether a page of that Origin may connect."""

    async def endpoint(socket: WebSocket) -> None:
        visit = delivery.addresses.visit(address_of(socket.scope))
        try:
            try:
                if not await _accepted(socket, check, delivery, visit):
                    return
            except (WebSocketDisconnect, RuntimeError, OSError):
                return  # the client did not wait for the answer
            if (direct := _direct_peer(socket)) is not None:
                await Connection(direct, delivery, visit).run()
                return
            peer = AwaitingPeer(socket, delivery.settings.write_timeout_ms / 1000)
            await _run_both(Connection(peer, delivery, visit), peer)
        finally:
            visit.end()

    return endpoint


async def _accepted(socket: WebSocket, check: Check, delivery: Delivery, visit: Visit) -> bool:
    """Answers the handshake, and notes what it grants; False: with a refusal."""
    if not delivery.addresses.request(visit.address):
        await _deny(socket, too_many_requests(), 4479)
        return False
    if (error := check(socket)) is not None:
        await _deny(socket, refused(error), 4403)
        return False
    offered = offered_protocols(socket)
    if offered and SUBPROTOCOL not in offered:
        await _deny(socket, PlainTextResponse(f"This server speaks {SUBPROTOCOL}.\n", 400), 4406)
        return False
    after_s = delivery.admission.refused()
    if after_s is None and delivery.addresses.crowded(visit.address):
        after_s = CROWDED_S
    if after_s is not None:
        await _deny(socket, not_let_in(after_s), 1013)
        return False
    try:
        visit.invited = await invited(socket, delivery, visit.address)
    except Exception as error:  # noqa: BLE001 - the top of a request; `refusal` logs
        await _deny(socket, refused(refusal(error, None, None)), 4401)
        return False
    # told by a close code: pages see no HTTP status
    full = delivery.admission.full or delivery.addresses.full(visit.address)
    await socket.accept(SUBPROTOCOL if offered else None)
    if full:
        delivery.metrics.closed(4480)
        if (direct := _direct_peer(socket)) is not None:
            direct.close(4480, CLOSES[4480].text)
        else:
            await socket.close(4480, CLOSES[4480].text)
    return not full


def _direct_peer(socket: WebSocket) -> Peer | None:
    extensions = cast("dict[str, Any]", socket.scope.get("extensions") or {})
    return cast("Peer | None", extensions.get("gateway"))


async def _run_both(connection: Connection, peer: AwaitingPeer) -> None:
    """The reader ends when the writer did, and the other way round."""
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(connection.run())
        reader.add_done_callback(lambda _: peer.close(1000, ""))
        await peer.pump()
        # `receive` of some servers does not end with the socket
        await asyncio.wait([reader], timeout=CLOSE_S)
        reader.cancel()


async def _deny(socket: WebSocket, answer: Response, code: int) -> None:
    """Refuses the handshake with an HTTP answer, where the server can."""
    if "websocket.http.response" in (socket.scope.get("extensions") or {}):
        await socket.send_denial_response(answer)
        return
    await socket.close(code)


_PEERS: tuple[type[Peer], ...] = (SocketPeer, AwaitingPeer)
