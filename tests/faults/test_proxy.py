"""The fault proxy does to connections what it says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from tests.faults.proxy import FaultProxy, fault_proxy
from tests.support.waiting import eventually

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo:
    """Answers each line with itself; what it heard is kept."""

    def __init__(self) -> None:
        self.heard = b""
        self.ended = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while line := await reader.readline():
                self.heard += line
                writer.write(line)
                await writer.drain()
            self.ended += 1
            writer.write(b"bye\n")
            await writer.drain()
        writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    made = Echo()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[FaultProxy]:
    async with fault_proxy(echo.port) as made:
        yield made


@pytest.fixture
async def pair(proxy: FaultProxy) -> AsyncIterator[Pair]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    yield reader, writer
    writer.transport.abort()


async def say(pair: Pair, text: bytes) -> bytes:
    pair[1].write(text)
    async with asyncio.timeout(30):
        return await pair[0].readline()


async def test_it_forwards_and_counts(proxy: FaultProxy, pair: Pair) -> None:
    assert await say(pair, b"hello\n") == b"hello\n"
    assert (len(proxy), proxy.opened) == (1, 1)
    pair[1].write_eof()
    assert await pair[0].read() == b"bye\n"
    await eventually(lambda: len(proxy) == 0)


async def test_cut_is_a_reset(proxy: FaultProxy, pair: Pair) -> None:
    await say(pair, b"hello\n")
    assert proxy.cut() == 1
    with pytest.raises(ConnectionResetError):
        await pair[0].readexactly(1)


async def test_cut_after_so_many_bytes(proxy: FaultProxy, pair: Pair) -> None:
    proxy.cut_after("down", 8)
    assert await say(pair, b"hello\n") == b"hello\n"
    pair[1].write(b"hello\n")
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await pair[0].readexactly(3)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await say((reader, writer), b"hello again\n") == b"hello again\n"  # once
    writer.transport.abort()


async def test_refuse_cuts_all_who_come(proxy: FaultProxy, pair: Pair) -> None:
    await say(pair, b"hello\n")
    proxy.refuse()
    with pytest.raises(ConnectionResetError):
        await pair[0].readexactly(1)
    other, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await other.readexactly(1)
    writer.transport.abort()
    proxy.heal()
    other, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await say((other, writer), b"again\n") == b"again\n"
    writer.transport.abort()


async def test_swallow_down_and_up(proxy: FaultProxy, pair: Pair, echo: Echo) -> None:
    await say(pair, b"0\n")
    proxy.swallow("down")
    pair[1].write(b"lost\n")  # it arrives; its answer does not
    await eventually(lambda: proxy.down.swallowed == 5)
    assert echo.heard == b"0\nlost\n"
    proxy.heal()
    assert await say(pair, b"1\n") == b"1\n"
    proxy.swallow("up")
    pair[1].write(b"gone\n")
    await eventually(lambda: proxy.up.swallowed == 5)
    proxy.heal()
    assert await say(pair, b"2\n") == b"2\n"
    assert echo.heard == b"0\nlost\n1\n2\n"


async def test_pause_holds_and_keeps_the_order(proxy: FaultProxy, pair: Pair, echo: Echo) -> None:
    await say(pair, b"0\n")
    proxy.pause("up")
    for at in range(100):
        pair[1].write(b"%d\n" % at)
    assert echo.heard == b"0\n"
    proxy.heal()
    answers = [await pair[0].readline() for _ in range(100)]
    assert answers == [b"%d\n" % at for at in range(100)]


async def test_half_close_up(proxy: FaultProxy, pair: Pair, echo: Echo) -> None:
    await say(pair, b"hello\n")
    proxy.half_close("up")
    async with asyncio.timeout(30):
        assert await pair[0].readline() == b"bye\n"
    assert echo.ended == 1


async def test_a_lost_reply(proxy: FaultProxy, pair: Pair, echo: Echo) -> None:
    proxy.lose_reply(lambda data: b"pay" in data)
    assert await say(pair, b"hello\n") == b"hello\n"
    with pytest.raises(ConnectionResetError):
        await say(pair, b"pay\n")
    assert echo.heard == b"hello\npay\n"
    assert proxy.caught.is_set()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await say((reader, writer), b"pay\n") == b"pay\n"  # once
    writer.transport.abort()


async def test_a_reply_that_never_comes(proxy: FaultProxy, pair: Pair, echo: Echo) -> None:
    proxy.lose_reply(reset=False)
    pair[1].write(b"pay\n")
    await proxy.caught.wait()
    pair[1].write(b"hello?\n")
    await eventually(lambda: echo.heard == b"pay\nhello?\n")
    assert len(proxy) == 1


async def test_only_some_connections(proxy: FaultProxy, pair: Pair) -> None:
    proxy.only(lambda data: b"listen" in data)
    proxy.swallow("down")
    assert await say(pair, b"hello\n") == b"hello\n"
    pair[1].write(b"listen\n")
    await eventually(lambda: proxy.down.swallowed == 7)


async def test_trickle_and_delay_lose_nothing(proxy: FaultProxy, pair: Pair) -> None:
    proxy.trickle()
    assert await say(pair, b"x" * 300 + b"\n") == b"x" * 300 + b"\n"
    proxy.heal()
    proxy.delay(0.05)
    began = asyncio.get_running_loop().time()
    assert await say(pair, b"slow\n") == b"slow\n"
    assert asyncio.get_running_loop().time() - began >= 0.1
