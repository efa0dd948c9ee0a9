"""The hand-written streams in ../shared/streams, and an endpoint that plays them byte for byte."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

FILE = Path(__file__).parents[3] / "shared" / "streams" / "cases.jsonl"
needed = pytest.mark.skipif(
    not FILE.is_file(), reason="the hand-written streams (../shared/streams) are not here"
)
CASES: list[dict[str, Any]] = (
    [json.loads(line) for line in FILE.read_text().split("\n") if line] if FILE.is_file() else []
)
LONGEST_PAUSE_S = 0.05
"""The pauses of a case say that its pieces come apart; how long they last says nothing."""


class Pause(NamedTuple):
    """The next piece comes apart from the last one."""

    seconds: float


class StreamServer:
    """`async with StreamServer(replies)`: each request gets the next reply, the last one again."""

    def __init__(self, replies: list[dict[str, Any]]) -> None:
        self._replies = replies
        self.requests = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._connections:
            writer.transport.abort()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """The `base_url` for an agent."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(head.partition("content-length:")[2].partition("\r\n")[0] or 0)
            await reader.readexactly(length)
            reply = self._replies[min(self.requests, len(self._replies) - 1)]
            self.requests += 1
            await self._play(reply, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client's right
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _play(self, reply: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        mode = reply.get("mode", "chunked")
        pieces = [_piece(one) for one in reply["chunks"]]
        writer.write(_head(reply, mode, pieces))
        for piece in pieces:
            if isinstance(piece, Pause):
                await asyncio.sleep(min(piece.seconds, LONGEST_PAUSE_S))
            elif piece is None:
                writer.transport.abort()
                return
            elif piece:
                framed = mode == "chunked"
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if framed else piece)
                await writer.drain()
                await asyncio.sleep(0)
        if mode == "chunked" and reply.get("end", True):
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        if "hold" in reply:
            await asyncio.sleep(reply["hold"])


def _piece(chunk: Any) -> bytes | Pause | None:
    """The bytes; a pause; None: the connection is reset."""
    if isinstance(chunk, (int, float)):
        return Pause(chunk)
    if isinstance(chunk, dict):
        return base64.b64decode(chunk["base64"])
    return None if chunk == "abort" else str(chunk).encode()


def _head(reply: dict[str, Any], mode: str, pieces: list[Any]) -> bytes:
    if "rawhead" in reply:
        return str(reply["rawhead"]).encode()
    headers = {"content-type": "text/event-stream", **reply.get("headers", {})}
    if mode == "chunked":
        headers["transfer-encoding"] = "chunked"
    if mode == "length":
        whole = sum(len(piece) for piece in pieces if isinstance(piece, bytes))
        headers["content-length"] = str(whole + reply.get("extra_length", 0))
    lines = [f"HTTP/1.1 {reply.get('status', 200)} OK", "connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()
