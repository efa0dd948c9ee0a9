"""The client's limits, and what it says of failures."""

import asyncio

import pytest
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from gateway.broker.redis.client import RedisClient, failure
from gateway.broker.redis.wire import Limits
from gateway.errors import BrokerError, BrokerUnavailable, ConfigurationError
from tests.support.processes import KeyValueServer, free_port


@pytest.mark.parametrize(
    "error",
    [
        LostConnection("gone"),
        OutOfMemoryError("command not allowed"),
        ReadOnlyError("a replica"),
        ResponseError("BUSY Redis is busy running a script"),
        ResponseError("MISCONF Redis is configured to save"),
        ResponseError("NOREPLICAS Not enough good replicas to write."),
        TimeoutError(),
        ConnectionResetError(),
    ],
)
def test_it_may_work_later(error: Exception) -> None:
    assert type(failure(error)) is BrokerUnavailable
    assert str(failure(error))


def test_it_will_not_work_later() -> None:
    assert type(failure(ResponseError("WRONGTYPE Operation against a key"))) is BrokerError


async def test_nothing_is_sent_twice() -> None:
    """A server that takes every command and hangs up instead of an answer."""
    taken: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if b"INCR" in data:
                taken.append(data)
                break
            writer.write(b"+OK\r\n" * data.count(b"CLIENT"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = RedisClient(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server:
        with pytest.raises(BrokerUnavailable):
            await client.command("INCR", "n")
        await client.close()
    assert len(taken) == 1
    assert client.answering is False


async def test_an_old_server_is_refused() -> None:
    answer = b"# Server\r\nredis_version:6.2.14\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(b"+OK\r\n" * data.count(b"CLIENT"))
            if b"\nINFO\r" in data:
                writer.write(b"$%d\r\n%s\r\n" % (len(answer), answer))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = RedisClient(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server:
        with pytest.raises(ConfigurationError, match=r"6\.2\.14: Redis 7\.0 or a Valkey"):
            await client.check()
        await client.close()


async def test_a_server_that_drops_keys_is_warned_of(
    server: KeyValueServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = RedisClient(server.url)
    await client.check()
    assert not caplog.records
    await client.command("CONFIG", "SET", "maxmemory", "100mb")
    await client.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    await client.check()
    assert "maxmemory-policy noeviction, not allkeys-lru" in caplog.text
    await client.close()


async def test_several_calls_end_in_time_together(server: KeyValueServer) -> None:
    client = RedisClient(server.url)
    await client.command("PING")

    async def call_on_and_on() -> None:
        async with client.in_time():
            while True:
                await client.command("BLPOP", "nothing", 0.5)

    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(BrokerUnavailable):
        await call_on_and_on()
    assert 1.5 < loop.time() - started < 15
    await client.close()


async def test_more_calls_than_may_be_unanswered(server: KeyValueServer) -> None:
    client, many = RedisClient(server.url), Limits().unanswered + 200
    assert await client.command("SET", "n", 0) == b"OK"  # connected: each of them has 2 s in all
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(client.command("INCR", "n")) for _ in range(many)]
    assert sorted(call.result() for call in calls) == list(range(1, many + 1))
    await client.close()


async def test_no_connection_is_left_behind(server: KeyValueServer) -> None:
    client = RedisClient(server.url)
    await client.commands([("INCR", "n")] * 9)
    await client.close()
    with pytest.raises(BrokerUnavailable):
        await RedisClient(f"redis://127.0.0.1:{free_port()}").command("PING")
