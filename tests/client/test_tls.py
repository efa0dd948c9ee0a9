"""ws:// to a TLS port and wss:// to a plain one are named; real servers, a certificate of today."""

import asyncio
import datetime as dt
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette

from gateway.client import AsyncClient, GatewayError
from gateway.client.tls import mixed_up
from tests.support.processes import GatewayProcess, free_port
from tests.support.waiting import eventually


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate that nobody trusts, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, secret


@pytest.fixture
async def tls_port(tmp_path: Path) -> AsyncIterator[int]:
    """A port of uvicorn that speaks TLS."""
    certified, key = certificate(tmp_path)
    config = uvicorn.Config(
        Starlette(), ssl_certfile=certified, ssl_keyfile=key, log_level="critical", lifespan="off"
    )
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    async with asyncio.TaskGroup() as group:
        group.create_task(server._serve([listener]))  # without its signal handlers
        await eventually(lambda: server.started, what="it has started")
        yield listener.getsockname()[1]
        server.should_exit = True


async def refused(url: str) -> GatewayError:
    with pytest.raises(GatewayError) as error:
        await AsyncClient(url).connect()
    return error.value


async def test_n10_ws_to_a_tls_port(tls_port: int) -> None:
    error = await refused(f"ws://127.0.0.1:{tls_port}")
    assert (error.code, error.kind) == ("client.no_gateway", "no_gateway")
    assert "speaks TLS: write wss://" in error.message


async def test_n10_wss_to_a_plain_port(served: GatewayProcess) -> None:
    error = await refused(served.http_url.replace("http://", "https://"))
    assert (error.code, error.kind) == ("client.no_gateway", "no_gateway")
    assert "does not speak TLS: write ws://" in error.message


async def test_what_is_not_mixed_up(tls_port: int, served: GatewayProcess) -> None:
    assert await mixed_up(f"wss://127.0.0.1:{tls_port}/v1/ws") is None
    assert await mixed_up(f"{served.url}/v1/ws") is None
    assert await mixed_up(f"ws://127.0.0.1:{free_port()}/v1/ws") is None


async def test_a_certificate_that_nobody_trusts_is_no_mix_up(tls_port: int) -> None:
    with pytest.raises(GatewayError, match="CERTIFICATE_VERIFY_FAILED") as error:
        await AsyncClient(f"wss://127.0.0.1:{tls_port}").connect(timeout=1)
    assert error.value.code == "client.unreachable"


async def test_a_port_that_hangs_up_is_no_mix_up() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await mixed_up(f"ws://127.0.0.1:{port}") is None
        assert await mixed_up(f"wss://127.0.0.1:{port}") is None
