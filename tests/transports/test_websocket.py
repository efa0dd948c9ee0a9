"""The native endpoint under both kinds of server."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from gateway.settings import Settings
from gateway.transports.websocket import native_endpoint
from tests.support.inprocess import InProcess, delta, in_process, serving
from tests.support.waiting import eventually
from tests.support.wire import Tab


@pytest.fixture(params=["direct", "awaiting"])
async def url(request: pytest.FixtureRequest, inside: InProcess) -> AsyncIterator[str]:
    async with serving(inside, hardened=request.param == "direct") as port:
        yield f"ws://127.0.0.1:{port}/v1/ws"


@pytest.fixture
async def inside() -> AsyncIterator[InProcess]:
    async with in_process(settings=Settings(write_timeout_ms=300)) as inside:
        yield inside


async def test_first_message_of_transcript_1(url: str, inside: InProcess) -> None:
    async with Tab(url, client="tab_A", hello=False) as tab:
        await tab.send(
            {"type": "hello", "client": "tab_A", "app": {"name": "demo", "version": "1.0.0"}},
            {"type": "session.create", "id": "k_1", "agent": "scripted", "session": "s_1"},
            {"type": "session.subscribe", "id": "k_2", "session": "s_1", "detail": "full"},
            {"type": "message.send", "id": "k_3", "session": "s_1", "content": "Hello"},
        )
        await tab.wait_for("run.queued")
        await inside.append("s_1", delta("Hi"), delta(" there"))
        await tab.wait_for("message.delta", seq=5)
        assert [f["type"] for f in tab.frames][:2] == ["welcome", "ok"]
        assert tab.find("welcome")[0]["principal"] == {"tenant": "local", "subject": "dev"}
        (subscribed,) = tab.find("subscribed")
        assert (subscribed["id"], subscribed["seq"], subscribed["recovered"]) == ("k_2", 1, False)
        assert subscribed["state"]["agent"] == "scripted"
        assert [f["seq"] for f in tab.assert_dense("s_1")] == [2, 3, 4, 5]


async def test_resume_gives_exactly_the_rest(url: str, inside: InProcess) -> None:
    await inside.create("s_1")
    await inside.append("s_1", *(delta(str(n)) for n in range(9)))
    async with Tab(url, sessions=[{"session": "s_1"}]) as tab:
        await tab.wait_for("subscribed")
        epoch = tab.frames[-1]["epoch"]
    async with Tab(url, sessions=[{"session": "s_1", "after": 4, "epoch": epoch}]) as tab:
        end = await tab.wait_for("cursor")
        assert end["seq"] == 10
        subscribed = tab.find("subscribed")[0]
        assert (subscribed["recovered"], subscribed["seq"]) == (True, 4)
        assert "".join(f["delta"] for f in tab.assert_dense("s_1")) == "345678"


async def test_the_connection_ends_with_the_clients(url: str, inside: InProcess) -> None:
    await inside.create("s_1")
    tab = await Tab(url, sessions=[{"session": "s_1"}]).open()
    await tab.wait_for("subscribed")
    await tab.cut()
    await tab.close()
    await eventually(lambda: len(inside.delivery.roster) == 0)
    assert inside.delivery.hub._follows == {}


async def test_the_client_learns_the_close_code(url: str, inside: InProcess) -> None:
    async with Tab(url, client="tab_A") as old, Tab(url, client="tab_A") as new:
        assert await old.wait_closed() == 4409
        await new.send_raw("{\n" * 10)
        assert await new.wait_closed() == 4400
    assert new.frames[-1]["code"] == "frame.malformed"
    await eventually(lambda: len(inside.delivery.roster) == 0)


async def test_a_client_that_takes_nothing_is_given_up(url: str, inside: InProcess) -> None:
    await inside.create("s_1")
    tab = await Tab(url, sessions=[{"session": "s_1"}]).open()
    await tab.wait_for("subscribed")
    socket = tab._socket
    assert socket is not None
    socket.transport.pause_reading()
    for _ in range(60):
        await inside.append("s_1", *(delta("x" * 10_000, part=m % 2) for m in range(20)))
    await eventually(lambda: len(inside.delivery.roster) == 0)
    socket.transport.abort()
    await tab.close()


async def test_another_version_or_origin_is_refused(inside: InProcess) -> None:
    async with serving(inside, origins=["https://app.example"]) as port:
        url = f"ws://127.0.0.1:{port}/v1/ws"
        wrong: list[dict[str, Any]] = [
            {"subprotocols": [Subprotocol("agent-gateway.v2")], "origin": "https://app.example"},
            {"origin": "https://evil.example"},
        ]
        for options in wrong:
            with pytest.raises(InvalidStatus) as refused:
                await Tab(url, **options).open()
            assert refused.value.response.status_code in (400, 403)
        async with Tab(url, origin="https://app.example") as tab:
            assert tab._socket is not None
            assert tab._socket.subprotocol == "agent-gateway.v1"
        async with Tab(url, origin="https://app.example", subprotocols=None) as tab:
            assert tab._socket is not None
            assert tab._socket.subprotocol is None


async def test_a_bug_of_ours_ends_one_connection_alone(
    url: str,
    inside: InProcess,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Tab(url) as tab:
        (connection,) = inside.delivery.roster._members
        async with Tab(url) as other:
            monkeypatch.setattr(connection, "_inbox", None)
            await tab.send({"type": "ping"})
            assert await tab.wait_closed() == 1012
            await other.send({"type": "ping"})
            await other.wait_for("pong")
    assert "failed" in caplog.text


SESSIONS = [f"s_{n}" for n in range(6)]


async def restless(url: str, rng: random.Random, client: str) -> None:
    """A tab that reconnects again and again, acknowledges or not, and never misses an event."""
    positions: dict[str, dict[str, Any]] = {}
    for _ in range(6):
        wanted: list[dict[str, Any]] = [
            {"session": session, **positions.get(session, {}), "window": rng.choice([1, 8, 512])}
            for session in rng.sample(SESSIONS, 3)
        ]
        tab = await Tab(url, client=client, sessions=wanted).open()
        for subscription in wanted:
            await tab.wait_for("subscribed", session=subscription["session"])
        for _ in range(rng.randint(1, 20)):
            acks = [tab.position(subscription["session"]) for subscription in wanted]
            await tab.send(
                *({"type": "ack", "session": at["session"], "seq": at["after"]} for at in acks)
            )
            await asyncio.sleep(0.003)
        if rng.random() < 0.5:
            await tab.cut()
        await tab.close()
        assert tab.find("error") == []
        for subscription in wanted:
            session = subscription["session"]
            tab.assert_dense(session)
            if "after" in subscription:
                assert tab.find("subscribed", session=session, recovered=True)
            positions[session] = tab.position(session)


async def test_reconnects_windows_and_cuts_leave_no_hole(url: str, inside: InProcess) -> None:
    rng = random.Random(4)
    for session in SESSIONS:
        await inside.create(session)

    async def produce() -> None:
        while True:
            for session in SESSIONS:
                events = (delta("x" * rng.randint(1, 60)) for _ in range(rng.randint(1, 30)))
                await inside.append(session, *events)
            await asyncio.sleep(0.003)

    async with asyncio.TaskGroup() as group:
        producer = group.create_task(produce())
        async with asyncio.TaskGroup() as tabs:
            for n in range(4):
                tabs.create_task(restless(url, random.Random(n), f"tab_{n}"))
        producer.cancel()
    await eventually(lambda: len(inside.delivery.roster) == 0)
    assert inside.delivery.hub._follows == {}


class Handshake:
    """An ASGI server without extensions whose client may be gone already."""

    def __init__(self, *, gone: bool = False, subprotocols: list[str] | None = None) -> None:
        self.sent: list[dict[str, Any]] = []
        self._gone = gone
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "path": "/v1/ws",
            "headers": [],
            "subprotocols": subprotocols or [],
        }

    async def receive(self) -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(self, message: Any) -> None:
        if self._gone:
            raise OSError("gone")
        self.sent.append(message)


async def test_other_servers_close_what_they_cannot_refuse(inside: InProcess) -> None:
    server = Handshake(subprotocols=["agent-gateway.v2"])
    endpoint = native_endpoint(inside.delivery, lambda _: None)
    await endpoint(WebSocket(server.scope, server.receive, server.send))
    assert [(m["type"], m["code"]) for m in server.sent] == [("websocket.close", 4406)]


async def test_a_client_that_does_not_wait_for_the_handshake(inside: InProcess) -> None:
    server = Handshake(gone=True)
    endpoint = native_endpoint(inside.delivery, lambda _: None)
    await endpoint(WebSocket(server.scope, server.receive, server.send))
    assert len(inside.delivery.roster) == 0
