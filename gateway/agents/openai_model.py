"""One request to an OpenAI-compatible endpoint, as a stream of deltas.

Owns HTTP: connecting, trying again before the first byte, and saying what went wrong in words that
hold no secret. What is asked, and what is done with the answer, is not decided here.
"""

import asyncio
import random
import ssl
import time
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, suppress
from email.utils import parsedate_to_datetime
from typing import Self

import httpx2
from msgspec import Struct

from gateway.agents.openai_stream import (
    Delta,
    JsonObject,
    ModelError,
    StreamReader,
    error_message,
)

RETRIED_STATUS = frozenset({408, 409, 425, 429, *range(500, 600)})
CONNECT_S = 10.0
DRAIN_S = 0.5
SILENCE_S = 600.0  # a model may think for long before its next byte
MAX_REFUSAL_BYTES = 64 * 1024
"""Of an error's body so much is read: an endpoint is a stranger, and may send without end."""
MAX_BODY_BYTES = 16 * 1024 * 1024
"""Of an answer that is one JSON object."""
PIECE_BYTES = 64 * 1024
"""What is decompressed at once, however much a few compressed bytes may hold."""
RETRIED_CODES = frozenset({"429", "500", "502", "503", "504", "529", "overloaded_error"})
"""Of an error that comes in place of an answer, as those of HTTP."""


class Endpoint(Struct, frozen=True, kw_only=True):
    """Where the models are, and how patient to be. `api_key` is in no text made from this."""

    base_url: str
    api_key: str = ""
    retries: int = 3
    first_wait_s: float = 0.5  # before the first retry; doubled for each further one
    longest_wait_s: float = 60.0  # an endpoint that asks for more is given up
    silence_s: float = SILENCE_S

    def __repr__(self) -> str:
        return f"Endpoint({self.place})"

    @property
    def place(self) -> str:
        """Host and port, for people."""
        return httpx2.URL(self.base_url).netloc.decode("ascii")


class ModelFailed(Exception):
    """The model gave no answer, or only a part of one; the text is for people."""


class _TryAgain(Exception):
    """Nothing was said yet, and the same request may succeed after a wait."""

    def __init__(self, failed: ModelFailed, asked_s: float = 0.0) -> None:
        self.failed = failed
        self.asked_s = asked_s  # what the endpoint asks for
        super().__init__(str(failed))


async def at_once() -> None:
    """Nothing to wait for."""


async def silently(_wait_s: float) -> None:
    """Nobody is told that the model has to be waited for."""


class ModelClient:
    """A connection pool to one endpoint, for one run: `async with ModelClient(endpoint)`.

    `ready` is awaited right before each request, a repeated one too; `waiting` before each pause,
    with its length in seconds.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        tls: ssl.SSLContext | bool = True,
        jitter: Callable[[], float] = random.random,
        ready: Callable[[], Awaitable[None]] = at_once,
        waiting: Callable[[float], Awaitable[None]] = silently,
    ) -> None:
        self._endpoint = endpoint
        self._ready = ready
        self._waiting = waiting
        self._jitter = jitter
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if endpoint.api_key:
            headers["Authorization"] = f"Bearer {endpoint.api_key}"
        timeout = httpx2.Timeout(endpoint.silence_s, connect=CONNECT_S)
        self._http = httpx2.AsyncClient(headers=headers, timeout=timeout, verify=tls)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.__aexit__()

    async def answer(self, body: JsonObject) -> AsyncGenerator[list[Delta], None]:
        """The model's answer to one request, a list of deltas for each piece that arrives.

        It tries again as long as nothing was said. Close it (`aclosing`) to hang up; cancelling
        does. Raises `ModelFailed`, also for an error in the middle of the stream; deltas that
        came before it were given out.
        """
        for left in range(self._endpoint.retries, -1, -1):
            wait_s = self._endpoint.first_wait_s * 2 ** (self._endpoint.retries - left)
            wait_s *= 0.5 + self._jitter()
            try:
                async with aclosing(self._once(body)) as pieces:
                    async for deltas in pieces:
                        yield deltas
            except _TryAgain as again:
                if left == 0:
                    raise again.failed from again
                wait_s = max(wait_s, again.asked_s)
                if wait_s > self._endpoint.longest_wait_s:
                    text = f"{again.failed} (asks to wait {wait_s:.0f} s)"
                    raise ModelFailed(text) from again
                await self._waiting(wait_s)
                await asyncio.sleep(wait_s)
            else:
                return
        raise AssertionError("the last try returns or raises")

    async def _once(self, body: JsonObject) -> AsyncGenerator[list[Delta], None]:
        """One request and its answer. Raises `_TryAgain` while nothing was said."""
        said = False
        reader = StreamReader()
        async with AsyncExitStack() as stack:
            try:
                response = await self._sent(body, stack)
                async with aclosing(_deltas(response, reader)) as pieces:
                    async for deltas in pieces:
                        if deltas and isinstance(error := deltas[-1], ModelError):
                            if deltas[:-1]:
                                said = True
                                yield deltas[:-1]
                            failed = ModelFailed(self._told(error))
                            if said or error.code not in RETRIED_CODES:
                                raise failed
                            raise _TryAgain(failed)
                        said = said or bool(deltas)
                        yield deltas
            except (httpx2.HTTPError, zlib.error) as error:
                if reader.finished:
                    return  # the answer was complete
                failed = ModelFailed(self._broken(error))
                if said or not isinstance(error, _PASSING):
                    raise failed from error
                raise _TryAgain(failed) from error

    async def _sent(self, body: JsonObject, stack: AsyncExitStack) -> httpx2.Response:
        """The response, if it is an answer."""
        request = self._http.build_request("POST", self._url(), json=body)
        await self._ready()
        response = await self._http.send(request, stream=True)
        stack.push_async_callback(response.aclose)
        if response.is_success:
            return response
        failed = ModelFailed(await self._refusal(response))
        if response.status_code not in RETRIED_STATUS:
            raise failed
        raise _TryAgain(failed, _asked_wait(response))

    async def _refusal(self, response: httpx2.Response) -> str:
        """What an HTTP error says."""
        said = error_message((await _body(response, MAX_REFUSAL_BYTES)).decode(errors="replace"))
        about = {
            401: "refused the API key",
            403: "does not allow this",
            404: "does not know the model or the path",
            429: "is asked too often, or has no credit left",
        }.get(response.status_code, "refused the request")
        text = f"{self._endpoint.place} {about} (HTTP {response.status_code})"
        return self._discreet(f"{text}: {said}" if said else text)

    def _broken(self, error: httpx2.HTTPError | zlib.error) -> str:
        """What an error of the connection says."""
        place = self._endpoint.place
        match error:
            case zlib.error():
                return f"{place} sent an answer that cannot be decompressed"
            case httpx2.ConnectError() | httpx2.ConnectTimeout():
                text = f"{place} cannot be reached; check OPENAI_BASE_URL and the network"
            case httpx2.ReadTimeout():
                text = f"{place} was silent for {self._endpoint.silence_s:g} s"
            case httpx2.LocalProtocolError():  # its text quotes headers, escaped
                return f"The request to {place} cannot be written"
            case httpx2.UnsupportedProtocol():
                return "The base URL must begin with http:// or https://; check OPENAI_BASE_URL"
            case _:
                text = f"The connection to {place} broke"
        return self._discreet(f"{text}: {error}" if str(error) else text)

    def _told(self, error: ModelError) -> str:
        """What an error in the middle of the stream says."""
        code = f" ({error.code})" if error.code else ""
        return self._discreet(f"{error.message}{code}")

    def _discreet(self, text: str) -> str:
        """Without the key: some endpoints quote it."""
        key = self._endpoint.api_key
        return text.replace(key, "…") if key else text

    def _url(self) -> httpx2.URL:
        """The path goes before the query that a base URL may have (`?api-version=…`)."""
        base = httpx2.URL(self._endpoint.base_url)
        return base.copy_with(path=base.path.rstrip("/") + "/chat/completions")


_PASSING = (httpx2.NetworkError, httpx2.ConnectTimeout, httpx2.RemoteProtocolError)
"""What may be over at the next try."""


async def _deltas(
    response: httpx2.Response, reader: StreamReader
) -> AsyncGenerator[list[Delta], None]:
    """The deltas of a body, an event stream or one JSON object: its first byte says which."""
    async with aclosing(_plain(response)) as rest:
        first = b""
        while not first.strip() and len(first) < MAX_REFUSAL_BYTES:
            piece = await anext(rest, None)
            if piece is None:
                break
            first += piece
        if first.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in (b"{", b"["):
            body = bytearray(first)
            async for piece in rest:
                body += piece
                if len(body) > MAX_BODY_BYTES:
                    text = f"The model's answer is larger than {MAX_BODY_BYTES} bytes."
                    yield [ModelError("", text)]
                    return
            yield reader.whole(bytes(body))
            return
        yield reader.feed(first)
        if not reader.over:
            async for piece in rest:
                yield reader.feed(piece)
                if reader.over:
                    break
        yield reader.end()
        await _drained(rest)


async def _plain(response: httpx2.Response) -> AsyncGenerator[bytes, None]:
    """The body, decompressed in small pieces though none was asked for: a few bytes may hold
    gigabytes.

    Raises:
        zlib.error: it is not what its header says.
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("gzip", "x-gzip", "deflate"):
        async for piece in response.aiter_raw():
            yield piece
        return
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
    async for piece in response.aiter_raw():
        data = piece
        while data or decoder.unconsumed_tail:
            plain = decoder.decompress(decoder.unconsumed_tail + data, PIECE_BYTES)
            data = b""
            if not plain:
                break
            yield plain


async def _body(response: httpx2.Response, most: int) -> bytes:
    """The first `most` bytes of a body."""
    body = bytearray()
    with suppress(zlib.error):
        async with aclosing(_plain(response)) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) >= most:
                    break
    return bytes(body[:most])


async def _drained(rest: AsyncGenerator[bytes, None]) -> None:
    """Takes what is left, so that the connection serves the next step; some never end it."""
    with suppress(TimeoutError, httpx2.HTTPError, zlib.error):
        async with asyncio.timeout(DRAIN_S):
            async for _ in rest:
                pass


def _asked_wait(response: httpx2.Response) -> float:
    """How many seconds the endpoint asks to wait: as a number, or until a date (RFC 9110)."""
    asked = response.headers.get("retry-after", "")
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0
