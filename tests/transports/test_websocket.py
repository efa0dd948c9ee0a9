"""The native endpoint under both kinds of server."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from gateway.settings import Settings
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
