"""One session as Server-Sent Events, by a real server."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import httpx2
import pytest

from gateway.auth import Grant
from gateway.auth.signature import SharedSecret
from gateway.auth.token import JwtAuth, mint_token
from gateway.delivery import roster as roster_module
from gateway.settings import Settings
from gateway.transports import sse
from protocol.values import Principal
from tests.support.http import http_client
from tests.support.inprocess import (
    InProcess,
    ManualClock,
    SlowBroker,
    delta,
    in_process,
    raw_socket,
    serving,
)
from tests.support.waiting import eventually

SECRET = "a secret of more than thirty-two bytes"
ANN = Principal("acme", "ann")


@dataclass
class Stream:
    """What came: (id, frame), and whether it is over."""

    headers: httpx2.Headers
    records: list[tuple[str | None, dict[str, Any]]] = field(default_factory=list[Any])
    comments: int = 0
    over: bool = False

    def take(self, record: str) -> None:
        lines = record.split("\n")
        if lines == [":"]:
            self.comments += 1
            return
        fields = dict(line.split(": ", 1) for line in lines)
        assert fields.keys() <= {"id", "data"}
        self.records.append((fields.get("id"), json.loads(fields["data"])))

    async def get(self, kind: str, **wanted: Any) -> tuple[str | None, dict[str, Any]]:
        def found() -> list[tuple[str | None, dict[str, Any]]]:
            return [
                record
                for record in self.records
                if record[1]["type"] == kind and wanted.items() <= record[1].items()
            ]

        return (await eventually(found, within=5, what=kind))[0]


@asynccontextmanager
async def stream(port: int, *, headers: Any = None, **query: Any) -> AsyncGenerator[Stream]:
    token = mint_token(SECRET, subject="ann", tenant="acme", detail="full")
    auth = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=auth, timeout=10) as http:
        url = f"http://127.0.0.1:{port}/v1/sessions/s_1/events"
        async with (
            http.stream("GET", url, params=query, headers=headers) as response,
            asyncio.TaskGroup() as group,
        ):
            assert response.status_code == 200, await response.aread()
            stream = Stream(response.headers)

            async def read() -> None:
                rest = ""
                async for text in response.aiter_text():
                    *records, rest = (rest + text).split("\n\n")
                    for record in records:
                        stream.take(record)
                stream.over = True

            reader = group.create_task(read())
            yield stream
            reader.cancel()


@pytest.fixture
async def inside() -> AsyncIterator[InProcess]:
    async with in_process(auth=JwtAuth(SharedSecret(SECRET))) as inside:
        await inside.create("s_1", ANN)
        yield inside


@pytest.fixture
async def port(inside: InProcess) -> AsyncIterator[int]:
    async with serving(inside) as port:
        yield port


async def test_state_and_then_events(port: int, inside: InProcess) -> None:
    async with stream(port) as events:
        identity, subscribed = await events.get("subscribed")
        assert identity == f"{subscribed['epoch']}:1"
        assert subscribed["state"]["session"] == "s_1"
        await inside.append("s_1", delta("a"))
        identity, event = await events.get("message.delta")
        assert (identity, event["delta"]) == (f"{subscribed['epoch']}:2", "a")
        assert events.headers["content-type"].startswith("text/event-stream")
        assert events.headers["x-accel-buffering"] == "no"
    await eventually(lambda: len(inside.delivery.roster) == 0)
    assert inside.delivery.hub._follows == {}


async def test_the_last_event_id_resumes(port: int, inside: InProcess) -> None:
    await inside.append("s_1", *(delta(str(n), part=n % 2) for n in range(1000)))
    async with stream(port) as events:
        identity, subscribed = await events.get("subscribed")
        assert identity is not None
    epoch = subscribed["epoch"]
    async with stream(port, headers={"Last-Event-ID": f"{epoch}:500"}) as events:
        assert (await events.get("subscribed"))[1]["recovered"] is True
        assert (await events.get("cursor"))[0] == f"{epoch}:1001"
        seqs = [frame["seq"] for _, frame in events.records if "time" in frame]
        assert seqs == list(range(501, 1002))
    async with stream(port, after=1000, epoch=epoch, detail="answer") as events:
        _, subscribed = await events.get("subscribed")
        assert (subscribed["recovered"], subscribed["detail"]) == (True, "answer")
    async with stream(port, headers={"Last-Event-ID": "nonsense"}) as events:
        assert (await events.get("subscribed"))[1]["recovered"] is False


@pytest.mark.parametrize(
    ("path", "token", "status", "code"),
    [
        ("s_1", None, 401, "auth.required"),
        ("s_1", "bob", 404, "session.not_found"),
        ("s_none", "ann", 404, "session.not_found"),
        ("s_1?after=-1", "ann", 400, "frame.malformed"),
    ],
)
async def test_refusals(
    port: int, inside: InProcess, path: str, token: str | None, status: int, code: str
) -> None:
    headers = {}
    if token is not None:
        signed = mint_token(SECRET, subject=token, tenant="acme")
        headers = {"Authorization": f"Bearer {signed}"}
    path, _, query = path.partition("?")
    url = f"http://127.0.0.1:{port}/v1/sessions/{path}/events?{query}"
    async with httpx2.AsyncClient() as http:
        answer = await http.get(url, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert len(inside.delivery.roster) == 0


async def test_a_session_that_is_lost_is_told(port: int, inside: InProcess) -> None:
    async with stream(port) as events:
        await events.get("subscribed")
        del inside.broker._sessions["s_1"]  # type: ignore[attr-defined]  # nothing public loses one without a word
        await inside.delivery.hub.check("s_1")
        identity, error = await events.get("error")
        assert (identity, error["code"]) == (None, "session.not_found")


async def test_a_comment_keeps_it_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster_module, "TICK_S", 0.01)
    settings = Settings(heartbeat_ms=50)
    async with (
        in_process(auth=JwtAuth(SharedSecret(SECRET)), settings=settings) as inside,
        serving(inside) as port,
    ):
        await inside.create("s_1", ANN)
        async with stream(port) as events:
            await eventually(lambda: events.comments > 2)


async def test_it_ends_with_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster_module, "TICK_S", 0.01)
    wall = ManualClock(time.time())
    async with (
        in_process(auth=JwtAuth(SharedSecret(SECRET)), wall=wall) as inside,
        serving(inside) as port,
    ):
        await inside.create("s_1", ANN)
        async with stream(port) as events:
            await events.get("subscribed")
            wall.now += 3_600
            await inside.append("s_1", delta("still there"))
            await events.get("message.delta")
            wall.now += 100
            await eventually(lambda: events.over)


async def test_it_ends_with_the_process(inside: InProcess) -> None:
    async with serving(inside) as port, stream(port) as events:
        await events.get("subscribed")
        await inside.delivery.roster.drain(2)
        assert (await events.get("goaway"))[1]["reason"] == "restart"
        await eventually(lambda: events.over)


@pytest.mark.parametrize("options", [{"handshakes_burst": 1}, {"max_connections": 1}])
async def test_no_more_than_are_let_in(options: dict[str, Any]) -> None:
    settings = Settings(handshakes_per_s=1, **options)
    auth = JwtAuth(SharedSecret(SECRET))
    async with in_process(auth=auth, settings=settings, clock=ManualClock()) as inside:
        await inside.create("s_1", ANN)
        async with serving(inside) as port, stream(port) as events, httpx2.AsyncClient() as http:
            await events.get("subscribed")
            answer = await http.get(f"http://127.0.0.1:{port}/v1/sessions/s_1/events")
            assert answer.status_code == 503
            assert 1 <= int(answer.headers["retry-after"]) <= 5


async def test_one_that_does_not_read_is_slow_and_can_be_shed(
    inside: InProcess, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading again soon, it has its end in order."""
    monkeypatch.setattr(roster_module, "TICK_S", 0.05)
    monkeypatch.setattr(sse, "LAST_S", 30.0)
    async with stream(port) as events, unread(inside, port) as reader:
        last = 1 + 100 * 10
        await events.get("message.delta", seq=last)
        roster = inside.delivery.roster
        await eventually(lambda: sum(member.slow for member in roster._members) == 1)
        assert roster.shed(5) == 1
        reader._transport.resume_reading()  # type: ignore[attr-defined]  # a StreamReader shows none
        rest = b""
        async with asyncio.timeout(30):
            while not rest.endswith(b"0\r\n\r\n"):  # the end of the stream
                rest = rest[-5:] + await reader.read(65_536)
        await eventually(lambda: len(roster) == 1, what="it is gone")
        assert not events.over


@asynccontextmanager
async def unread(inside: InProcess, port: int) -> AsyncGenerator[asyncio.StreamReader]:
    """A stream whose client reads no more, and much that it should."""
    token = mint_token(SECRET, subject="ann", tenant="acme", detail="full")
    head = (
        f"GET /v1/sessions/s_1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    async with raw_socket(port) as (reader, writer):
        writer.write(head.encode())
        await reader.readuntil(b"subscribed")
        reader._transport.pause_reading()  # type: ignore[attr-defined]  # a StreamReader shows none
        for _ in range(100):
            await inside.append("s_1", *(delta("x" * 8_000, part=m % 2) for m in range(10)))
        yield reader


async def test_one_that_takes_nothing_is_cut_off_when_it_ends(
    inside: InProcess, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "LAST_S", 0.2)
    roster = inside.delivery.roster
    async with unread(inside, port) as reader:
        member = cast("sse.EventStream", next(iter(roster._members)))
        await eventually(lambda: member._sending, what="the socket is full")
        member.close(1012)
        await eventually(lambda: not len(roster), what="it is gone")
        reader._transport.resume_reading()  # type: ignore[attr-defined]  # a StreamReader shows none
        assert not (await reader.read()).endswith(b"0\r\n\r\n"), "what waited was thrown away"


async def test_one_that_takes_nothing_for_long_is_cut_off() -> None:
    settings = Settings(write_timeout_ms=200)
    async with in_process(auth=JwtAuth(SharedSecret(SECRET)), settings=settings) as inside:
        await inside.create("s_1", ANN)
        async with serving(inside) as port, unread(inside, port):
            await eventually(lambda: not len(inside.delivery.roster), what="it is gone")


async def test_head_has_the_head_alone(inside: InProcess, port: int) -> None:
    token = mint_token(SECRET, subject="ann", tenant="acme")
    async with http_client(headers={"Authorization": f"Bearer {token}"}) as http:
        for _ in range(2):
            answer = await http.head(f"http://127.0.0.1:{port}/v1/sessions/s_1/events")
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
    assert len(inside.delivery.roster) == 0


async def test_a_stream_that_may_not_be_seen_any_more_ends(port: int, inside: InProcess) -> None:
    """By a share taken away; the last frame says why."""
    store, owner = inside.delivery.store, Grant(Principal("acme", "bob"), "full")
    await inside.create("s_2", owner.principal)
    await store.sharing.set("s_2", owner, "ann", "read")
    token = mint_token(SECRET, subject="ann", tenant="acme")
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http:
        url = f"http://127.0.0.1:{port}/v1/sessions/s_2/events"
        async with http.stream("GET", url) as response:
            text = ""
            async for piece in response.aiter_text():
                text += piece
                if "subscribed" in text and "error" not in text:
                    await store.sharing.set("s_2", owner, "ann", None)
                    await inside.delivery.control.look_again("s_2")
    assert '"code":"session.not_found"' in text.split("\n\n")[-2]
    await eventually(lambda: len(inside.delivery.roster) == 0)


async def test_nor_one_that_only_begins_when_it_is_taken_back() -> None:
    broker = SlowBroker()
    auth = JwtAuth(SharedSecret(SECRET))
    async with in_process(auth=auth, broker=broker) as inside, serving(inside) as port:
        store, owner = inside.delivery.store, Grant(Principal("acme", "bob"), "full")
        await inside.create("s_1", owner.principal)
        await inside.append("s_1", delta("a"))
        await store.sharing.set("s_1", owner, "ann", "read")

        async def take_back() -> None:
            await broker.begun.wait()
            await store.sharing.set("s_1", owner, "ann", None)
            await inside.delivery.control.look_again("s_1")
            await asyncio.sleep(0)  # the word is heard
            broker.go_on.set()

        async with asyncio.TaskGroup() as group:
            group.create_task(take_back())
            async with stream(port, after=0) as ann:
                assert (await ann.get("error"))[1]["code"] == "session.not_found"
                await eventually(lambda: ann.over)
