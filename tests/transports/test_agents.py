"""`GET /v1/agents`, and the refusal of a name that is not in it, as clients meet them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.app import Gateway, GatewayWorker
from gateway.auth.token import mint_token
from gateway.broker.memory import MemoryBroker
from gateway.runtime.agent import FunctionAgent, agent
from gateway.runtime.context import RunContext
from gateway.settings import Settings, WorkerSettings
from tests.support.composed import composed
from tests.support.http import http_client
from tests.support.wire import Tab

SECRET = "a secret of more than thirty-two bytes"


@agent(name="cook", description="Cooks what you like.")
async def cook(run: RunContext) -> None:
    await run.say("Done.")


@agent(name="baker")
async def baker(run: RunContext) -> None:
    await run.say("Done.")


AGENTS: dict[str, FunctionAgent] = {"cook": cook, "baker": baker}


@pytest.fixture
async def gateway() -> AsyncIterator[tuple[Gateway, str]]:
    settings = Settings(auth="jwt", auth_secret=SECRET, drain_ms=1_000)
    async with composed(settings, agents=AGENTS) as (gateway, address):
        yield gateway, address


def token(**claims: Any) -> str:
    return mint_token(SECRET, subject="ann", tenant="acme", **claims)


def ws(address: str) -> str:
    return f"ws://{address}/v1/ws"


def bearer(**claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(**claims)}"}


async def test_d1_the_agents_with_their_descriptions(gateway: tuple[Gateway, str]) -> None:
    async with http_client(f"http://{gateway[1]}") as http:
        answer = await http.get("/v1/agents", headers=bearer())
        assert answer.status_code == 200
        assert answer.json() == {
            "agents": [
                {"name": "baker", "available": True},
                {"name": "cook", "available": True, "description": "Cooks what you like."},
            ]
        }
        assert answer.headers["cache-control"] == "no-store"
        assert (await http.get("/v1/agents")).status_code == 401
        assert (await http.post("/v1/agents", headers=bearer())).status_code == 405


async def test_a_token_sees_the_agents_that_it_may_use(gateway: tuple[Gateway, str]) -> None:
    async with http_client(f"http://{gateway[1]}", headers=bearer(agents=["cook"])) as http:
        rows = (await http.get("/v1/agents")).json()["agents"]
        assert [row["name"] for row in rows] == ["cook"]
        refused = await http.post("/v1/sessions", json={"agent": "bakr"})
        assert refused.json()["code"] == "auth.forbidden", "what it may not use is not told"


async def test_n11_a_misspelt_agent_is_told_by_every_door(gateway: tuple[Gateway, str]) -> None:
    details = {"agent": "coook", "did_you_mean": ["cook"]}
    text = 'There is no agent "coook". Did you mean "cook"?'
    async with (
        http_client(f"http://{gateway[1]}", headers=bearer()) as http,
        Tab(f"ws://{gateway[1]}/v1/ws", token=token()) as tab,
    ):
        answer = await http.post("/v1/sessions", json={"agent": "coook", "id": "k_1"})
        assert answer.status_code == 404
        body = answer.json()
        assert (body["code"], body["message"]) == ("agent.not_found", text)
        assert (body["details"], body["id"], body["retryable"]) == (details, "k_1", False)
        frame = await tab.ask({"type": "session.create", "agent": "coook"})
        assert (frame["code"], frame["message"]) == ("agent.not_found", text)
        assert frame["details"] == details
        assert (await tab.must({"type": "session.list"}))["sessions"] == []


async def test_b8_sessions_of_an_agent_that_is_no_more() -> None:
    """The process was started again with other agents; what was said can still be read."""
    broker = MemoryBroker()
    async with composed(agents=AGENTS, broker=broker) as (_, address), Tab(ws(address)) as tab:
        session = await tab.create("baker")
    broker._announcements._agents.clear()
    agents = {"cook": cook}
    async with composed(agents=agents, broker=broker) as (_, address), Tab(ws(address)) as tab:
        await tab.subscribe(session)
        for frame in (
            {"type": "message.send", "session": session, "content": "Hi"},
            {"type": "run.start", "session": session},
        ):
            answer = await tab.ask(frame)
            assert answer["code"] == "agent.not_found"
            assert answer["session"] == session
        note = {"type": "message.send", "session": session, "content": "!", "start": False}
        await tab.must(note)
        await tab.must({"type": "session.update", "session": session, "metadata": {"a": 1}})
        await tab.must({"type": "session.delete", "session": session})


async def test_n11_a_known_agent_without_a_worker_waits_and_is_listed() -> None:
    broker = MemoryBroker()
    worker = GatewayWorker(WorkerSettings(drain_ms=500), agents=AGENTS, broker=broker)
    settings = Settings(runs=False, drain_ms=500)
    async with (
        composed(settings, broker=broker) as (_, address),
        Tab(ws(address)) as tab,
        http_client(f"http://{address}") as http,
    ):
        await tab.create("bakr")  # nobody has offered anything: who knows
        async with worker.running():
            rows = (await http.get("/v1/agents")).json()["agents"]
            assert {r["name"]: r["available"] for r in rows} == {"baker": True, "cook": True}
        rows = (await http.get("/v1/agents")).json()["agents"]
        assert {r["name"]: r["available"] for r in rows} == {"baker": False, "cook": False}
        session = await tab.create("baker")
        await tab.subscribe(session)
        await tab.message(session, "Hi")
        activity = await tab.wait_for("run.activity", within=15)
        assert activity["activity"] == "waiting_for_worker"
