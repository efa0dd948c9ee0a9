"""One real WebSocket under the machine, against small servers of the test's own."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from gateway.client.socket import News, Socket, fresh, socket_url
from gateway.client.steps import Closed, Opened, Text
from protocol import SUBPROTOCOL
from tests.support.processes import free_port
from tests.support.waiting import eventually


@asynccontextmanager
async def server(
    talk: Callable[[ServerConnection], Awaitable[None]], **options: Any
) -> AsyncGenerator[str]:
    async with serve(talk, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL], **options) as started:  # type: ignore[list-item] - a NewType of str
        port = next(iter(started.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/v1/ws"


async def lived(url: str, token: Any = None, say: bytes = b"hello") -> list[News]:
    """Everything that a socket tells in its life; it says one message when it is open."""
    told: list[News] = []

    def tell(news: News) -> None:
        told.append(news)
        if isinstance(news, Opened):
            socket.write(say)

    socket = Socket(7, url, token, tell)
    await socket.run()
    return told


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://host:8000", "ws://host:8000/v1/ws"),
        ("https://host/", "wss://host/v1/ws"),
        ("https://host/agents", "wss://host/agents/v1/ws"),
        ("http://host/agents/?x=1", "ws://host/agents/v1/ws?x=1"),
        ("ws://host/v1/ws/", "ws://host/v1/ws"),
        ("ws://host/not-v1/ws", "ws://host/not-v1/ws/v1/ws"),
        ("wss://host/agents/v1/ws?x=1", "wss://host/agents/v1/ws?x=1"),
    ],
)
def test_urls(given: str, url: str) -> None:
    assert socket_url(given) == url


@pytest.mark.parametrize("given", ["host:8000", "ftp://host", "http://", ""])
def test_what_is_no_url(given: str) -> None:
    with pytest.raises(ValueError, match="http://host:port"):
        socket_url(given)


async def test_tokens_of_every_kind() -> None:
    async def later() -> str:
        return "later"

    assert await fresh(None) is None
    assert await fresh("now") == "now"
    assert await fresh(lambda: "called") == "called"
    assert await fresh(later) == "later"


async def test_it_opens_speaks_hears_and_closes() -> None:
    async def talk(peer: ServerConnection) -> None:
        assert peer.subprotocol == SUBPROTOCOL
        heard = await peer.recv()
        assert isinstance(heard, str), "frames go as text"
        await peer.send(heard.upper())
        await peer.close(4403, "go")

    async with server(talk) as url:
        told = await lived(url, lambda: "secret")
    assert told == [Opened(7, "secret"), Text(7, b"HELLO"), Closed(7, 4403, "go")]


async def test_a_connection_that_breaks_is_1006() -> None:
    async def talk(peer: ServerConnection) -> None:
        await peer.recv()
        peer.transport.abort()

    async with server(talk) as url:
        told = await lived(url)
    assert [(type(news), getattr(news, "code", None)) for news in told] == [
        (Opened, None),
        (Closed, 1006),
    ]


async def test_nobody_there_and_no_token_are_losses() -> None:
    (closed,) = await lived(f"ws://127.0.0.1:{free_port()}/v1/ws")
    assert isinstance(closed, Closed)
    assert (closed.code, bool(closed.reason)) == (1006, True)

    def broken() -> str:
        raise LookupError("signed out")

    assert await lived("ws://127.0.0.1:1/v1/ws", broken) == [
        Closed(7, 1006, "No token: signed out")
    ]


@pytest.mark.parametrize(("status", "code"), [(403, 4404), (401, 4401), (503, 1006), (404, 4404)])
async def test_a_refused_handshake(status: int, code: int) -> None:
    def refuse(peer: ServerConnection, _: Request) -> Response:
        return peer.respond(HTTPStatus(status), "no")

    async def talk(_: ServerConnection) -> None:
        raise AssertionError("never opened")

    async with server(talk, process_request=refuse) as url:
        (closed,) = await lived(url)
    assert isinstance(closed, Closed)
    assert closed.code == code
    assert f"{url} answered HTTP {status} (" in closed.reason


async def test_a_socket_that_was_given_up_says_nothing_and_hangs_up() -> None:
    codes: list[int | None] = []

    async def talk(peer: ServerConnection) -> None:
        await peer.wait_closed()
        codes.append(peer.close_code)

    async with server(talk) as url:
        told: list[News] = []
        running = asyncio.create_task(Socket(7, url, None, told.append).run())  # noqa: TID251 - awaited below
        await eventually(lambda: told == [Opened(7)])
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await eventually(lambda: codes == [1000])
    assert told == [Opened(7)]
