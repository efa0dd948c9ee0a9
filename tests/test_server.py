"""The hardened server against raw sockets: whoever misbehaves is answered, limited or cut off."""

import asyncio
import inspect
import logging
import signal
import socket
import struct
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import httpx2
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from websockets.frames import Frame, Opcode

from gateway import server as server_module
from gateway.delivery import roster as roster_module
from gateway.server import QueryFilter
from gateway.settings import Settings
from gateway.transports import sockets as sockets_module
from tests.faults.proxy import fault_proxy
from tests.support.inprocess import InProcess, delta, in_process, raw_socket, serving
from tests.support.waiting import eventually
from tests.support.wire import Tab

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


@pytest.fixture
async def inside() -> AsyncIterator[InProcess]:
    settings = Settings(write_timeout_ms=200, max_frame_bytes=65_536)
    async with in_process(settings=settings) as inside:
        yield inside


@pytest.fixture(autouse=True)
def short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets_module, "LINGER_S", 0.2)


@pytest.fixture
async def port(inside: InProcess) -> AsyncIterator[int]:
    async with serving(inside) as port:
        yield port


# --- what of uvicorn and websockets it relies on


def test_the_private_names_it_relies_on() -> None:
    """Fails when uvicorn changes what `GatewayHTTP` and `Server` build on."""
    http = H11Protocol
    overridden: dict[type, list[str]] = {
        http: ["connection_made", "connection_lost", "data_received"],
        uvicorn.Server: [
            *("shutdown", "startup", "_serve", "_wait_tasks_to_complete", "handle_exit"),
        ],
    }
    for base, names in overridden.items():
        for name in names:
            assert callable(getattr(base, name)), f"{base.__name__}.{name}"
    assert "self.cycle" in inspect.getsource(http.__init__)
    shutdown = inspect.getsource(uvicorn.Server.shutdown)
    assert "self.servers" in shutdown
    assert "self.server_state.tasks" in shutdown
    assert "self.handle_exit" in inspect.getsource(uvicorn.Server.capture_signals)
    assert "self.should_exit" in inspect.getsource(uvicorn.Server.on_tick)


# --- a raw client


def handshake(*headers: str, path: str = "/v1/ws") -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def framed(payload: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True) -> bytes:
    return bytes(Frame(opcode, payload, fin=fin).serialize(mask=True))


@asynccontextmanager
async def upgraded(port: int) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with raw_socket(port) as (reader, writer):
        writer.write(handshake())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in head
        yield reader, writer


async def until_closed(reader: asyncio.StreamReader, within: float = 15) -> bytes:
    """Everything until the server closes, however it does."""
    received = b""
    try:
        async with asyncio.timeout(within):
            while chunk := await reader.read(65_536):
                received += chunk
    except ConnectionResetError:
        pass
    return received


def close_code(received: bytes) -> int:
    """The code in the close frame that ends what was received."""
    at = received.rindex(b"\x88")
    (code,) = struct.unpack("!H", received[at + 2 : at + 4])
    return code


async def gone(inside: InProcess, within: float = 20) -> None:
    """Nothing is left of any connection."""
    await eventually(lambda: len(inside.delivery.roster) == 0, within=within)


# --- those who do not read


async def test_a_client_that_never_reads_is_cut_off_and_others_are_not(
    inside: InProcess, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster_module, "TICK_S", 0.05)
    await inside.create("s_1")
    subscription = [{"session": "s_1"}]
    async with Tab(f"ws://127.0.0.1:{port}/v1/ws", sessions=subscription) as tab:
        await tab.wait_for("subscribed")
        async with upgraded(port) as (_, writer):
            writer.write(framed(b'{"type":"hello","sessions":[{"session":"s_1"}]}'))
            await eventually(lambda: len(inside.delivery.hub._follows["s_1"].subscribers) == 2)
            for n in range(60):
                await inside.append("s_1", *(delta("x" * 5000, part=m % 2) for m in range(20)))
                await tab.wait_for(
                    "message.delta", since=max(0, tab.mark() - 1), seq=1 + 20 * (n + 1)
                )
            await eventually(lambda: len(inside.delivery.roster) == 1, within=10)
            closed = inside.delivery.metrics.render()[0]
            assert b'connections_closed_total{code="4458"} 1.0' in closed
            await inside.append("s_1", delta("still here"))
            await tab.wait_for("message.delta", seq=1202)
            tab.assert_dense("s_1")


async def test_pings_that_are_never_answered_for_lack_of_reading(
    inside: InProcess, port: int
) -> None:
    async with upgraded(port) as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        ping = framed(b"x" * 125, Opcode.PING)
        began = time.monotonic()
        for _ in range(400):
            if writer.is_closing():
                break
            writer.write(ping * 100)
            await asyncio.sleep(0)
        await gone(inside)
        assert time.monotonic() - began < 20


async def test_a_client_that_does_not_answer_a_close(
    inside: InProcess, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with upgraded(port) as (reader, _):
        (connection,) = inside.delivery.roster._members
        connection.abort()
        assert close_code(await until_closed(reader)) == 1012
        await gone(inside)


async def test_no_pong(inside: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "PING_S", 0.1)
    monkeypatch.setattr(server_module, "PONG_S", 0.1)
    async with serving(inside) as port, upgraded(port) as (reader, _):
        assert close_code(await until_closed(reader)) == 4457
        await gone(inside)


async def test_a_pong_that_came_while_the_process_stood_still(
    inside: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read before anybody is judged."""
    monkeypatch.setattr(server_module, "PING_S", 0.1)
    monkeypatch.setattr(server_module, "PONG_S", 0.2)
    blocked: list[float] = []
    ping = sockets_module.GatewayWS.send_keepalive_ping

    def ping_and_block(socket: sockets_module.GatewayWS) -> None:
        ping(socket)
        if not blocked:
            blocked.append(1.5)
            socket.loop.call_soon(time.sleep, 1.5)

    monkeypatch.setattr(sockets_module.GatewayWS, "send_keepalive_ping", ping_and_block)
    async with serving(inside) as port, fault_proxy(port) as proxy, Tab(proxy.url) as tab:
        await eventually(lambda: blocked)
        await tab.send({"type": "ping"})
        await tab.wait_for("pong")
        (connection,) = inside.delivery.roster._members
        assert tab.close_code is None, connection


# --- those who send too much


async def sent(port: int, *chunks: bytes) -> bytes:
    async with upgraded(port) as (reader, writer):
        for chunk in chunks:
            writer.write(chunk)
        return await until_closed(reader)


async def test_too_many_fragments(inside: InProcess, port: int) -> None:
    first = framed(b"{", fin=False)
    more = framed(b" ", Opcode.CONT, fin=False)
    assert close_code(await sent(port, first, more * 70)) == 1009
    await gone(inside)


async def test_a_message_in_64_fragments_is_a_message(inside: InProcess, port: int) -> None:
    hello = b'{"type":"hello","client":"tab_A"' + b" " * 60 + b"}"
    pieces = [bytes([byte]) for byte in hello[:62]]
    async with upgraded(port) as (reader, writer):
        writer.write(framed(pieces[0], fin=False))
        for piece in pieces[1:]:
            writer.write(framed(piece, Opcode.CONT, fin=False))
        writer.write(framed(hello[62:], Opcode.CONT))
        assert b"welcome" in await reader.read(1024)
    await gone(inside)


async def test_a_flood_of_tiny_frames(inside: InProcess, port: int) -> None:
    assert close_code(await sent(port, framed(b"", Opcode.PONG) * 5000)) == 4479
    await gone(inside)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param(framed(b"x" * 65_537), 1009, id="a large message"),
        pytest.param(b"\x81\xff" + struct.pack("!Q", 2**40), 1009, id="a claim of 2^40 bytes"),
        pytest.param(framed(b"\xff\xfe"), 1007, id="no UTF-8"),
        pytest.param(b"\x81\x05hello", 1002, id="unmasked"),
        pytest.param(b"\xf1\x80\x00\x00\x00\x00", 1002, id="reserved bits"),
    ],
)
async def test_what_is_no_message(
    inside: InProcess, port: int, caplog: pytest.LogCaptureFixture, frame: bytes, code: int
) -> None:
    with caplog.at_level(logging.INFO):
        assert close_code(await sent(port, frame)) == code
        await gone(inside)
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_binary_message_is_malformed_and_it_lives_on(port: int) -> None:
    async with Tab(f"ws://127.0.0.1:{port}/v1/ws") as tab:
        await tab.send_raw(b"\x00\x01")
        assert (await tab.wait_for("error"))["code"] == "frame.malformed"
        await tab.send({"type": "ping"})
        await tab.wait_for("pong")


# --- handshakes


@pytest.mark.parametrize(
    ("head", "status"),
    [
        pytest.param(handshake("Cookie: " + "x" * 9000), 431, id="a 9 kB header"),
        pytest.param(handshake(*(f"X-{n}: y" for n in range(200))), 431, id="200 headers"),
        pytest.param(handshake("Content-Length: 5"), 400, id="a body"),
        pytest.param(handshake("X-Big: " + "x" * 20_000), 431, id="a head over 16 KiB"),
        pytest.param(handshake().replace(b"Version: 13", b"Version: 12"), 400, id="version 12"),
        pytest.param(handshake().replace(b"Sec-WebSocket-Key", b"X-Key"), 400, id="no key"),
        pytest.param(handshake().replace(b"GET", b"POST"), 405, id="POST"),
        pytest.param(handshake("Sec-WebSocket-Protocol: agent-gateway.v2"), 400, id="protocol 2"),
        pytest.param(handshake(path="/nowhere"), 403, id="another path"),
    ],
)
async def test_a_refused_handshake_is_answered_and_closed(
    port: int, head: bytes, status: int
) -> None:
    async with raw_socket(port) as (reader, writer):
        writer.write(head)
        answer = await until_closed(reader)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer[:200]


@pytest.mark.parametrize("beginning", [b"", b"GET /v1/ws HTTP/1.1\r\nHost: x\r\n"])
async def test_a_head_that_does_not_come(
    port: int, monkeypatch: pytest.MonkeyPatch, beginning: bytes
) -> None:
    monkeypatch.setattr(server_module, "HANDSHAKE_S", 0.1)
    async with raw_socket(port) as (reader, writer):
        writer.write(beginning)
        assert await until_closed(reader) == b""


async def test_the_second_head_of_a_kept_connection_has_a_deadline_too(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "HANDSHAKE_S", 0.3)
    async with raw_socket(port) as (reader, writer):
        writer.write(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 404 " in await reader.read(1024)
        writer.write(b"GET /now")
        assert await until_closed(reader) == b""


async def test_an_open_connection_has_no_such_deadline(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "HANDSHAKE_S", 1.0)
    async with Tab(f"ws://127.0.0.1:{port}/v1/ws") as tab:
        await asyncio.sleep(1.5)  # longer than a handshake may take
        await tab.send({"type": "ping"})
        await tab.wait_for("pong")


# --- the end, and the log


async def test_it_drains_before_it_closes(inside: InProcess) -> None:
    async with serving(inside) as port:
        tab = await Tab(f"ws://127.0.0.1:{port}/v1/ws").open()
    assert [f["type"] for f in tab.frames] == ["welcome", "goaway"]
    assert await tab.wait_closed() == 1012
    await tab.close()
    assert len(inside.delivery.roster) == 0


async def no_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Nobody calls it."""


async def test_a_drain_that_hangs_is_left(inside: InProcess) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    config = server_module.server_config(no_app, inside.delivery.settings)
    server = server_module.Server(config, hang, 0.05)
    listener = server_module.open_listener("127.0.0.1", 0)
    async with asyncio.TaskGroup() as group:
        group.create_task(server._serve([listener]))
        await eventually(lambda: server.started)
        server.should_exit = True


async def test_handlers_are_joined_before_it_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they use is closed next."""
    monkeypatch.setattr(server_module, "GRACE_S", 0.1)
    joined = asyncio.Event()

    async def tidy(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)  # it takes its time
            joined.set()

    async def drain() -> None:
        """Nothing to wait for."""

    server = server_module.make_server(tidy, Settings(), drain)
    listener = server_module.open_listener("127.0.0.1", 0)
    async with asyncio.TaskGroup() as group:
        serving_task = group.create_task(server._serve([listener]))
        await eventually(lambda: server.started)
        async with raw_socket(listener.getsockname()[1]) as (_, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await eventually(lambda: server.server_state.tasks)
            server.handle_exit(signal.SIGTERM, None)
            await serving_task
    assert joined.is_set()


def test_who_is_asked_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM only ever asks; the second Ctrl-C does not ask any more."""
    codes: list[int] = []
    asked: list[str] = []
    monkeypatch.setattr(server_module.os, "_exit", codes.append)
    told = server_module.Asked(lambda: asked.append("asked"))
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        told(number)
    assert (len(asked), codes) == (4, [])
    told(signal.SIGINT)
    assert codes == [130]


async def test_a_socket_above_the_last_descriptors_is_cut_off(inside: InProcess) -> None:
    async def drain() -> None:
        """Nothing to wait for."""

    http = partial(server_module.GatewayHTTP, highest=3)
    server = server_module.make_server(no_app, Settings(), drain, http=http)
    listener = server_module.open_listener("127.0.0.1", 0)
    async with asyncio.TaskGroup() as group:
        group.create_task(server._serve([listener]))
        await eventually(lambda: server.started)
        async with raw_socket(listener.getsockname()[1]) as (reader, _):
            assert await until_closed(reader) == b""
        server.should_exit = True


async def test_no_query_string_in_the_log(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with Tab(f"ws://127.0.0.1:{port}/v1/ws?token=CANARY"):
            pass
        async with httpx2.AsyncClient() as http:
            await http.get(f"http://127.0.0.1:{port}/v1/sessions?token=CANARY")
    ours = [record.getMessage() for record in caplog.records if record.name != "httpx2"]
    assert any("/v1/ws" in line for line in ours)
    assert not any("CANARY" in line for line in ours)
    record = logging.LogRecord("x", 20, "f", 1, "%s %d", ("/a?b=CANARY HTTP/1.1", 200), None)
    assert QueryFilter().filter(record)
    assert record.getMessage() == "/a HTTP/1.1 200"


def test_listeners_limit_what_the_kernel_keeps() -> None:
    with server_module.open_listener("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * 256 * 1024
        taken = listener.getsockname()[1]
        listener.listen()
        with pytest.raises(OSError):
            server_module.open_listener("127.0.0.1", taken)


def test_a_server_for_an_app(inside: InProcess) -> None:
    async def drain() -> None:
        """Nothing to wait for."""

    server = server_module.make_server(no_app, inside.delivery.settings, drain)
    assert server.config.ws_max_size == 65_536
    assert server.config.ws_per_message_deflate is False
