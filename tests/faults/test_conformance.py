"""Faults, row B1: RFC 6455, in the groups and by the numbers of the Autobahn|Testsuite.

That suite needs Python 2, so its groups are here as a table: what a client sends, what must come
back from an echo behind our server (the WebSocket implementation is the gateway's, whatever
application stands behind it). Of the large groups the cases at the edges are taken.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from gateway.server import make_server, open_listener
from gateway.settings import Settings
from tests.faults.rfc6455 import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Seen,
    close,
    fragments,
    frame,
    handshaken,
    text,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.autobahn

SECONDS = 10


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends back what it gets."""
    if scope["type"] != "websocket":
        return
    await send({"type": "websocket.accept"})
    await receive()
    while (message := await receive())["type"] == "websocket.receive":
        back: dict[str, Any] = {k: v for k, v in message.items() if v is not None}
        with suppress(RuntimeError):  # a violation right behind it has closed the socket
            await send({**back, "type": "websocket.send"})


@pytest.fixture(scope="module")
async def port() -> AsyncIterator[int]:
    """Of an echo behind our server."""

    async def drain() -> None: ...

    server = make_server(echo, Settings(), drain, lifespan="off")
    listener = open_listener("127.0.0.1", 0)
    async with asyncio.TaskGroup() as group:
        group.create_task(server._serve([listener]))  # without its signal handlers
        await eventually(lambda: server.started, what="the server has started")
        yield listener.getsockname()[1]
        server.should_exit = True


@dataclass(frozen=True)
class Case:
    """Frames that are sent, what comes back, and the code of the close that ends it.

    A case without a violation and without a close of its own is closed when all has come back.
    """

    number: str
    sent: Sequence[bytes]
    seen: Sequence[Seen] = ()
    code: int | None = 1000
    """None: a close frame without a code."""
    chop: int = 0


END = close()
GREETING = "Hello-µ@ßöäüàá-UTF-8!!"
HELLO = text("Hello, world!")
HELLO_SEEN = (TEXT, b"Hello, world!")


def sizes() -> list[Case]:
    """1: frames of all lengths and both types."""
    cases: list[Case] = []
    for at, size in enumerate((0, 125, 126, 127, 128, 65535, 65536), 1):
        for group, opcode in ((1, TEXT), (2, BINARY)):
            seen = [(opcode, b"*" * size)]
            cases.append(Case(f"1.{group}.{at}", [frame(opcode, b"*" * size)], seen))
    big = [(TEXT, b"*" * 65536)]
    return [*cases, Case("1.1.8", [text(b"*" * 65536)], big, chop=997)]


def pings() -> list[Case]:
    """2: pings are answered with what they carried, unasked pongs are not."""
    binary = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"
    return [
        Case("2.1", [frame(PING)], [(PONG, b"")]),
        Case("2.2", [frame(PING, "Hello")], [(PONG, b"Hello")]),
        Case("2.3", [frame(PING, binary)], [(PONG, binary)]),
        Case("2.4", [frame(PING, b"\xfe" * 125)], [(PONG, b"\xfe" * 125)]),
        Case("2.5", [frame(PING, b"\xfe" * 126)], code=1002),
        Case("2.6", [frame(PING, b"\xfe" * 125)], [(PONG, b"\xfe" * 125)], chop=1),
        Case("2.7", [frame(PONG)]),
        Case("2.8", [frame(PONG, "unsolicited")]),
        Case("2.9", [frame(PONG, "unsolicited"), frame(PING, "p")], [(PONG, b"p")]),
        Case(
            "2.10",
            [*(frame(PING, f"{n}") for n in range(10))],
            [(PONG, f"{n}".encode()) for n in range(10)],
        ),
    ]


def reserved() -> list[Case]:
    """3 and 4: reserved bits and opcodes are protocol errors."""
    bits = [Case(f"3.{rsv}", [text("a", rsv=rsv)], code=1002) for rsv in range(1, 8)]
    bits.append(Case("3.5 ping", [frame(PING, "a", rsv=5)], code=1002))
    return bits + [
        Case(f"4.{1 if opcode < 8 else 2}.{opcode & 7}", [frame(opcode, body)], code=1002)
        for opcode in (3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF)
        for body in (b"", b"reserved")
    ]


def fragmentation() -> list[Case]:
    """5: messages in pieces, with control frames between them, and pieces of nothing."""
    first, last = text("fragment1", fin=False), frame(CONTINUATION, "fragment2")
    whole, pong = (TEXT, b"fragment1fragment2"), (PONG, b"ping")
    ping, stray = frame(PING, "ping"), frame(CONTINUATION, "non-continuation", fin=True)
    return [
        Case("5.1", [frame(PING, "p", fin=False), frame(CONTINUATION, "q")], code=1002),
        Case("5.2", [frame(PONG, "p", fin=False), frame(CONTINUATION, "q")], code=1002),
        Case("5.3", [first, last], [whole]),
        Case("5.5", [first, last], [whole], chop=1),
        Case("5.6", [first, ping, last], [pong, whole]),
        Case("5.8", [first, ping, last], [pong, whole], chop=1),
        Case("5.9", [stray, HELLO], code=1002),
        Case("5.12", [frame(CONTINUATION, "x", fin=False), HELLO], code=1002),
        Case("5.16", [frame(CONTINUATION, "x", fin=False), first, last], code=1002),
        Case("5.18", [first, text("fragment2")], code=1002),
        Case(
            "5.19",
            [
                first, frame(CONTINUATION, "fragment2", fin=False), ping,
                frame(CONTINUATION, "fragment3", fin=False),
                frame(CONTINUATION, "fragment4", fin=False), ping,
                frame(CONTINUATION, "fragment5"),
            ],
            [pong, pong, (TEXT, b"".join(b"fragment%d" % n for n in range(1, 6)))],
        ),
    ]  # fmt: skip


GOOD = (
    "",
    "κόσμε",
    "\x00",
    "\x7f",
    "\x80",
    "\u07ff",
    "\u0800",
    "\ud7ff",
    "\ue000",
    "\ufffd",
    "\ufffe",
    "\uffff",
    "\U00010000",
    "\U0010ffff",
    GREETING,
)
BAD = (
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",  # a lone surrogate
    b"\xed\xbf\xbf",
    b"\xf4\x90\x80\x80",  # beyond U+10FFFF
    b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80",
    b"\x80",  # a continuation alone
    b"\xbf\x80",
    b"\xc0\xaf",  # overlong
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xfe",
    b"\xff",
    b"\xce",  # cut off
    b"\xe1\xbd",
    b"\xf0\x90\x80",
)


def utf8() -> list[Case]:
    """6: text is UTF-8, across frames too; anything else is 1007."""
    cases = [Case(f"6 good {at}", [text(t)], [(TEXT, t.encode())]) for at, t in enumerate(GOOD)]
    cases += [
        Case(f"6 good {at} by the byte", [*fragments(t.encode(), 1)], [(TEXT, t.encode())])
        for at, t in enumerate(GOOD)
    ]
    cases += [Case(f"6 bad {at}", [text(bad)], code=1007) for at, bad in enumerate(BAD)]
    return cases + [
        Case(f"6 bad {at} by the byte", [*fragments(bad, 1)], code=1007)
        for at, bad in enumerate(BAD)
    ]


GOOD_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
BAD_CODES = (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999)


def closing() -> list[Case]:
    """7: closes are answered, nothing is after them, their codes and reasons are checked."""
    cases = [
        Case("7.1.1", [HELLO], [HELLO_SEEN]),
        Case("7.1.2", [END, END]),
        Case("7.1.3", [END, frame(PING)]),
        Case("7.1.4", [END, HELLO]),
        Case("7.3.1", [close(None)], code=None),
        Case("7.3.2", [frame(CLOSE, b"a")], code=1002),
        Case("7.3.4", [close(1000, "reason")]),
        Case("7.3.5", [close(1000, "*" * 123)]),
        Case("7.3.6", [close(1000, "*" * 124)], code=1002),
        Case("7.5.1", [close(1000, BAD[0])], code=1007),
    ]
    cases += [Case(f"7.7 {code}", [close(code)], code=code) for code in GOOD_CODES]
    return cases + [Case(f"7.9 {code}", [close(code)], code=1002) for code in BAD_CODES]


def large() -> list[Case]:
    """9 and 10: what is sent in many frames is one message."""
    body = b"*" * 65536
    return [
        Case("9.1.4", [text(b"*" * 2**19)], [(TEXT, b"*" * 2**19)]),
        Case("9.2.4", [frame(BINARY, b"\xfe" * 2**19)], [(BINARY, b"\xfe" * 2**19)]),
        Case("10.1.1", [*fragments(body, 1300)], [(TEXT, body)]),
        Case("10.1.1 binary", [*fragments(body, 1300, BINARY)], [(BINARY, body)]),
        Case("masking", [frame(TEXT, "Hello", masked=False)], code=1002),
    ]


CASES = [*sizes(), *pings(), *reserved(), *fragmentation(), *utf8(), *closing(), *large()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.number)
async def test_B1(port: int, case: Case) -> None:
    async with asyncio.timeout(SECONDS), handshaken(port) as socket:
        await socket.send(case.sent, chop=case.chop)
        assert [await socket.receive() for _ in case.seen] == list(case.seen)
        if case.code == 1000:
            await socket.send([END])
        (end,) = await socket.rest()
        code = int.from_bytes(end[1][:2]) if end[1] else None
        assert (end[0], code) == (CLOSE, case.code)


@pytest.mark.parametrize(
    "sent",
    [
        [HELLO, text("x", rsv=1)],
        [HELLO, frame(0xB)],
        [HELLO, text(b"\xff")],
        [HELLO, frame(CONTINUATION)],
    ],
    ids=["3.2", "4.1.3", "6.3", "5.10"],
)
async def test_B1_a_violation_after_a_good_message(port: int, sent: list[bytes]) -> None:
    """Informational in that suite: the echo may be lost, the verdict not."""
    async with asyncio.timeout(SECONDS), handshaken(port) as socket:
        await socket.send(sent)
        *seen, end = await socket.rest()
        assert seen in ([], [HELLO_SEEN])
        assert end[0] == CLOSE
        assert int.from_bytes(end[1][:2]) in (1002, 1007)


async def test_B1_12_and_13_compression_is_declined(port: int) -> None:
    """Off by default; an offer is no error, but a compressed frame is."""
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
    async with asyncio.timeout(SECONDS), handshaken(port, offer) as socket:
        assert b"sec-websocket-extensions" not in socket.headers.lower()
        await socket.send([HELLO])
        assert await socket.receive() == HELLO_SEEN
        await socket.send([text(b"\xf2\x48\xcd\xc9\xc9\x07\x00", rsv=4)])
        (end,) = await socket.rest()
        assert int.from_bytes(end[1][:2]) == 1002
