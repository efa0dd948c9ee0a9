"""Which node has a slot, and what a Cluster's answers lead to; nodes here only say what is set."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest

from gateway.broker.redis.client import RedisClient
from gateway.broker.redis.cluster import Cluster
from gateway.errors import BrokerUnavailable

Says = Callable[[bytes], bytes]


def test_slots_go_by_the_hash_tag() -> None:
    assert Cluster.slot(b"agw:{3}:s:a:meta") == Cluster.slot(b"{3}") != Cluster.slot(b"{4}")


class FakeNode:
    """Answers each command as told; CLUSTER SLOTS with itself, or another, as master of all."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[bytes] = []
        self.slots_at = port
        self.hangs = False
        self.answers: list[bytes] = []

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while words := await read_command(reader):
            if self.hangs:
                continue
            if words[0] == b"CLIENT":
                writer.write(b"+OK\r\n")
            elif words[0] == b"CLUSTER":
                master = b"*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % self.slots_at
                writer.write(b"*1\r\n*3\r\n:0\r\n:16383\r\n" + master)
            else:
                self.asked.append(b" ".join(words))
                writer.write(self.answers.pop(0) + b"\r\n")
        writer.close()


async def read_command(reader: asyncio.StreamReader) -> list[bytes]:
    line = await reader.readline()
    words: list[bytes] = []
    for _ in range(int(line[1:] or 0)):
        length = int((await reader.readline())[1:])
        words.append((await reader.readexactly(length + 2))[:-2])
    return words


@asynccontextmanager
async def node() -> AsyncGenerator[FakeNode]:
    made = FakeNode(0)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = made.slots_at = server.sockets[0].getsockname()[1]
    async with server:
        yield made


@asynccontextmanager
async def client_of(url: str) -> AsyncGenerator[RedisClient]:
    client = RedisClient(url)
    yield client
    await client.close()


async def test_moved_is_followed_and_remembered() -> None:
    async with node() as old, node() as new, client_of(old.url) as client:
        slot = Cluster.slot(b"k")
        old.answers = [b"-MOVED %d 127.0.0.1:%d" % (slot, new.port)]
        new.answers = [b":1", b":2"]
        assert [await client.command("INCR", "k") for _ in range(2)] == [1, 2]
        assert (len(old.asked), len(new.asked)) == (1, 2)


async def test_ask_is_followed_once() -> None:
    async with node() as old, node() as new, client_of(old.url) as client:
        old.answers = [b"-ASK %d 127.0.0.1:%d" % (Cluster.slot(b"k"), new.port), b":2"]
        new.answers = [b"+OK", b":1"]
        assert [await client.command("INCR", "k") for _ in range(2)] == [1, 2]
        assert new.asked == [b"ASKING", b"INCR k"]


async def test_a_batch_finds_what_moved() -> None:
    async with node() as old, node() as new, client_of(old.url) as client:
        moved = b"-MOVED %d 127.0.0.1:%d" % (Cluster.slot(b"k"), new.port)
        old.answers = [moved, b":1", moved, b":1"]
        new.answers = [b":2"]
        assert await client.commands([("GET", "k"), ("GET", "other")]) == [2, 1]


@pytest.mark.parametrize("answer", [b"-CLUSTERDOWN The cluster is down", b"-TRYAGAIN not now"])
async def test_down_is_asked_again(answer: bytes) -> None:
    async with node() as only, client_of(only.url) as client:
        only.answers = [answer, answer, b":1"]
        assert await client.command("INCR", "k") == 1


@pytest.mark.parametrize("loops", [False, True])
async def test_not_for_ever(loops: bool) -> None:
    """The Cluster stays down, or two nodes point to each other."""
    async with node() as one, node() as two, client_of(one.url) as client:
        slot = Cluster.slot(b"k")
        for here, there in ((one, two), (two, one)):
            said = b"-MOVED %d 127.0.0.1:%d" % (slot, there.port) if loops else b"-CLUSTERDOWN x"
            here.answers = [said] * 500
        loop = asyncio.get_running_loop()
        started = loop.time()
        with pytest.raises(BrokerUnavailable):
            await client.command("INCR", "k")
        assert 1.5 < loop.time() - started < 15
        assert len(one.asked) + len(two.asked) < 100


async def test_a_lost_answer_is_not_asked_for_again() -> None:
    async with node() as only, client_of(only.url) as client:
        only.answers = [b":1"]
        assert await client.command("INCR", "k") == 1
        only.hangs = True
        with pytest.raises(BrokerUnavailable):
            await client.command("INCR", "k")
        only.hangs = False
        only.answers = [b":3"]
        assert await client.command("INCR", "k") == 3
        assert len(only.asked) == 2


async def test_a_node_that_hangs_is_not_waited_for() -> None:
    async with node() as deaf, node() as other:
        deaf.hangs = True
        other.answers = [b":1"]
        url = f"redis+cluster://127.0.0.1:{deaf.port},127.0.0.1:{other.port}"
        async with client_of(url) as client:
            assert await client.command("INCR", "k") == 1
