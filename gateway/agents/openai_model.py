"""One request to an OpenAI-compatible endpoint, as a stream of deltas.

Owns HTTP: connecting, trying again before the first byte, and saying what went wrong in words that
hold no secret. What is asked, and what is done with the answer, is not decided here.
"""

import asyncio
import random
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, suppress
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


class Endpoint(Struct, frozen=True, kw_only=True):
    """Where the models are, and how patient to be. `api_key` is in no text made from this."""

    base_url: str
    api_key: str = ""
    retries: int = 3
    first_wait_s: float = 0.5  # before the first retry; doubled for each further one
    longest_wait_s: float = 20.0  # an endpoint that asks for more is given up
    silence_s: float = SILENCE_S

    def __repr__(self) -> str:
        return f"Endpoint({self.place})"

    @property
    def place(self) -> str:
        """Host and port, for people."""
        return httpx2.URL(self.base_url).netloc.decode("ascii")


class ModelFailed(Exception):
    """The model gave no answer, or only a part of one; the text is for people."""


async def at_once() -> None:
    """Nothing to wait for."""


class ModelClient:
    """A connection pool to one endpoint, for one run: `async with ModelClient(endpoint)`.

    `ready` is awaited right before each request, a repeated one too.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        tls: ssl.SSLContext | bool = True,
        jitter: Callable[[], float] = random.random,
        ready: Callable[[], Awaitable[None]] = at_once,
    ) -> None:
        self._endpoint = endpoint
        self._ready = ready
        self._jitter = jitter
        headers = {"Accept": "text/event-stream"}
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

        Close it (`aclosing`) to hang up; cancelling does. Raises `ModelFailed`, also for an error
        in the middle of the stream; deltas that came before it were given out.
        """
        async with AsyncExitStack() as stack:
            try:
                response, first, rest = await self._first_byte(body, stack)
                async with aclosing(_deltas(response, first, rest)) as pieces:
                    async for deltas in pieces:
                        if deltas and isinstance(error := deltas[-1], ModelError):
                            yield deltas[:-1]
                            raise ModelFailed(self._told(error))
                        yield deltas
            except httpx2.HTTPError as error:
                raise ModelFailed(self._broken(error)) from error

    async def _first_byte(
        self, body: JsonObject, stack: AsyncExitStack
    ) -> tuple[httpx2.Response, bytes, AsyncGenerator[bytes, None]]:
        """The response once its body begins. Tries again as long as nothing was answered."""
        for left in range(self._endpoint.retries, -1, -1):
            wait_s = self._endpoint.first_wait_s * 2 ** (self._endpoint.retries - left)
            wait_s *= 0.5 + self._jitter()
            try:
                request = self._http.build_request("POST", self._url(), json=body)
                await self._ready()
                response = await self._http.send(request, stream=True)
                stack.push_async_callback(response.aclose)
                if response.status_code == 200:
                    rest = response.aiter_bytes()
                    return response, await anext(rest, b""), rest
                refusal = await self._refusal(response)
                if response.status_code not in RETRIED_STATUS or left == 0:
                    raise ModelFailed(refusal)
                wait_s = _asked_wait(response, wait_s)
                if wait_s > self._endpoint.longest_wait_s:
                    raise ModelFailed(f"{refusal} (asks to wait {wait_s:.0f} s)")
            except (
                httpx2.NetworkError,
                httpx2.ConnectTimeout,
                httpx2.RemoteProtocolError,
            ) as error:
                if left == 0:
                    raise ModelFailed(self._broken(error)) from error
            await stack.aclose()
            await asyncio.sleep(wait_s)
        raise AssertionError("the last try returns or raises")

    async def _refusal(self, response: httpx2.Response) -> str:
        """What an HTTP error says."""
        said = error_message((await response.aread()).decode(errors="replace"))
        about = {
            401: "refused the API key",
            403: "does not allow this",
            404: "does not know the model or the path",
            429: "is asked too often, or has no credit left",
        }.get(response.status_code, "refused the request")
        text = f"{self._endpoint.place} {about} (HTTP {response.status_code})"
        return self._discreet(f"{text}: {said}" if said else text)

    def _broken(self, error: httpx2.HTTPError) -> str:
        """What an error of the connection says."""
        place = self._endpoint.place
        match error:
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

    def _url(self) -> str:
        return self._endpoint.base_url.rstrip("/") + "/chat/completions"


async def _deltas(
    response: httpx2.Response, first: bytes, rest: AsyncGenerator[bytes, None]
) -> AsyncGenerator[list[Delta], None]:
    reader = StreamReader()
    if response.headers.get("content-type", "").startswith("application/json"):
        yield reader.whole(first + b"".join([piece async for piece in rest]))
        return
    yield reader.feed(first)
    if not reader.over:
        async for piece in rest:
            yield reader.feed(piece)
            if reader.over:
                break
    yield reader.end()
    await _drained(rest)


async def _drained(rest: AsyncGenerator[bytes, None]) -> None:
    """Takes what is left, so that the connection serves the next step; some never end it."""
    with suppress(TimeoutError, httpx2.HTTPError):
        async with asyncio.timeout(DRAIN_S):
            async for _ in rest:
                pass


def _asked_wait(response: httpx2.Response, wait_s: float) -> float:
    """How long the endpoint asks to wait; `wait_s` if it does not say in seconds."""
    try:
        return max(wait_s, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return wait_s
