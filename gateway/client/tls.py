"""Whether a port speaks TLS or plain HTTP: asked when a first handshake made no sense.

`ws://` to a TLS port and `wss://` to a plain one both fail with an error that names neither. One
more connection, on which nothing but a greeting is said, tells which it was.
"""

import asyncio
import ssl
from contextlib import suppress
from urllib.parse import urlsplit

ASK_SECONDS = 3.0
_PORTS = {"ws": 80, "wss": 443}


async def mixed_up(url: str) -> str | None:
    """What the port of `url` does instead, with the remedy; None: it is not that."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    with suppress(OSError, TimeoutError, EOFError, ValueError):
        async with asyncio.timeout(ASK_SECONDS):
            if parts.scheme == "ws" and await _speaks_tls(host, port):
                return "That port speaks TLS: write wss:// (or https://) in place of ws://."
            if parts.scheme == "wss" and await _speaks_plain(host, port):
                return "That port does not speak TLS: write ws:// (or http://) in place of wss://."
    return None


async def _speaks_tls(host: str, port: int) -> bool:
    """Whether a TLS handshake succeeds. Nothing is said on it, so nobody's name is verified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    writer.transport.abort()
    return True


async def _speaks_plain(host: str, port: int) -> bool:
    """Whether it answers a plain request as HTTP does."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        return (await reader.readexactly(5)) == b"HTTP/"
    finally:
        writer.transport.abort()
