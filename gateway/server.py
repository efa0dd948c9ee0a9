"""uvicorn, hardened: protocol classes and a `Server` that drains before it closes.

The subclasses rely on uvicorn's private names; `tests/test_server.py` holds them as a contract.
What is mended, by what was measured:

- a peer that never reads was never freed: every close is followed by an abort;
- frames, fragments and pings were unmetered: token buckets, in slices of 4 KiB;
- a refused handshake was not answered, a slow one never ended: both are now;
- on shutdown all sockets were closed before anything could drain, and tasks were left behind.

Frames of the gateway go straight to the transport, one `write` per message (`write_text`).
"""

import asyncio
import logging
import math
import os
import re
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request

from gateway.delivery.resources import Resources
from gateway.limits import TokenBucket
from gateway.settings import Settings

SLICE_BYTES = 4096
MAX_FRAGMENTS = 64
LATE_FRAMES = 256
"""After our close so many more are read, in search of the answer to it."""
FRAMES_PER_S, FRAMES_BURST = 1_000.0, 2_000.0
WRITE_HIGH_BYTES, WRITE_LOW_BYTES = 256 * 1024, 64 * 1024
PING_BACKLOG_BYTES = 64 * 1024
SEND_BUFFER_BYTES = 256 * 1024
USER_TIMEOUT_MS = 20_000
LINGER_S = 2.0
HANDSHAKE_S = 5.0
HEAD_BYTES = 16_384
LAST_DESCRIPTORS = 16
"""Not for sockets: accepting must not fail for lack of one, and a broker may reconnect."""
PING_S, PONG_S = 20.0, 15.0
STOOD_STILL_S = 1.0
"""A timer that is so late says that the process was stopped, or its loop blocked."""
GRACE_S = 5
JOIN_S = 3.0
FORCED = 130
"""The exit code of a process that Ctrl-C has ended, as shells have it."""
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_QUERY = re.compile(r"\?[^\s\"']*")

log = logging.getLogger("gateway.server")


def text_header(size: int) -> bytes:
    """The head of an unmasked, unfragmented text frame (RFC 6455 section 5.2)."""
    if size < 126:
        return bytes((0x81, size))
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")


class SocketWriter:
    """The `DirectWriter` that transports find in `scope["extensions"]["gateway"]`."""

    __slots__ = ("_socket",)

    def __init__(self, ws: "GatewayWS") -> None:
        self._socket = ws

    @property
    def writable(self) -> bool:
        """Whether less than the high-water mark waits to be sent."""
        return self._socket.open and self._socket.writable.is_set()

    def write_text(self, message: bytes) -> None:
        """Sends one text message now; nothing if the socket is closing."""
        if self._socket.open:
            self._socket.transport.write(text_header(len(message)) + message)

    def when_writable(self, callback: Callable[[], None]) -> None:
        """Called whenever the socket has drained below the low-water mark."""
        self._socket.resumed = callback

    def close_with(self, code: int, reason: str) -> None:
        """Closes; cut off after 2 s whatever the peer does."""
        self._socket.close_with(code, reason)


class GatewayWS(WebSocketsSansIOProtocol):
    """One WebSocket that cannot be kept open by a peer who does not read."""

    frames_per_s = FRAMES_PER_S
    frames_burst = FRAMES_BURST

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.resumed: Callable[[], None] = lambda: None
        self._metered = TokenBucket(self.frames_per_s, self.frames_burst, self.loop.time)
        self._fragments = 0
        self._late = 0
        self._abort_timer: asyncio.TimerHandle | None = None

    @property
    def open(self) -> bool:
        """Whether messages may be sent."""
        return self.handshake_complete and not (
            self.close_sent or self.disconnected or self.transport.is_closing()
        )

    def close_with(self, code: int, reason: str) -> None:
        """Sends a close frame if it can and cuts the peer off after 2 s."""
        if self.open:
            self.stop_keepalive()
            with suppress(InvalidState):
                self.conn.send_close(code, reason)
                self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            disconnect: Any = {"type": "websocket.disconnect", "code": code, "reason": reason}
            self.queue.put_nowait(disconnect)
            if self.read_paused:  # or the peer's answer is never read
                self.read_paused = False
                self.transport.resume_reading()
            # its presence tells the base class to wait for the peer's answer
            self.close_timer = self.loop.call_later(LINGER_S, self.transport.abort)
        self._abort_later()

    def _abort_later(self) -> None:
        if self._abort_timer is None:
            self._abort_timer = self.loop.call_later(LINGER_S, self.transport.abort)

    # --- transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(WRITE_HIGH_BYTES, WRITE_LOW_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._abort_timer is not None:
            self._abort_timer.cancel()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.resumed()

    def data_received(self, data: bytes) -> None:
        for at in range(0, len(data), SLICE_BYTES):
            if self.transport.is_closing() or self._late > LATE_FRAMES:
                return
            super().data_received(data[at : at + SLICE_BYTES])
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self._refuse_handshake()

    def _refuse_handshake(self) -> None:
        """What the parser refused before there was an application: answer, then close."""
        answer = b"".join(self.conn.data_to_send())
        self.transport.write(answer or BAD_REQUEST)
        self.transport.close()
        self._abort_later()

    def shutdown(self) -> None:
        if self.open:
            self.close_with(1012, "restart")
        else:
            super().shutdown()
            self._abort_later()

    # --- frames

    def handle_events(self) -> None:
        for event in self.conn.events_received():
            if isinstance(event, Request):
                self.handle_connect(event)
            elif self.close_sent:
                self._handle_late(cast("Frame", event))
            elif not self._metered.take():
                self.close_with(4479, "rate limited")
            elif isinstance(event, Frame):
                self._handle_frame(event)

    def _handle_late(self, frame: Frame) -> None:
        """The close was sent: only its answer is of interest, and not for ever."""
        if frame.opcode is Opcode.CLOSE:
            self.handle_close(frame)
            self._abort_later()
            return
        self.conn.data_to_send()  # pongs that nobody gets
        self._late += 1
        if self._late > LATE_FRAMES:
            self.transport.pause_reading()

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            # the application's task was made, but has not begun
            extensions = cast("dict[str, Any]", self.scope.get("extensions"))
            extensions["gateway"] = SocketWriter(self)
        else:
            self._abort_later()

    def _handle_frame(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.CONT:
                self._fragments += 1
                if self._fragments > MAX_FRAGMENTS:
                    self.close_with(1009, "too many fragments")
                    return
                self.handle_cont(frame)
            case Opcode.TEXT:
                self._fragments = 1
                self.handle_text(frame)
            case Opcode.BINARY:
                self._fragments = 1
                self.handle_bytes(frame)
            case Opcode.PING:
                if self.transport.get_write_buffer_size() > PING_BACKLOG_BYTES:
                    self.close_with(4479, "rate limited")
                    return
                self.handle_ping()
            case Opcode.PONG:
                self.handle_pong(frame)
            case Opcode.CLOSE:
                self.handle_close(frame)
                self._abort_later()

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not self.close_sent:
            # as the base class, but without a traceback in the log for each bad message
            try:
                text = b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.close_with(1007, "invalid UTF-8")
                return
            self.frames = []
            self.queue.put_nowait({"type": "websocket.receive", "text": text})
            if not self.read_paused:
                self.read_paused = True
                self.transport.pause_reading()
            return
        super().send_receive_event_to_app()

    def handle_parser_exception(self) -> None:
        super().handle_parser_exception()
        self._abort_later()

    def keepalive_timeout(self) -> None:
        wait_s = self.ping_timeout or 0.0
        if self.loop.time() - self.ping_sent_at > wait_s + STOOD_STILL_S:
            # we were away, not the peer: its pong may wait to be read
            self.ping_sent_at = self.loop.time()
            self.pong_timer = self.loop.call_later(wait_s, self.keepalive_timeout)
            return
        self.pong_timer = None
        self.pending_ping_payload = None
        self.close_with(4457, "no pong")


class GatewayHTTP(H11Protocol):
    """One HTTP connection whose request heads come within 5 s and 16 KiB, or not at all.

    A socket whose descriptor is above `highest` is cut off at once: what is left is needed more.
    """

    def __init__(self, *args: Any, highest: float = math.inf, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._highest = highest
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._await_head()
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.fileno() > self._highest:
            log.warning("a connection is cut off: there are too few file descriptors")
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._head_came()

    def data_received(self, data: bytes) -> None:
        if self._idle:
            self._await_head()
        super().data_received(data)
        if not self._idle or self.transport.get_protocol() is not self:
            self._head_came()

    @property
    def _idle(self) -> bool:
        """Whether no request is being answered."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is None or cycle.response_complete

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HANDSHAKE_S, self.transport.abort)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class Server(uvicorn.Server):
    """Drains before it closes: listeners, then `drain` (at most `drain_s`), then sockets.

    A second SIGTERM changes nothing; a second SIGINT (Ctrl-C) ends the process at once. `ending`
    is called for each of them.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Callable[[], Awaitable[None]],
        drain_s: float,
        ending: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._drain_s = drain_s
        self._tell_ending = ending
        self._asked = Asked(self._ask)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The base class would raise the signal once more when all is over."""
        self._asked(sig, frame)

    def _ask(self) -> None:
        self.should_exit = True
        self._tell_ending()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """The base class would close every socket at once, and leave its tasks unawaited."""
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        try:
            async with asyncio.timeout(self._drain_s):
                await self._drain()
        except TimeoutError:
            log.warning("drain took longer than %s s", self._drain_s)
        await super().shutdown(sockets)
        if tasks := list(self.server_state.tasks):
            # cancelled by the base class; nothing they use may end before them
            await asyncio.wait(tasks, timeout=JOIN_S)


class Asked:
    """A handler of SIGTERM and SIGINT: the first asks to end, a second Ctrl-C ends at once."""

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._interrupts = 0

    def __call__(self, number: int, _frame: FrameType | None = None) -> None:
        """Called by the interpreter between two instructions: never waits."""
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            os._exit(FORCED)
        self._ask()


class QueryFilter(logging.Filter):
    """Takes query strings out of log records: a token may be in one."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Never drops a record."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                _QUERY.sub("", arg) if isinstance(arg, str) else arg for arg in record.args
            )
        return True


def _websocket_class(settings: Settings) -> type[GatewayWS]:
    """Lets at least as many frames through as the connection behind it takes."""
    rates = {
        "frames_per_s": max(FRAMES_PER_S, settings.frames_per_s),
        "frames_burst": max(FRAMES_BURST, settings.frames_burst),
    }
    return type("GatewayWS", (GatewayWS,), rates)


def server_config(app: ASGIApp, settings: Settings, **options: Any) -> uvicorn.Config:
    """uvicorn's settings for a gateway; `options` win."""
    most = Resources().descriptors() or math.inf
    chosen: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "http": partial(GatewayHTTP, highest=most - LAST_DESCRIPTORS),
        "ws": _websocket_class(settings),
        "ws_max_size": settings.max_frame_bytes,
        "ws_per_message_deflate": False,
        "ws_ping_interval": PING_S,
        "ws_ping_timeout": PONG_S,
        "h11_max_incomplete_event_size": HEAD_BYTES,
        "timeout_graceful_shutdown": GRACE_S,
        "server_header": False,
        "proxy_headers": False,
        "access_log": False,
        "log_config": None,
        "lifespan": "off",
    }
    config = uvicorn.Config(app, **(chosen | options))
    for name in ("uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        if not any(isinstance(f, QueryFilter) for f in logger.filters):
            logger.addFilter(QueryFilter())
    return config


def make_server(
    app: ASGIApp,
    settings: Settings,
    drain: Callable[[], Awaitable[None]],
    *,
    ending: Callable[[], None] = lambda: None,
    **options: Any,
) -> Server:
    """A server that drains for at most `settings.drain_ms`; for `options` see `server_config`.

    `ending` is called, in a signal handler, for each signal that asks the process to end.
    """
    config = server_config(app, settings, **options)
    return Server(config, drain, settings.drain_ms / 1000, ending)


def open_listener(host: str, port: int) -> socket.socket:
    """A bound socket whose connections bound what the kernel keeps for a peer that does not read.

    Raises `OSError`.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener
