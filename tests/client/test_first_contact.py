"""A stranger's first mistakes with the Python client: each ends at once, in words that help.

Real gateways where they can be brought to it; else small real servers that answer as the contract
of `GET /v1/handshake` and of docs/protocol.md says.
"""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from gateway.app import create_app
from gateway.auth.token import mint_token
from gateway.client import AsyncClient, Client, GatewayError, Reply
from gateway.client.words import SENTENCES
from gateway.settings import Settings
from tests.client.conftest import AGENTS, Join
from tests.client.odd import WELCOME, odd, say, subscribed
from tests.conftest import StartGateway
from tests.support.processes import GatewayProcess, Valkey
from tests.support.waiting import eventually
from tests.support.wire import Tab

SECRET = "first-contact-secret-of-32-bytes!"


async def refused(url: str, **options: Any) -> GatewayError:
    """The error of a first connect."""
    with pytest.raises(GatewayError) as error:
        await AsyncClient(url, **options).connect(timeout=20)
    return error.value


@asynccontextmanager
async def refusing(status: int, body: Any, *, times: int = 1_000) -> AsyncGenerator[str]:
    """A gateway that answers so many handshakes by HTTP, and welcomes whoever comes later."""
    left = times

    def refuse(peer: ServerConnection, _: Request) -> Response | None:
        nonlocal left
        left -= 1
        return peer.respond(HTTPStatus(status), json.dumps(body)) if left >= 0 else None

    async def talk(peer: ServerConnection) -> None:
        await peer.recv()
        await say(peer, WELCOME)
        await peer.wait_closed()

    async with serve(talk, "127.0.0.1", 0, process_request=refuse) as started:
        yield f"http://127.0.0.1:{next(iter(started.sockets)).getsockname()[1]}"


def error_frame(code: str, message: str, **details: Any) -> dict[str, Any]:
    frame = {"type": "error", "code": code, "message": message, "retryable": False}
    return {**frame, "details": details}


@asynccontextmanager
async def served_by_uvicorn(app: ASGIApp) -> AsyncGenerator[str]:
    """An application on a port of its own, with its lifespan."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    listener = socket.create_server(("127.0.0.1", 0))
    async with asyncio.TaskGroup() as group:
        group.create_task(server._serve([listener]))  # without its signal handlers
        await eventually(lambda: server.started, what="it has started")
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True


# --- N10: not allowed from here


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("origin", "https://shop.example may not connect: add it to allowed_origins."),
        ("host", "The host gateway.internal is not ours: set --host or allowed_hosts."),
    ],
)
async def test_n10_what_the_gateway_does_not_allow(reason: str, message: str) -> None:
    """N10: the reason, and the setting, reach the program; nothing is tried again."""
    said = error_frame("auth.forbidden", message, reason=reason, setting="allowed_origins")
    async with refusing(403, said) as url:
        error = await refused(url)
    assert (error.code, error.kind) == ("auth.forbidden", "not_allowed")
    assert error.message == f"{SENTENCES['not_allowed']} {message}"
    assert (error.cause, error.details["reason"]) == (message, reason)


async def test_n10_a_gateway_that_is_full_is_waited_for() -> None:
    """Only what cannot heal is final."""
    said = {**error_frame("server.draining", "Back soon."), "retryable": True}
    async with refusing(503, said, times=2) as url, AsyncClient(url) as client:
        assert client.status == "open"


async def test_n10_a_gateway_that_stays_full_is_told_by_its_own_words() -> None:
    said = {**error_frame("broker.unavailable", "Redis is full."), "retryable": True}
    async with refusing(503, said) as url:
        with pytest.raises(GatewayError, match=r"broker.unavailable: Redis is full\.") as error:
            await AsyncClient(url).connect(timeout=1)
    assert error.value.retryable


# --- N11: no such agent, and nobody to take it


@pytest.mark.parametrize("at", ["session.create", "message.send"])
async def test_n11_an_unknown_agent_is_told_at_once(at: str) -> None:
    """N11: where it waited for ever."""
    message = 'There is no agent "echoo". Did you mean "echo"?'
    unknown = error_frame("agent.not_found", message, agent="echoo", did_you_mean=["echo"])

    async def talk(peer: ServerConnection, frame: dict[str, Any]) -> None:
        if frame["type"] == "hello":
            await say(peer, WELCOME)
        elif frame["type"] == at:
            await say(peer, {**unknown, "id": frame["id"]})
        elif frame["type"] == "session.create":
            await say(peer, {"type": "ok", "id": frame["id"], "session": frame["session"]})
        elif frame["type"] == "session.subscribe" and at != "session.create":
            await say(peer, subscribed(frame))

    async with odd(talk) as url, AsyncClient(url) as client:
        with pytest.raises(GatewayError, match='Did you mean "echo"') as error:
            await client.agent("echoo").send_message("Hello")
    assert (error.value.code, error.value.kind) == ("agent.not_found", "no_agent")
    assert error.value.details["did_you_mean"] == ["echo"]
    assert error.value.sentence == SENTENCES["no_agent"]


async def test_n11_nobody_takes_it_is_seen_and_goes_away(
    gateway: StartGateway, valkey: Valkey, join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    """N11: a known agent whose worker is away: said while it lasts, answered when one comes."""
    front = await gateway("--broker", valkey.url, *AGENTS, "--no-runs")
    worker = await gateway("--broker", valkey.url, *AGENTS, command="worker")
    client = await join(front)
    assert (await client.agent("echo").send_message("there?")).text == "there?"
    await worker.terminate()
    agent = client.agent("echo")
    replies: list[Reply] = []
    heard: list[tuple[str, bool]] = []
    stream = agent.send_message(
        "Hi", stream=True, on_message=lambda text, done: heard.append((text, done))
    )
    async for reply in stream:
        replies.append(reply)
        if reply.waiting_for_worker:
            waiting = (await agent.session()).waiting_for_worker
            assert (reply.notice, waiting) == (SENTENCES["no_worker"], True)
            await worker.start()
    assert replies[0].waiting_for_worker
    assert (replies[-1].text, replies[-1].done, replies[-1].notice) == ("Hi", True, "")
    assert not (await agent.session()).waiting_for_worker
    assert "" not in dict(heard), "a callback for text hears of text alone"
    assert [r.getMessage() for r in caplog.records if r.name == "gateway.client"] == [
        f"{SENTENCES['no_worker']} No worker has the agent echo."
    ]


async def test_n11_a_run_tells_that_nobody_takes_it(
    gateway: StartGateway, valkey: Valkey, join: Join
) -> None:
    front = await gateway("--broker", valkey.url, *AGENTS, "--no-runs")
    worker = await gateway("--broker", valkey.url, *AGENTS, command="worker")
    client = await join(front)
    steps = [{"output": 1}]
    assert (await client.run({"app": "scripted", "input": steps})).output == 1
    await worker.terminate()
    activities: list[str | None] = []
    outputs: list[Any] = []
    async for update in client.run({"app": "scripted", "input": steps}, stream=True):
        activities.append(update.activity)
        outputs.append(update.output)
        if update.activity == "waiting_for_worker":
            await worker.start()
    assert "waiting_for_worker" in activities
    assert outputs[-1] == 1


# --- N12, N36: not signed in


@pytest.fixture
async def guarded(gateway: StartGateway) -> GatewayProcess:
    """A gateway that asks for tokens."""
    environment = {"AGENT_GATEWAY_AUTH_SECRET": SECRET}
    return await gateway("--auth", "jwt", *AGENTS, environment=environment)


async def test_n12_without_a_token(guarded: GatewayProcess) -> None:
    """N12: in place of "The client is closed", at the connect and at whatever is called then."""
    client = AsyncClient(guarded.http_url)
    with pytest.raises(GatewayError) as first:
        await client.connect()
    assert first.value.code == "auth.required"
    with pytest.raises(GatewayError) as late:
        await client.agent("echo").send_message("Hi")
    assert late.value.message == (
        "You are not signed in. No token was given. Pass token=… (or api_key=…) to the client."
    )
    await client.close()
    with pytest.raises(GatewayError, match="connect first"):
        await client.agent("echo").send_message("Hi")


async def test_n12_without_asyncio(guarded: GatewayProcess) -> None:
    def use() -> None:
        with Client(guarded.http_url) as client:
            client.agent("echo").send_message("Hi")

    with pytest.raises(GatewayError) as error:
        await asyncio.to_thread(use)
    assert (error.value.code, error.value.kind) == ("auth.required", "not_signed_in")


async def test_n12_what_was_sent_before_the_refusal_gets_it_as_its_answer(
    guarded: GatewayProcess,
) -> None:
    client = AsyncClient(guarded.http_url)
    with pytest.raises(GatewayError) as error:
        await client.session(agent="echo")  # connects first
    assert error.value.code == "auth.required"
    await client.close()


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (lambda: mint_token(SECRET, subject="ann", ttl_s=-600), "auth.expired"),
        (lambda: mint_token("x" * 32, subject="ann"), "auth.invalid"),
        (lambda: mint_token(SECRET, subject="ann", aud="another"), "auth.invalid"),
        (lambda: "garbage", "auth.invalid"),
        (lambda: "", "auth.required"),
    ],
)
async def test_n36_bad_tokens_and_none_read_differently(
    guarded: GatewayProcess, token: Any, code: str
) -> None:
    """N36: what the client is told of five tokens."""
    error = await refused(guarded.http_url, token=token())
    assert (error.code, error.kind) == (code, "not_signed_in")
    assert ("No token was given" in error.message) == (code == "auth.required")
    assert ("has expired" in error.message) == (code == "auth.expired")


async def test_n36_another_audience_is_named_where_the_gateway_says_so() -> None:
    async def talk(peer: ServerConnection, _: dict[str, Any]) -> None:
        await say(peer, error_frame("auth.invalid", "The token is not valid.", reason="audience"))
        await peer.close(4401, "not authenticated")

    async with odd(talk) as url:
        error = await refused(url, token="good.but.foreign")
    assert error.cause.endswith("It is meant for another audience.")


async def test_n36_a_token_that_ends_later_ends_the_sessions_with_its_own_code() -> None:
    async def talk(peer: ServerConnection, frame: dict[str, Any]) -> None:
        if frame["type"] == "hello":
            await say(peer, WELCOME)
        elif frame["type"] == "session.subscribe":
            await say(peer, subscribed(frame))
        elif frame["type"] == "message.send":
            await say(peer, error_frame("auth.expired", "The token has expired."))
            await peer.close(4401, "not authenticated")

    async with odd(talk) as url, AsyncClient(url, token="t") as client:
        session = await client.session("s_1")
        with pytest.raises(GatewayError) as error:
            await session.send("Hi")
        assert error.value.code == "auth.expired"
        assert session.error is not None
        assert (session.error.code, session.closed) == ("auth.expired", True)


# --- N35: another address


@pytest.fixture
async def mounted() -> AsyncIterator[str]:
    """A gateway below /agents of somebody's application."""
    gateway = create_app(Settings(agents=("echo",), drain_ms=200))
    routes = [Mount("/agents", gateway)]
    app = Starlette(routes=routes, lifespan=gateway.router.lifespan_context)
    async with served_by_uvicorn(app) as url:
        yield url


@pytest.mark.parametrize("path", ["/agents", "/agents/", "/agents/v1/ws"])
async def test_n35_a_gateway_that_is_mounted(mounted: str, path: str) -> None:
    """N35: the url may be the mount's path."""
    async with AsyncClient(mounted + path) as client:
        assert (await client.agent("echo").send_message("Hi")).text == "Hi"


@pytest.mark.parametrize("path", ["", "/agent", "/agents/v2/v1/ws"])
async def test_n35_a_wrong_path_is_no_gateway(mounted: str, path: str) -> None:
    """N35: and not "forbidden, for good", which is what the server answers there (403)."""
    error = await refused(mounted + path)
    assert (error.code, error.kind) == ("client.no_gateway", "no_gateway")
    assert error.message.startswith(SENTENCES["no_gateway"])
    tried = error.details["url"]
    assert tried.startswith("ws://")
    assert tried.endswith("/v1/ws")
    assert tried in error.message


async def test_n35_a_site_that_is_no_gateway_at_all() -> None:
    async with refusing(200, {"hello": "world"}) as url:
        assert (await refused(url)).code == "client.no_gateway"


async def test_n35_a_page_in_its_place_for_a_moment_ends_no_client_that_was_open() -> None:
    """A proxy answers 404 while the gateway behind it restarts."""
    opened = 0

    def refuse(peer: ServerConnection, _: Request) -> Response | None:
        return peer.respond(HTTPStatus.NOT_FOUND, "no such service") if opened == 1 else None

    async def talk(peer: ServerConnection) -> None:
        nonlocal opened
        await peer.recv()
        await say(peer, WELCOME)
        opened += 1
        if opened == 1:
            peer.transport.abort()
        await peer.wait_closed()

    async with serve(talk, "127.0.0.1", 0, process_request=refuse) as started:
        port = next(iter(started.sockets)).getsockname()[1]
        async with AsyncClient(f"http://127.0.0.1:{port}") as client:
            await eventually(lambda: client.status == "offline", what="404 was answered")
            opened = 2
            client.retry()
            await eventually(lambda: client.status == "open", what="it is back")


# --- a conversation that is gone


async def test_a_session_that_is_deleted_ends_its_handle_and_keeps_its_text(
    served: GatewayProcess, join: Join
) -> None:
    client = await join(served)
    agent = client.agent("echo")
    reply = await agent.send_message("Keep me")
    session = await agent.session()
    async with Tab(served.url) as tab:
        await tab.ask({"type": "session.delete", "session": session.id})
    await eventually(lambda: session.closed, what="it has heard")
    assert session.error is not None
    assert (session.error.code, session.error.kind) == ("session.not_found", "session_ended")
    assert session.error.sentence == SENTENCES["session_ended"]
    assert reply.run is not None
    assert session.text(reply.run.id) == "Keep me"
    assert not (await agent.session()).waiting_for_worker
    assert (await agent.send_message("Anew")).text == "Anew", "the next message begins a new one"


async def test_a_session_that_is_gone_before_it_is_opened(
    served: GatewayProcess, join: Join
) -> None:
    with pytest.raises(GatewayError) as error:
        await (await join(served)).session("s_of_last_year")
    assert (error.value.code, error.value.kind) == ("session.not_found", "session_ended")
