"""One real WebSocket under the connection machine: dials, reads, writes, and tells what happened.

No protocol in here: what goes through it are whole messages.
"""

import asyncio
import inspect
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidMessage,
    InvalidStatus,
    WebSocketException,
)
from websockets.typing import Subprotocol

from gateway.client.door import LOST, NO_GATEWAY, Refusal, handshake_refused, no_gateway, shown
from gateway.client.errors import GatewayError
from gateway.client.steps import Closed, Opened, Text
from gateway.client.tls import mixed_up
from protocol import SUBPROTOCOL

WRITE_SECONDS = 10
CLOSE_SECONDS = 2
MAX_MESSAGE_BYTES = 64 * 1024 * 1024  # a state with a long live message comes in one
_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_PATH = "/v1/ws"

Token: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""A token, or what gives a fresh one each time it is called; coroutine functions are awaited."""


def socket_url(url: str) -> str:
    """The URL of the WebSocket of the gateway at `url`: `/v1/ws` is added unless it ends so.

    `http://host` is enough, and `https://host/agents` is a gateway that is mounted there.

    Raises:
        ValueError: it is no URL of a gateway.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.netloc:
        raise ValueError(f"{url!r} is no URL: give http://host:port or ws://host:port/v1/ws")
    path = parts.path.rstrip("/")
    path = path if path.endswith(_PATH) else path + _PATH
    return urlunsplit((_SCHEMES[parts.scheme], parts.netloc, path, parts.query, ""))


async def fresh(token: Token | None) -> str | None:
    """The token to use now; whatever the callback raises is passed on."""
    if not callable(token):
        return token
    given = token()
    return await given if inspect.isawaitable(given) else given


News: TypeAlias = Opened | Text | Closed


class Socket:
    """Socket `number` to `url`.

    What is to be written waits in a queue that is bounded by what the machine has to say: the
    commands without an answer, and acks. A write that does not drain for 10 s ends the socket.
    `first`: none of the client's sockets was welcomed so far. `refusal` says why it did not open.
    """

    def __init__(
        self,
        number: int,
        url: str,
        token: Token | None,
        tell: Callable[[News], None],
        *,
        first: bool = True,
    ) -> None:
        self.refusal: Refusal | None = None
        self._number = number
        self._url = url
        self._token = token
        self._tell = tell
        self._first = first
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()

    def write(self, message: bytes) -> None:
        """Send a message, after those before it."""
        self._outgoing.put_nowait(message)

    async def run(self) -> None:
        """Live until the socket is lost, which is told, or until cancelled, which is not."""
        try:
            token = await fresh(self._token)
        except Exception as error:  # noqa: BLE001 - the application's callback may raise anything
            self._tell(Closed(self._number, LOST, f"No token: {error}"))
            return
        try:
            socket = await connect(self._url, **_options())
        except (OSError, WebSocketException, EOFError) as error:
            self.refusal = await self._refused(error)
            self._tell(Closed(self._number, self.refusal.code, self.refusal.reason))
            return
        try:
            self._tell(Opened(self._number, token))
            await self._converse(socket)
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(2 * CLOSE_SECONDS):
                    await socket.close()
        code = socket.close_code
        self._tell(Closed(self._number, LOST if code is None else code, socket.close_reason or ""))

    async def _refused(self, error: Exception) -> Refusal:
        if isinstance(error, InvalidStatus):
            answer = error.response
            body = bytes(answer.body or b"")
            return handshake_refused(self._url, answer.status_code, body, first=self._first)
        if self._first and _makes_no_sense(error) and (why := await mixed_up(self._url)):
            return Refusal(NO_GATEWAY, no_gateway(self._url, f"{shown(self._url)}: {why}"))
        reason = str(error) or type(error).__name__
        return Refusal(LOST, GatewayError("client.unreachable", reason, retryable=True))

    async def _converse(self, socket: ClientConnection) -> None:
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._write(socket))
            with suppress(ConnectionClosed):
                while True:
                    self._tell(Text(self._number, await socket.recv(decode=False)))
            writer.cancel()

    async def _write(self, socket: ClientConnection) -> None:
        """Ends by itself only when the socket is lost: the reader tells that."""
        try:
            while True:
                message = await self._outgoing.get()
                async with asyncio.timeout(WRITE_SECONDS):
                    await socket.send(message, text=True)
        except TimeoutError:
            socket.transport.abort()
        except ConnectionClosed:
            pass


def _options() -> dict[str, Any]:
    """Liveness is the machine's: the gateway pings, and silence is death."""
    return {
        "subprotocols": [Subprotocol(SUBPROTOCOL)],
        "compression": None,
        "max_size": MAX_MESSAGE_BYTES,
        "ping_interval": None,
        "close_timeout": CLOSE_SECONDS,
    }


def _makes_no_sense(error: Exception) -> bool:
    """Whether somebody listens there who speaks something else, or hangs up on what we say."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return False
    return isinstance(error, ssl.SSLError | InvalidMessage | EOFError | ConnectionResetError)
