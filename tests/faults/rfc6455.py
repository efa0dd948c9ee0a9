"""RFC 6455 as bytes: frames as a client sends them, right or wrong, and what comes back.

Nothing is checked or corrected on the way out; on the way in only what a server may not do.
"""

import asyncio
import base64
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MASK = b"\x12\x34\x56\x78"
Seen: TypeAlias = tuple[int, bytes]
"""Opcode and payload of a whole message or control frame."""


def frame(
    opcode: int, payload: bytes | str = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True
) -> bytes:
    """One frame, masked as a client's must be."""
    data = payload.encode() if isinstance(payload, str) else payload
    size = len(data)
    if size < 126:
        length, more = size, b""
    elif size < 2**16:
        length, more = 126, size.to_bytes(2)
    else:
        length, more = 127, size.to_bytes(8)
    head = bytes([fin << 7 | rsv << 4 | opcode, masked << 7 | length]) + more
    if not masked:
        return head + data
    pad = (MASK * (size // 4 + 1))[:size]
    return head + MASK + (int.from_bytes(data) ^ int.from_bytes(pad)).to_bytes(size)


def text(payload: bytes | str, **flags: bool | int) -> bytes:
    return frame(TEXT, payload, **flags)  # type: ignore[arg-type]


def close(code: int | None = 1000, reason: bytes | str = b"") -> bytes:
    """A close frame; without a code an empty one."""
    said = reason.encode() if isinstance(reason, str) else reason
    return frame(CLOSE, b"" if code is None else code.to_bytes(2) + said)


def fragments(payload: bytes, size: int, opcode: int = TEXT) -> list[bytes]:
    """A message in frames of so many bytes."""
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
    last = len(pieces) - 1
    return [
        frame(opcode if at == 0 else CONTINUATION, piece, fin=at == last)
        for at, piece in enumerate(pieces)
    ]


@dataclass
class Socket:
    """A WebSocket by hand; `headers` is the server's answer to the handshake."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    headers: bytes

    async def send(self, frames: Sequence[bytes], *, chop: int = 0) -> None:
        """All of them; `chop`: in TCP segments of so many bytes."""
        data = b"".join(frames)
        for at in range(0, len(data), chop or max(len(data), 1)):
            self.writer.write(data[at : at + chop] if chop else data)
            await self.writer.drain()
            if chop:
                await asyncio.sleep(0)

    async def receive(self) -> Seen | None:
        """The next whole message or control frame; None at the end of the connection."""
        kind, payload = 0, b""
        while True:
            try:
                first, second = await self.reader.readexactly(2)
                assert not second & 0x80, "a server's frame is masked"
                assert not first & 0x70, "a reserved bit is set"
                size = second & 0x7F
                if size > 125:
                    size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
                payload += await self.reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
            kind = kind or first & 0x0F
            if first & 0x80:
                return kind, payload

    async def rest(self) -> list[Seen]:
        """Everything until the server closes the connection; its close is answered."""
        seen: list[Seen] = []
        while (got := await self.receive()) is not None:
            seen.append(got)
            if got[0] == CLOSE:
                self.writer.write(frame(CLOSE, got[1]))
        return seen


@asynccontextmanager
async def handshaken(port: int, *headers: str) -> AsyncGenerator[Socket]:
    """A connection after its opening handshake."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        lines = [
            "GET / HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            *headers,
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        yield Socket(reader, writer, answer)
    finally:
        writer.transport.abort()
