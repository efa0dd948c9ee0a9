"""What an operator sees when the broker goes away and comes back."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.conftest import StartGateway
from tests.support.processes import GatewayProcess, Valkey
from tests.support.waiting import eventually
from tests.support.wire import Tab


@pytest.fixture
async def own_valkey(tmp_path: Path) -> AsyncIterator[Valkey]:
    """One that may be frozen and killed."""
    server = await Valkey(tmp_path / "valkey", append_only=True).start()
    yield server
    await server.kill()


async def status(served: GatewayProcess, path: str = "/readyz") -> int:
    async with httpx2.AsyncClient(base_url=served.http_url, trust_env=False) as client:
        return (await client.get(path)).status_code


async def test_a_frozen_broker(gateway: StartGateway, own_valkey: Valkey) -> None:
    served = await gateway("--broker", own_valkey.url)
    async with Tab(served.url) as tab:
        session = await tab.create("echo")
        await tab.subscribe(session)
        own_valkey.pause()
        try:
            message = {"type": "message.send", "session": session, "content": "1"}
            answer = await tab.ask(message, within=9)
            assert (answer["code"], answer["retryable"]) == ("broker.unavailable", True)
            await eventually(lambda: status_is(served, 503), within=20, what="not ready")
            assert await status(served, "/healthz") == 200
        finally:
            own_valkey.resume()
        await eventually(lambda: status_is(served, 200), within=20, what="ready again")
        ok = await tab.message(session, "2")
        await tab.run_end(session, ok["run"])
        assert tab.text(session, ok["run"]) == "2"
        tab.assert_dense(session)


async def test_a_restarted_broker(gateway: StartGateway, own_valkey: Valkey) -> None:
    served = await gateway("--broker", own_valkey.url)
    async with Tab(served.url) as tab:
        session = await tab.create("echo")
        await tab.subscribe(session)
        first = await tab.message(session, "one")
        await tab.run_end(session, first["run"])
        await own_valkey.restart()
        await eventually(lambda: status_is(served, 200), within=20, what="ready again")

        async def sent() -> bool:
            answer = await tab.ask({"type": "message.send", "session": session, "content": "two"})
            return answer["type"] == "ok"

        await eventually(sent, within=20, what="a command is taken again")
        await tab.wait_for("run.completed", since=tab.mark() - 1, within=20, session=session)
        state = (await tab.subscribe(session))["state"]
        texts = ["".join(p.get("text", "") for p in m["parts"]) for m in state["messages"]]
        assert texts[:2] == ["one", "one"]
        assert texts[-1] == "two"


async def status_is(served: GatewayProcess, wanted: int) -> bool:
    return await status(served) == wanted


async def test_metrics_count_what_happened(gateway: StartGateway) -> None:
    served = await gateway()
    async with Tab(served.url) as tab:
        session = await tab.create("echo")
        await tab.subscribe(session)
        ok = await tab.message(session, "Hi")
        await tab.run_end(session, ok["run"])
        await tab.ask({"type": "run.interrupt", "session": session})
    async with httpx2.AsyncClient(base_url=served.http_url, trust_env=False) as client:

        async def shown() -> dict[str, float]:
            lines = (await client.get("/metrics")).text.splitlines()
            pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
            return {name: float(value) for name, _, value in pairs}

        async def closed() -> bool:
            return (await shown())["agent_gateway_connections"] == 0

        await eventually(closed, what="the connection is closed")
        metrics = await shown()
    prefix = "agent_gateway_"
    assert metrics[f'{prefix}commands_total{{code="ok",type="message.send"}}'] == 1
    assert metrics[f'{prefix}commands_total{{code="run.not_active",type="run.interrupt"}}'] == 1
    assert metrics[f'{prefix}runs_total{{end="completed"}}'] == 1
    assert metrics[f"{prefix}events_appended_total"] == tab.events(session)[-1]["seq"]
    assert metrics[f'{prefix}frames_total{{direction="up"}}'] == 5
    assert metrics[f'{prefix}frames_total{{direction="down"}}'] == len(tab.frames)
    assert metrics[f"{prefix}subscriptions"] == metrics[f"{prefix}runs_active"] == 0
    assert sum(v for k, v in metrics.items() if "connections_closed_total" in k) == 1
