"""What a process is made of comes up together, goes down in order, and leaves nothing."""

import asyncio
import gc
import re
import subprocess
import sys
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from gateway.app import Gateway, GatewayWorker, create_app
from gateway.auth import Grant, NoAuth
from gateway.auth.token import mint_token
from gateway.broker.memory import MemoryBroker
from gateway.errors import ConfigurationError
from gateway.runtime.agent import FunctionAgent
from gateway.runtime.context import RunContext
from gateway.settings import Settings, WorkerSettings
from protocol.errors import ProtocolError
from protocol.values import Principal
from tests.support.composed import composed
from tests.support.processes import ROOT, free_port
from tests.support.waiting import eventually
from tests.support.wire import Tab


async def test_everything_ends_with_it() -> None:
    before = asyncio.all_tasks()
    async with composed() as (gateway, address), Tab(f"ws://{address}/v1/ws") as tab:
        session = await tab.create("echo")
        await tab.subscribe(session)
        ok = await tab.message(session, "Hi")
        await tab.run_end(session, ok["run"])
        assert gateway.unready() is None
    gc.collect()
    await eventually(lambda: asyncio.all_tasks() <= before, what="no task is left")


async def test_a_gateway_and_a_worker_share_a_broker() -> None:
    broker = MemoryBroker()
    settings = Settings(runs=False, drain_ms=1_000)
    async with (
        composed(settings, broker=broker) as (gateway, address),
        GatewayWorker(WorkerSettings(), broker=broker).running(),
        Tab(f"ws://{address}/v1/ws") as tab,
    ):
        assert gateway.worker is None
        session = await tab.create("echo")
        await tab.subscribe(session)
        ok = await tab.message(session, "Hi")
        assert (await tab.run_end(session, ok["run"]))["type"] == "run.completed"


async def test_it_is_not_ready_while_it_drains() -> None:
    async with AsyncExitStack() as stack:
        gateway, address = await stack.enter_async_context(composed(Settings(drain_ms=2_000)))
        async with (
            Tab(f"ws://{address}/v1/ws") as tab,
            httpx2.AsyncClient(base_url=f"http://{address}", trust_env=False) as client,
        ):
            assert (await client.get("/readyz")).status_code == 200
            async with asyncio.TaskGroup() as group:
                group.create_task(gateway.drain())
                await tab.wait_for("goaway")
                answer = await client.get("/readyz")
                assert (answer.status_code, answer.json()["reason"]) == (503, "draining")


async def test_a_run_is_finished_before_the_end() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(run: RunContext) -> None:
        await run.say("One.")
        begun.set()
        await go_on.wait()
        await run.say("Two.")

    broker = MemoryBroker()
    agents = {"slow": FunctionAgent(name="slow", function=slow)}
    async with AsyncExitStack() as stack:
        gateway, address = await stack.enter_async_context(
            composed(Settings(drain_ms=10_000), agents=agents, broker=broker)
        )
        async with Tab(f"ws://{address}/v1/ws") as tab:
            session = await tab.create("slow")
            await tab.subscribe(session)
            ok = await tab.message(session, "Hi")
            await begun.wait()
            async with asyncio.TaskGroup() as group:
                group.create_task(gateway.drain())
                await tab.wait_for("goaway")
                go_on.set()
                assert (await tab.run_end(session, ok["run"]))["type"] == "run.completed"
                await tab.close()
    assert gateway.worker is not None
    assert gateway.worker.active == 0


def test_any_asgi_server_can_run_it() -> None:
    settings = Settings(insecure=True, drain_ms=200)
    with (
        TestClient(create_app(settings)) as client,
        client.websocket_connect("/v1/ws", subprotocols=["agent-gateway.v1"]) as socket,
    ):
        socket.send_text('{"type":"hello","client":"tab_1"}')
        assert '"type":"welcome"' in socket.receive_text()
        assert client.get("/healthz").json() == {"status": "alive"}
        assert client.get("/").status_code == 404


@pytest.mark.parametrize(
    "settings",
    [Settings(agents=("nobody",)), Settings(broker="kafka://x"), Settings(auth="own")],
    ids=["agent", "broker", "auth"],
)
def test_what_cannot_be_composed(settings: Settings) -> None:
    with pytest.raises(ConfigurationError):
        create_app(settings)


async def test_a_broker_that_is_not_there_is_told_plainly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = Settings(broker=f"redis://127.0.0.1:{free_port()}/0")
    async with composed(settings) as (gateway, _):
        assert "memory://" in caplog.text
        assert gateway.unready() == "the broker does not answer"


def test_what_is_not_asked_for_is_not_loaded() -> None:
    """By what is loaded, not by time: cryptography, HTTP clients and Redis are the heavy ones."""
    program = "import sys, gateway.app; gateway.app.create_app(); print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split())
    assert {"gateway.app", "gateway.agents.echo"} <= loaded
    assert not loaded & {"gateway.auth.token", "gateway.agents.openai", "gateway.agents.scripted"}
    assert not loaded & {"joserfc", "cryptography", "httpx2", "jsonschema", "redis"}


class ApiKeys:
    """Everybody has the same key."""

    async def authenticate(self, token: str | None) -> Grant:
        if token != "good":
            raise ProtocolError("auth.invalid")
        return Grant(Principal("acme", "ann"), "full")


@pytest.mark.parametrize("settings", [Settings(), Settings(auth="jwt", auth_secret="5" * 32)])
async def test_an_authenticator_of_ones_own_is_no_open_door(settings: Settings) -> None:
    """Any host may be asked for, and every limit holds that does with tokens."""
    gateway = Gateway(settings, authenticator=ApiKeys())
    transport = httpx2.ASGITransport(app=gateway.app, client=("8.8.8.8", 1))
    url = "http://gateway.example.com/v1"
    async with (
        gateway.running(),
        httpx2.AsyncClient(transport=transport, base_url=url) as http,
    ):
        good, bad = ({"Authorization": f"Bearer {key}"} for key in ("good", "bad"))
        made = await http.post("/sessions", json={"agent": "echo"}, headers=good)
        assert made.status_code == 201
        tried = [(await http.get("/sessions", headers=bad)).status_code for _ in range(61)]
        assert tried == [401] * 60 + [429]
    gateway.apply(Settings(max_subscriptions=7))
    assert gateway.settings.max_subscriptions == 7
    assert gateway.settings.hello_timeout_ms == 5_000
    assert gateway.settings.most_of_a_subject == 200


def test_whoever_lets_everybody_in_says_so() -> None:
    with pytest.raises(ConfigurationError, match="--insecure"):
        Gateway(Settings(host="0.0.0.0", auth="jwt", auth_secret="5" * 32), authenticator=NoAuth())


async def test_an_authorizer_as_the_documentation_has_it() -> None:
    """docs/authorization.md: its program is made an application, and does what it says."""
    page = (ROOT / "docs" / "authorization.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    made: dict[str, Any] = {}
    exec(program, made)
    secret = "at least thirty-two bytes, and random"
    tokens = {
        who: {"Authorization": f"Bearer {mint_token(secret, subject=who)}"}
        for who in ("ann", "bob", "support-1")
    }
    app = made["app"]
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app), base_url="http://gateway/v1"
        ) as http,
    ):
        body = {"agent": "echo", "session": "s_1"}
        assert (await http.post("/sessions", json=body, headers=tokens["ann"])).status_code == 201
        one = "/sessions/s_1"
        looks = [(await http.get(one, headers=t)).status_code for t in tokens.values()]
        assert looks == [200, 404, 200]
        ends = [(await http.delete(one, headers=t)).status_code for t in tokens.values()]
        assert ends == [403, 404, 403]
