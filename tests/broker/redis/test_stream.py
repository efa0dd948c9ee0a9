"""Taking a connection over from redis-py, on both loops and over TLS; calls that will not end."""

import asyncio
import datetime as dt
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from gateway.broker.redis.client import RedisClient
from gateway.broker.redis.servers import connecting
from gateway.broker.redis.stream import Lost, Stream, ended_within, open_stream
from gateway.errors import BrokerUnavailable
from tests.broker.driving import Ear, make
from tests.broker.redis.lines import Scripted, scripted
from tests.broker.redis.opening import opened
from tests.support.processes import KeyValueServer, RedisServer, Valkey, free_port
from tests.support.waiting import eventually


def in_loop(factory: Callable[[], asyncio.AbstractEventLoop], work: Callable[[], Any]) -> Any:
    """Runs `work` in a loop of that kind."""

    def run() -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(work())

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result(30)


@pytest.fixture
async def encrypted(tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a server that speaks TLS only to those that know its certificate."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make_certificate(certificate, key)
    port = free_port()
    options = {
        "tls-port": str(port),
        "tls-cert-file": str(certificate),
        "tls-key-file": str(key),
        "tls-ca-cert-file": str(certificate),
        "tls-auth-clients": "no",
        "requirepass": "right",
    }
    server = LockedRedis(tmp_path, options=options)
    await server.start()
    yield f"rediss://:right@localhost:{port}/3?ssl_ca_certs={certificate}"
    await server.kill()


class LockedRedis(RedisServer):
    async def ready(self) -> bool:
        try:
            return (await self.command("PING")).startswith("-NOAUTH")
        except OSError:
            return False


def make_certificate(certificate: Path, key: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


async def used(url: str) -> None:
    """Everything a broker does with a connection: ask, hear, big replies, closing."""
    async with opened(url) as broker:
        session, ear = await make(broker), Ear()
        await broker.follow(session.id, ear)
        assert await session.append("x" * 500_000) == 2
        await session.append("a")
        assert [len(body) for _, body in await session.events(1)] == [500_000, 1]
        await eventually(lambda: ear.events() == [(3, b"a")])


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_connection_on_either_loop(
    factory: Callable[[], asyncio.AbstractEventLoop], valkey: Valkey
) -> None:
    in_loop(factory, lambda: used(valkey.url))


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
async def test_an_encrypted_connection(
    factory: Callable[[], asyncio.AbstractEventLoop], encrypted: str
) -> None:
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, in_loop, factory, lambda: used(encrypted))


async def test_what_redis_py_has_made_of_it(server: KeyValueServer) -> None:
    """Its private names, and what its connections give: whoever changes them fails here."""
    heard: list[Any] = []
    ended: list[Lost] = []
    connection: Any = connecting(f"{server.url.rpartition('/')[0]}/5")()
    assert connection._reader is None
    assert connection._writer is None
    stream = await open_stream(connection, heard.append, ended.append, within_s=2)
    assert not connection.is_connected, "it is redis-py's no more"
    raw: socket.socket = stream._transport.get_extra_info("socket")
    assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000
    stream.write(b"CLIENT INFO\r\n")
    await eventually(lambda: heard)
    told = dict(part.partition(b"=")[::2] for part in heard[0].split())
    assert (told[b"name"], told[b"db"], told[b"resp"]) == (b"agent-gateway", b"5", b"2")
    stream.abort(Lost("enough"))
    await stream.closed()
    assert [str(error) for error in ended] == ["enough"]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("MOVED 1 127.0.0.1:7", MovedError),
        ("ASK 1 127.0.0.1:7", AskError),
        ("CLUSTERDOWN x", ClusterDownError),
        ("TRYAGAIN x", TryAgainError),
        ("NOSCRIPT x", NoScriptError),
        ("READONLY x", ReadOnlyError),
        ("OTHER x", ResponseError),
    ],
)
async def test_errors_are_those_of_redis_py(said: str, kind: type[Exception]) -> None:
    heard: list[Any] = []
    async with scripted() as server:
        stream = await opened_to(server, heard.append)
        server.say(f"-{said}\r\n".encode())
        await eventually(lambda: heard)
        assert type(heard[0]) is kind
        stream.abort(Lost("enough"))
        await stream.closed()


async def opened_to(server: Scripted, heard: Callable[[Any], None]) -> Stream:
    return await open_stream(connecting(server.url)(), heard, lambda _: None, within_s=2)


async def test_who_cannot_take_a_reply_loses_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def heard(reply: Any) -> None:
        raise KeyError(reply)

    ended: list[Lost] = []
    async with scripted() as server:
        stream = await open_stream(connecting(server.url)(), heard, ended.append, within_s=2)
        server.say(b"+x\r\n+y\r\n")
        await eventually(lambda: ended)
        await stream.closed()
    assert len(ended) == 1
    assert "KeyError" in caplog.text


async def test_cancelled_while_it_connects_nothing_is_left(server: KeyValueServer) -> None:
    for turns in range(40):
        opening = asyncio.ensure_future(  # noqa: TID251 - cancelled and awaited right here
            open_stream(connecting(server.url)(), print, lambda _: None, within_s=2)
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait((opening,))
        if not opening.cancelled():
            opening.result().abort(Lost("enough"))
            await opening.result().closed()

    async def alone() -> bool:
        return "connected_clients:1" in (await all_of(server, "INFO clients")).split()

    await eventually(alone, what="the server has no connection but this one")


async def all_of(server: KeyValueServer, line: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(line.encode() + b"\r\n")
    size = int((await reader.readline())[1:])
    text = await reader.readexactly(size)
    writer.close()
    return text.decode()


# Calls that swallow a cancellation, as `asyncio.wait_for` in redis-py does


async def deaf() -> None:
    """Swallows the first cancellation, and would wait for ever."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.Event().wait()


async def test_a_swallowed_cancellation_is_said_again() -> None:
    async def waited(call: Awaitable[object]) -> float:
        loop = asyncio.get_running_loop()
        started = loop.time()
        with pytest.raises((TimeoutError, asyncio.CancelledError)):
            await call
        return loop.time() - started

    assert await waited(ended_within(0.05, deaf())) < 8
    outer = asyncio.ensure_future(ended_within(9, deaf()))  # noqa: TID251 - awaited here
    asyncio.get_running_loop().call_later(0.05, outer.cancel)
    assert await waited(outer) < 8
    assert outer.cancelled()


async def test_what_it_says_in_time_is_kept() -> None:
    async def failing() -> None:
        raise ResponseError("no")

    async def three() -> int:
        return 3

    assert await ended_within(1, three()) == 3
    with pytest.raises(ResponseError):
        await ended_within(1, failing())


@pytest.mark.parametrize("kind", ["redis://127.0.0.1:{}", "redis+sentinel://127.0.0.1:{}/main"])
async def test_a_mute_server_is_given_up_in_time(kind: str) -> None:
    """redis-py shakes hands, or asks a Sentinel; both take every byte and say nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = RedisClient(kind.format(server.sockets[0].getsockname()[1]))
    loop = asyncio.get_running_loop()
    async with server:
        started = loop.time()
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(refused(client))
        assert loop.time() - started < 15
        await client.close()


async def refused(client: RedisClient) -> None:
    with pytest.raises(BrokerUnavailable):
        await client.command("PING")
