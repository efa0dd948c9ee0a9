"""uvicorn, hardened: how it is set up, and a `Server` that drains before it closes.

Its WebSockets are `transports.sockets`. The subclasses rely on uvicorn's private names;
`tests/test_server.py` holds them as a contract. What is mended, by what was measured:

- a request's head that came slowly or never was waited for: it has a deadline;
- on shutdown all sockets were closed before anything could drain, and tasks were left behind.
"""

import asyncio
import logging
import math
import os
import re
import signal
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from types import FrameType
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from gateway.delivery.resources import Resources
from gateway.settings import Settings
from gateway.transports.sockets import FRAMES_BURST, FRAMES_PER_S, Framed, GatewayWS

SEND_BUFFER_BYTES = 256 * 1024
USER_TIMEOUT_MS = 20_000
HANDSHAKE_S = 5.0
HEAD_BYTES = 16_384
LAST_DESCRIPTORS = 16
"""Not for sockets: accepting must not fail for lack of one, and a broker may reconnect."""
PING_S, PONG_S = 20.0, 15.0
GRACE_S = 5
JOIN_S = 3.0
FORCED = 130
"""The exit code of a process that Ctrl-C has ended, as shells have it."""
_QUERY = re.compile(r"\?[^\s\"']*")

log = logging.getLogger("gateway.server")


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

    def handle_events(self) -> None:
        """The base class has made a task for a request that came whole; it has not begun."""
        super().handle_events()
        scope = cast("dict[str, Any] | None", self.scope)
        if scope is not None:
            scope.setdefault("extensions", {})["gateway"] = self.transport.abort

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


class Beside(uvicorn.Server):
    """A second one in a process: signals are the first one's."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """The base class would take them over."""
        yield


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
    fields = {
        "framed": Framed(),
        "frames_per_s": max(FRAMES_PER_S, settings.frames_per_s),
        "frames_burst": max(FRAMES_BURST, settings.frames_burst),
    }
    return type("GatewayWS", (GatewayWS,), fields)


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


@asynccontextmanager
async def beside(app: ASGIApp, settings: Settings, listener: socket.socket) -> AsyncGenerator[None]:
    """Serves another application in the same loop, until the block ends."""
    server = Beside(server_config(app, settings))
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve([listener]))
        try:
            yield
        finally:
            server.should_exit = True
            await serving


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
