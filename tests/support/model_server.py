"""A model's HTTP endpoint on 127.0.0.1: answers requests with prepared bytes, cut anywhere.

Raw on purpose: a framework would not hang up in mid-answer, or say who hung up on it.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from msgspec import Struct, field


class Answer(Struct, frozen=True, kw_only=True):
    """One prepared answer: an event stream unless its headers say otherwise.

    `pieces` go out one by one as HTTP chunks. `hangs`: then nothing more comes. `breaks`: then the
    connection is closed without the end of the answer; with no pieces, without any answer at all.
    The last piece waits for `after`.
    """

    pieces: Sequence[bytes] = ()
    status: int = 200
    headers: Mapping[str, str] = field(
        default_factory=lambda: {"content-type": "text/event-stream"}
    )
    hangs: bool = False
    breaks: bool = False
    after: asyncio.Event | None = None


class Request(Struct, frozen=True):
    """One request that came."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


def recorded(data: bytes, size: int = 999) -> Answer:
    """A recorded stream, cut into pieces of so many bytes."""
    return Answer(pieces=cut(data, size))


def said(*deltas: Mapping[str, Any], finish: str = "stop", usage: Any = None) -> Answer:
    """An answer of these deltas, each in a chunk of its own."""
    chunks: list[Any] = [
        {"choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas
    ]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    if usage is not None:
        input_tokens, output_tokens = usage
        counts = {"prompt_tokens": input_tokens, "completion_tokens": output_tokens}
        chunks.append({"choices": [], "usage": counts})
    lines = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]
    return Answer(pieces=[*lines, b"data: [DONE]\n\n"])


def refused(status: int, body: Any, **headers: str) -> Answer:
    """An HTTP error with a JSON body."""
    return Answer(
        status=status,
        pieces=[json.dumps(body).encode()],
        headers={"content-type": "application/json", **headers},
    )


class ModelServer:
    """`async with ModelServer([...]) as server:`; each request gets the next answer.

    A request beyond the last answer gets a 500 that says so. `gone` counts connections that the
    client closed while an answer was hanging.
    """

    def __init__(self, answers: Iterable[Answer] = ()) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []
        self.gone = 0
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
            while (request := await self._read(reader)) is not None:
                index = len(self.requests)
                self.requests.append(request)
                if index >= len(self.answers):
                    answer = refused(
                        500, {"error": {"message": f"request {index + 1} is one too many"}}
                    )
                else:
                    answer = self.answers[index]
                if not await self._answer(answer, reader, writer):
                    break
        except ConnectionError:
            pass  # the client's right
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Request | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.strip().split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Request(first.split(" ")[1], headers, json.loads(body))

    async def _answer(
        self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Whether the connection can take another request."""
        if answer.breaks and not answer.pieces:
            return False
        head = [f"HTTP/1.1 {answer.status} {'OK' if answer.status < 400 else 'Error'}"]
        head += [f"{name}: {value}" for name, value in answer.headers.items()]
        writer.write("\r\n".join([*head, "transfer-encoding: chunked", "", ""]).encode())
        for left, piece in zip(range(len(answer.pieces) - 1, -1, -1), answer.pieces, strict=True):
            if left == 0 and answer.after is not None:
                await answer.after.wait()
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
            await asyncio.sleep(0)
        if answer.hangs:
            await reader.read()
            self.gone += 1
        if answer.hangs or answer.breaks:
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True
