"""One request over real HTTP: retries before the first byte, words for errors, hanging up."""

import asyncio
import json
import time
import tracemalloc
import zlib
from collections.abc import Sequence
from contextlib import aclosing
from email.utils import formatdate
from typing import Any

import pytest

from gateway.agents.openai_model import Endpoint, ModelClient, ModelFailed
from gateway.agents.openai_stream import Delta, Finished, TextDelta, UsageSeen
from protocol.values import Usage
from tests.support.model_server import Answer, ModelServer, refused, said
from tests.support.processes import free_port
from tests.support.waiting import eventually

KEY = "sk-canary-1234567890"
BODY: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "Hé"}],
    "stream": True,
}
HELLO = said({"content": "Hel"}, {"content": "lo"}, usage=(3, 2))
HEARD = [TextDelta("Hel"), TextDelta("lo"), Finished("stop"), UsageSeen(Usage(3, 2))]
BUSY = refused(503, {"error": {"message": "Busy"}})


def endpoint(url: str, **options: Any) -> Endpoint:
    return Endpoint(base_url=url, api_key=KEY, first_wait_s=0.005, **options)


async def ask(where: Endpoint) -> tuple[list[Delta], str]:
    """What came, and the error if it failed."""
    heard: list[Delta] = []
    async with ModelClient(where) as client:
        try:
            async with aclosing(client.answer(BODY)) as pieces:
                async for deltas in pieces:
                    heard += deltas
        except ModelFailed as error:
            told = str(error)
        else:
            told = ""
    assert KEY not in told
    return heard, told


async def test_a_request_and_its_answer() -> None:
    async with ModelServer([HELLO]) as server:
        assert await ask(endpoint(f"{server.url}/")) == (HEARD, "")
        (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.body == BODY
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"


async def test_each_request_waits_until_it_may_be_sent() -> None:
    """A repeated one too: meanwhile the worker may have lost the run."""
    sent: list[int] = []

    async def ready() -> None:
        sent.append(len(server.requests))

    async with ModelServer([BUSY, BUSY, HELLO]) as server:
        async with ModelClient(endpoint(server.url), ready=ready) as client:
            assert [d async for deltas in client.answer(BODY) for d in deltas] == HEARD
        assert sent == [0, 1, 2]


async def test_without_a_key_none_is_sent() -> None:
    async with ModelServer([HELLO]) as server:
        await ask(Endpoint(base_url=server.url))
        assert "authorization" not in server.requests[0].headers


async def test_an_answer_that_is_no_stream() -> None:
    whole = {
        "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    async with ModelServer([refused(200, whole)]) as server:
        heard, error = await ask(endpoint(server.url))
    assert (heard, error) == ([TextDelta("Hello"), *HEARD[2:]], "")


@pytest.mark.parametrize(
    "failures",
    [
        [BUSY],
        [refused(429, {}, **{"retry-after": "0"}), refused(500, {}), BUSY],
        [Answer(breaks=True)],
    ],
    ids=["503", "three", "hang up"],
)
async def test_it_tries_again_before_the_first_byte(failures: Sequence[Answer]) -> None:
    async with ModelServer([*failures, HELLO]) as server:
        assert await ask(endpoint(server.url)) == (HEARD, "")
        assert len(server.requests) == len(failures) + 1


@pytest.mark.parametrize(
    "answer",
    [Answer(pieces=HELLO.pieces, hangs=True), Answer(pieces=HELLO.pieces, breaks=True)],
    ids=["hangs", "breaks"],
)
async def test_what_an_endpoint_does_after_the_end_does_not_matter(answer: Answer) -> None:
    async with ModelServer([answer]) as server:
        assert await ask(endpoint(server.url, silence_s=5)) == (HEARD, "")


async def test_a_header_that_cannot_be_written_is_not_quoted() -> None:
    async with ModelServer([HELLO]) as server:
        heard, error = await ask(Endpoint(base_url=server.url, api_key=f"{KEY}\n", retries=0))
    assert (heard, "cannot be written" in error, KEY in error) == ([], True, False)


async def test_it_gives_up_after_its_retries() -> None:
    async with ModelServer([BUSY] * 9) as server:
        heard, error = await ask(endpoint(server.url, retries=2))
        assert len(server.requests) == 3
        place = server.url.split("/")[2]
    assert heard == []
    assert error == f"{place} refused the request (HTTP 503): Busy"


async def test_an_endpoint_that_asks_for_too_long_a_wait_is_given_up() -> None:
    async with ModelServer([refused(429, {}, **{"retry-after": "3600"})]) as server:
        _, error = await ask(endpoint(server.url))
        assert len(server.requests) == 1
    assert "HTTP 429" in error
    assert "asks to wait 3600 s" in error


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}, "refused the API key"),
        (403, {}, "does not allow this"),
        (404, {"error": {"message": "no model m"}}, "no model m"),
        (
            400,
            {"detail": "messages: too long"},
            "refused the request (HTTP 400): messages: too long",
        ),
    ],
)
async def test_a_refusal_is_final_and_told_in_words(status: int, body: Any, words: str) -> None:
    async with ModelServer([refused(status, body)]) as server:
        heard, error = await ask(endpoint(server.url))
        assert len(server.requests) == 1
    assert heard == []
    assert f"HTTP {status}" in error
    assert words in error


async def test_nobody_listens() -> None:
    port = free_port()
    _, error = await ask(endpoint(f"http://127.0.0.1:{port}/v1", retries=1))
    assert f"127.0.0.1:{port} cannot be reached; check OPENAI_BASE_URL" in error


async def test_a_url_of_another_sort() -> None:
    _, error = await ask(endpoint("ftp://127.0.0.1/v1", retries=0))
    assert "must begin with http:// or https://" in error


async def test_after_the_first_byte_it_does_not_try_again() -> None:
    async with ModelServer([Answer(pieces=HELLO.pieces[:1], breaks=True), HELLO]) as server:
        heard, error = await ask(endpoint(server.url))
        assert len(server.requests) == 1
    assert heard == [TextDelta("Hel")]
    assert "broke" in error


async def test_a_stream_that_just_ends() -> None:
    async with ModelServer([Answer(pieces=HELLO.pieces[:2])]) as server:
        heard, error = await ask(endpoint(server.url))
    assert heard == [TextDelta("Hel"), TextDelta("lo")]
    assert error == "The model's stream ended before its answer did."


async def test_an_error_in_the_middle() -> None:
    told = json.dumps({"error": {"code": 400, "message": f"Token limit of {KEY} reached"}})
    pieces = [HELLO.pieces[0] + f"data: {told}\n\n".encode(), *HELLO.pieces[1:]]
    async with ModelServer([Answer(pieces=pieces)]) as server:
        heard, error = await ask(endpoint(server.url))
    assert heard == [TextDelta("Hel")]
    assert error == "Token limit of … reached (400)"


async def test_silence_has_an_end() -> None:
    async with ModelServer([Answer(pieces=HELLO.pieces[:1], hangs=True)]) as server:
        heard, error = await ask(endpoint(server.url, silence_s=1))
    assert heard == [TextDelta("Hel")]
    assert "was silent for 1 s" in error


async def test_cancelling_hangs_up_at_once() -> None:
    async with (
        ModelServer([Answer(pieces=HELLO.pieces[:1], hangs=True)]) as server,
        ModelClient(endpoint(server.url)) as client,
        asyncio.TaskGroup() as group,
    ):
        first = asyncio.Event()

        async def listen() -> None:
            async with aclosing(client.answer(BODY)) as pieces:
                async for _ in pieces:
                    first.set()

        listener = group.create_task(listen())
        await first.wait()
        listener.cancel()
        await eventually(lambda: server.gone == 1, within=5, what="the client hung up")


async def test_cancelling_while_it_waits_for_the_first_byte_hangs_up() -> None:
    async with ModelServer([Answer(hangs=True)]) as server:
        async with asyncio.TaskGroup() as group:
            listener = group.create_task(ask(endpoint(server.url)))
            await eventually(lambda: server.requests)
            listener.cancel()
        await eventually(lambda: server.gone == 1, within=5, what="the client hung up")


def test_an_endpoint_does_not_show_its_key() -> None:
    where = endpoint("https://user:secret@models.example:8443/v1")
    assert f"{where!r} {where}" == "Endpoint(models.example:8443) Endpoint(models.example:8443)"


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("compressed", [False, True])
async def test_a_body_without_end_is_not_kept(status: int, compressed: bool) -> None:
    """S5: of an error so much is read as people can use, of JSON 16 MiB, compressed or not."""
    blank = b" " * (1 << 20)
    pieces = [b"{", *[blank] * 40]
    headers = {"content-type": "application/json"}
    if compressed:
        packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
        packed = b"".join(packer.compress(one) for one in [b"{", *[blank] * 2_000])
        pieces = [packed + packer.flush()]
        headers["content-encoding"] = "gzip"
    answer = Answer(pieces=pieces, status=status, headers=headers)
    tracemalloc.start()
    try:
        async with ModelServer([answer]) as server:
            _, said = await ask(endpoint(server.url, retries=0))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ("larger than" in said) if status == 200 else ("HTTP 400" in said)
    assert peak < 120 << 20


async def test_an_answer_that_is_not_what_its_header_says() -> None:
    broken = {"content-type": "text/event-stream", "content-encoding": "gzip"}
    async with ModelServer([Answer(pieces=[b"data: {}"], headers=broken)]) as server:
        _, said = await ask(endpoint(server.url, retries=0))
    assert "cannot be decompressed" in said


async def test_an_error_before_anything_was_said_is_tried_again() -> None:
    """A21: as an HTTP error of that code; after the first word it is final."""
    busy = Answer(pieces=[b'data: {"error": {"code": 503, "message": "Busy."}}\n\n'])
    async with ModelServer([busy, said({"content": "Hi"})]) as server:
        deltas, told = await ask(endpoint(server.url))
    assert told == ""
    assert TextDelta("Hi") in deltas
    fatal = Answer(pieces=[b'data: {"error": {"code": 400, "message": "Bad."}}\n\n'])
    async with ModelServer([fatal]) as server:
        _, told = await ask(endpoint(server.url))
    assert told == "Bad. (400)"


async def test_who_waits_is_told_how_long() -> None:
    """A20: an endpoint may ask for a minute, in seconds or by a date; people see it."""
    when = formatdate(time.time() + 3_600, usegmt=True)
    async with ModelServer([refused(429, {}, **{"retry-after": when})]) as server:
        _, told = await ask(endpoint(server.url))
    assert "asks to wait 3" in told
    pauses: list[float] = []

    async def waiting(wait_s: float) -> None:
        pauses.append(wait_s)

    async with (
        ModelServer([refused(503, {}), said({"content": "Hi"})]) as server,
        ModelClient(endpoint(server.url), waiting=waiting) as client,
    ):
        assert [d async for d in client.answer({})]
    assert len(pauses) == 1


@pytest.mark.parametrize("query", ["?api-version=1", "/?a=b"])
async def test_the_query_of_a_base_url_stays_behind_the_path(query: str) -> None:
    """A19."""
    async with ModelServer([said({"content": "Hi"})]) as server:
        await ask(endpoint(server.url + query))
    (request,) = server.requests
    assert request.path == "/v1/chat/completions?" + query.partition("?")[2]
