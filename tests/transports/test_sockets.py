"""The socket of our own server, over a transport that is the test."""

import asyncio
import inspect
import re
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol

from gateway.limits import TokenBucket
from gateway.server import server_config
from gateway.settings import Settings
from gateway.transports.sockets import PING_BACKLOG_BYTES, SocketPeer
from tests.support.inprocess import ManualClock
from tests.support.waiting import eventually

MAX_BYTES = 100_000
HANDSHAKE = (
    b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


# --- what of uvicorn and websockets it relies on


def test_the_private_names_it_relies_on() -> None:
    """Fails when uvicorn or websockets change what `GatewayWS` builds on."""
    ws = WebSocketsSansIOProtocol
    for name in (
        *("connection_made", "connection_lost", "pause_writing", "resume_writing"),
        *("data_received", "shutdown", "handle_events", "handle_connect", "handle_cont"),
        *("handle_text", "handle_bytes", "handle_ping", "handle_pong", "handle_close"),
        *("stop_keepalive", "send_receive_event_to_app", "handle_parser_exception"),
        *("keepalive_timeout", "send_keepalive_ping", "receive"),
    ):
        assert callable(getattr(ws, name)), name
    init = inspect.getsource(ws.__init__)
    for field in (
        *("transport", "queue", "handshake_initiated", "handshake_complete", "close_sent"),
        *("disconnected", "close_timer", "conn", "read_paused", "writable", "frames"),
        *("curr_msg_data_type", "pong_timer", "pending_ping_payload", "loop", "config"),
        *("ping_sent_at", "ping_timeout"),
    ):
        assert f"self.{field}" in init, field
    closing = inspect.getsource(ws.handle_close) + inspect.getsource(ws.run_asgi)
    assert "self.close_timer is not None" in closing
    assert "self.close_timer is None" in closing
    used = set(re.findall(r"self\.queue\.(\w+)\(", inspect.getsource(ws)))
    assert used == {"put_nowait", "get", "empty"}, "Inbox must have what the base class uses"
    headers = re.findall(r"self\.(?:request|response)\b", inspect.getsource(ws.send))
    assert headers, "kept for `accept` alone"
    frames = inspect.getsource(Protocol.recv_frame)
    assert "self.current_size is not None" in frames, "says whether a fragment is open"


# --- a socket


class Wire(asyncio.Transport):
    """What a socket does to its transport."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = self.aborted = self.lost = False
        self.reading = True
        self.backlog = 0

    def write(self, data: Any) -> None:
        if self.lost:
            raise RuntimeError("the handler is closed")
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.backlog

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        assert low is not None


class Visitor:
    """A socket whose application accepts and then leaves it to the test."""

    def __init__(self) -> None:
        settings = Settings(max_frame_bytes=MAX_BYTES)
        config = server_config(self._app, settings, interface="asgi3")
        config.load()
        self.wire = Wire()
        self.heard: list[str | bytes] = []
        self.peer: SocketPeer | None = None
        make: Any = config.ws_protocol_class
        self.socket: Any = make(config, ServerState(), {})
        self.socket.connection_made(self.wire)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        self.peer = scope["extensions"]["gateway"]
        await asyncio.Event().wait()

    async def open(self) -> SocketPeer:
        self.socket.data_received(HANDSHAKE)
        await eventually(lambda: self.peer is not None)
        assert self.wire.written.pop().startswith(b"HTTP/1.1 101 ")
        assert self.peer is not None
        return self.peer

    def send(self, stream: bytes, cut: int = 1 << 20) -> None:
        """What the kernel gives to read, in pieces of that size."""
        for at in range(0, len(stream), cut):
            self.socket.data_received(stream[at : at + cut])

    async def leave(self) -> None:
        """The connection is lost and the application ends."""
        self.socket.connection_lost(None)
        for task in list(self.socket.tasks):
            task.cancel()
        await eventually(lambda: not self.socket.tasks)


@pytest.fixture
async def visitor() -> Any:
    visitor = Visitor()
    yield visitor
    await visitor.leave()


def masked(payload: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True) -> bytes:
    return bytes(Frame(opcode, payload, fin=fin).serialize(mask=True))


def in_fragments(payloads: Sequence[bytes]) -> bytes:
    first, *between, last = payloads
    return (
        masked(first, fin=False)
        + b"".join(masked(payload, Opcode.CONT, fin=False) for payload in between)
        + masked(last, Opcode.CONT)
    )


CLOSED_1007 = (1007).to_bytes(2, "big")
STREAM = (
    masked(b"one")
    + masked("zwei ü".encode())
    + masked(b"ping", Opcode.PING)
    + masked(b"")
    + in_fragments([b"thr", b"e", b"e"])
    + masked(b"x" * 300)
    + masked(b"\x00\xff", Opcode.BINARY)
    + in_fragments([b"fo", b"ur"])
    + masked(b"y" * 70_000)
    + masked(b"last")
)
MESSAGES = [
    *("one", "zwei ü", "", "three", "x" * 300, b"\x00\xff", "four", "y" * 70_000, "last"),
]


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 7, 64, 4096, 1 << 20])
async def test_messages_are_heard_however_they_are_cut(visitor: Visitor, cut: int) -> None:
    (await visitor.open()).listen(visitor.heard.append)
    visitor.send(STREAM, cut)
    assert visitor.heard == MESSAGES
    assert visitor.wire.written == [b"\x8a\x04ping"]
    assert visitor.wire.reading


async def test_small_messages_that_come_alone_are_heard(visitor: Visitor) -> None:
    (await visitor.open()).listen(visitor.heard.append)
    two, three = masked(b"tw"), masked(b"three")
    for stream in (
        *(masked(b"one"), two[:4], two[4:] + three[:5], three[5:]),
        *(masked(b"fo", fin=False), masked(b"ur", Opcode.CONT)),
        *(masked("fünf".encode()), masked(b"\xff"), masked(b"late")),
    ):
        visitor.send(stream)
    assert visitor.heard == ["one", "tw", "three", "four", "fünf"]
    assert CLOSED_1007 in visitor.wire.written[-1]


async def test_small_messages_that_come_alone_are_metered(visitor: Visitor) -> None:
    (await visitor.open()).listen(visitor.heard.append)
    visitor.socket._metered = TokenBucket(1, 20, ManualClock())
    for _ in range(40):
        visitor.send(masked(b"one"))
    assert len(visitor.heard) == 20
    assert not visitor.socket.open


async def test_who_reads_slowly_may_ping(visitor: Visitor) -> None:
    """There is no pong where it would only wait; another message is heard."""
    (await visitor.open()).listen(visitor.heard.append)
    for backlog, pongs in ((PING_BACKLOG_BYTES + 1, 0), (0, 1)):
        visitor.wire.backlog = backlog
        visitor.send(masked(b"alive?", Opcode.PING) + masked(b"one"))
        assert len(visitor.wire.written) == pongs
    assert visitor.heard == ["one", "one"]
    assert visitor.socket.open


async def test_what_came_before_somebody_listens_is_heard_first(visitor: Visitor) -> None:
    peer = await visitor.open()
    visitor.send(STREAM, 64)
    assert not visitor.wire.reading
    first = await peer.receive()
    peer.listen(visitor.heard.append)
    visitor.send(masked(b"then"))
    assert [first, *visitor.heard] == [*MESSAGES, "then"]
    visitor.socket.connection_lost(None)
    visitor.socket.connections.add(visitor.socket)  # the fixture loses it once more
    assert await peer.receive() is None


async def test_nobody_hears_what_came_after_the_end(visitor: Visitor) -> None:
    peer = await visitor.open()
    visitor.send(masked(b"one") + masked(b"", Opcode.CLOSE))
    peer.listen(visitor.heard.append)
    assert visitor.heard == ["one"]
    assert await peer.receive() is None


async def test_who_closes_hears_no_more(visitor: Visitor) -> None:
    peer = await visitor.open()

    def heard(message: str | bytes) -> None:
        visitor.heard.append(message)
        peer.close(4400, "abuse")

    peer.listen(heard)
    visitor.send(masked(b"one") + masked(b"two") + masked(b"thr"), 1 << 20)
    visitor.send(masked(b"four"))
    assert visitor.heard == ["one"]
    assert visitor.wire.written == [b"\x88\x07\x11\x30abuse"]
    assert not peer.writable


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        pytest.param(masked(b"x" * (MAX_BYTES + 1)), 1009, id="too large"),
        pytest.param(b"\x81\xff\x7f" + b"\xff" * 7, 1009, id="the claim of it"),
        pytest.param(masked(b"\xff"), 1007, id="no UTF-8"),
        pytest.param(b"\x81\x01x", 1002, id="unmasked"),
        pytest.param(b"\xc1\x81\x00\x00\x00\x00x", 1002, id="a reserved bit"),
        pytest.param(masked(b"a", fin=False) + masked(b"b"), 1002, id="a fragment left open"),
        pytest.param(masked(b"b", Opcode.CONT), 1002, id="a fragment of nothing"),
    ],
)
@pytest.mark.parametrize("cut", [1, 1 << 20])
async def test_what_is_no_message_ends_it(
    visitor: Visitor, bad: bytes, code: int, cut: int
) -> None:
    (await visitor.open()).listen(visitor.heard.append)
    visitor.send(masked(b"one") + bad + masked(b"two"), cut)
    assert visitor.heard == ["one"]
    assert visitor.wire.written[-1][0] == 0x88
    assert int.from_bytes(visitor.wire.written[-1][2:4], "big") == code


async def test_frames_before_the_handshakes_answer_are_the_parsers(visitor: Visitor) -> None:
    """Who does not wait for the 101 may have sent half a frame."""
    visitor.socket.data_received(HANDSHAKE)
    early = masked(b"early")
    visitor.send(early[:5])
    await eventually(lambda: visitor.peer is not None)
    assert visitor.peer is not None
    visitor.peer.listen(visitor.heard.append)
    visitor.send(early[5:] + masked(b"late"))
    assert visitor.heard == ["early", "late"]


# --- the way down


async def test_one_message_to_many_is_framed_once(visitor: Visitor) -> None:
    peer = await visitor.open()
    message = b"x" * 200
    peer.write(message)
    peer.write(message)
    peer.write(b"other")
    peer.write(message)
    one, two, other, again = visitor.wire.written
    assert one is two
    assert other == b"\x81\x05other"
    assert one == again == b"\x81\x7e\x00\xc8" + message


async def test_it_is_writable_while_the_transport_takes_more(visitor: Visitor) -> None:
    peer = await visitor.open()
    drained: list[bool] = []
    peer.when_writable(lambda: drained.append(peer.writable))
    assert peer.writable
    visitor.socket.pause_writing()
    assert not peer.writable
    visitor.socket.resume_writing()
    assert peer.writable
    assert drained == [True]


async def test_a_transport_that_is_lost_takes_nothing(visitor: Visitor) -> None:
    peer = await visitor.open()
    visitor.wire.lost = True
    peer.write(b"x")
    assert not peer.writable
    visitor.wire.lost = False
    peer.write(b"x")
    visitor.socket.resume_writing()
    assert visitor.wire.written == []
