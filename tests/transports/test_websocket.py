"""The native endpoint under both kinds of server."""

from collections.abc import AsyncIterator

import pytest

from tests.support.inprocess import InProcess, delta, in_process, serving
from tests.support.wire import Tab


@pytest.fixture(params=["direct", "awaiting"])
async def url(request: pytest.FixtureRequest, inside: InProcess) -> AsyncIterator[str]:
    async with serving(inside, hardened=request.param == "direct") as port:
        yield f"ws://127.0.0.1:{port}/v1/ws"


@pytest.fixture
async def inside() -> AsyncIterator[InProcess]:
    async with in_process() as inside:
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
