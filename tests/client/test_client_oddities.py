"""The asyncio client against gateways that a real one would have to be provoked into."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from gateway.client.client import AsyncClient, Behaviour
from gateway.client.errors import GatewayError
from gateway.client.steps import StatusChanged
from protocol import SUBPROTOCOL
from tests.support.waiting import eventually

WELCOME = {
    "type": "welcome",
    "connection": "x_1",
    "client": "py_1",
    "principal": {"tenant": "local", "subject": "dev"},
    "heartbeat_ms": 25_000,
    "limits": {"max_frame_bytes": 1 << 20, "max_subscriptions": 64},
    "features": [],
    "server": {"name": "odd", "version": "0"},
}
STATE = {"session": "s_1", "agent": "echo", "epoch": "e_1", "seq": 1}
Talk = Callable[[ServerConnection, dict[str, Any]], Awaitable[None]]


async def say(peer: ServerConnection, *frames: dict[str, Any]) -> None:
    await peer.send("\n".join(map(json.dumps, frames)))


@asynccontextmanager
async def odd(talk: Talk) -> AsyncGenerator[str]:
    """A gateway that hands every frame to `talk`."""

    async def converse(peer: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            async for message in peer:
                for line in str(message).split("\n"):
                    await talk(peer, json.loads(line))

    async with serve(converse, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL]) as started:  # type: ignore[list-item] - a NewType of str
        port = next(iter(started.sockets)).getsockname()[1]
        yield f"http://127.0.0.1:{port}"


async def test_a_token_that_cannot_be_renewed_is_a_problem_and_no_more() -> None:
    asked = 0

    def token() -> str:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise LookupError("signed out")
        return "first"

    async def talk(peer: ServerConnection, frame: dict[str, Any]) -> None:
        assert frame["token"] == "first"
        await say(peer, WELCOME, {"type": "auth.expiring", "in_ms": 60_000})

    async with odd(talk) as url:
        client = AsyncClient(url, token=token)
        problems: list[GatewayError] = []
        client.on_problem(problems.append)
        await client.connect()
        await eventually(lambda: bool(problems))
        assert problems[0].code == "auth.expired"
        assert "signed out" in str(problems[0])
        assert client.status == "open"
        await client.close()


async def test_errors_that_answer_nothing_are_problems_and_listeners_may_fail() -> None:
    async def talk(peer: ServerConnection, frame: dict[str, Any]) -> None:
        if frame["type"] == "hello":
            await say(peer, WELCOME)
        elif frame["type"] == "ping":
            error = {"type": "error", "code": "frame.malformed", "message": "No."}
            await say(peer, {**error, "retryable": False})

    def broken(_: object) -> None:
        raise LookupError("a bug of the application")

    told: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        async with odd(talk) as url, AsyncClient(url) as client:
            problems: list[GatewayError] = []
            client.on_problem(broken)
            client.on_problem(problems.append)
            client.retry()
            await eventually(lambda: bool(problems))
    finally:
        loop.set_exception_handler(None)
    assert problems[0].code == "frame.malformed"
    assert [str(context["exception"]) for context in told] == ["a bug of the application"]


async def test_a_newer_gateway_whose_answers_cannot_be_read() -> None:
    async def talk(peer: ServerConnection, frame: dict[str, Any]) -> None:
        if frame["type"] == "hello":
            await say(peer, {"type": "welcome", "limits": "none"}, WELCOME)
        elif frame["type"] == "session.list":
            await say(peer, {"type": "ok", "id": frame["id"], "sessions": "many"})
        elif frame["type"] == "session.subscribe":
            place = {"session": frame["session"], "epoch": "e_1", "seq": 1, "detail": "full"}
            state = {**STATE, "messages": [{"kind": "hologram"}]}
            told = {"type": "subscribed", "id": frame["id"], "recovered": False, **place}
            await say(peer, {**told, "state": state})

    async with odd(talk) as url, AsyncClient(url) as client:
        for work in (client.list_sessions(), client.session("s_1")):
            with pytest.raises(GatewayError) as outdated:
                await work
            assert outdated.value.code == "client.outdated"
        assert client.sessions == {}


async def test_a_final_close_ends_sessions_and_connecting_again_begins_anew() -> None:
    hellos: list[dict[str, Any]] = []

    async def talk(peer: ServerConnection, frame: dict[str, Any]) -> None:
        if frame["type"] == "hello":
            hellos.append(frame)
            await say(peer, WELCOME)
        elif frame["type"] == "session.subscribe":
            place = {"session": frame["session"], "epoch": "e_1", "seq": 1, "detail": "full"}
            told = {"type": "subscribed", "id": frame["id"], "recovered": False, **place}
            await say(peer, {**told, "state": STATE})
        elif frame["type"] == "message.send":
            await peer.close(4403, "revoked")

    async with odd(talk) as url, AsyncClient(url) as client:
        session = await client.session("s_1")
        events = session.events()
        with pytest.raises(GatewayError) as refused:
            await session.send("Hello")
        assert refused.value.code == "client.closed"
        with pytest.raises(GatewayError, match="revoked"):
            await anext(events)
        assert client.sessions == {}
        with pytest.raises(GatewayError, match="connect first"):
            await client.session("s_1")
        await client.connect()
        assert "sessions" not in hellos[-1]
        assert (await client.session("s_1")).state.agent == "echo"


async def test_being_refused_at_once_is_told_at_once() -> None:
    async def talk(peer: ServerConnection, _: dict[str, Any]) -> None:
        await peer.close(4406, "too old")

    async with odd(talk) as url:
        with pytest.raises(GatewayError, match="4406 too old"):
            await AsyncClient(url).connect()


async def test_tries_are_told_and_can_be_hurried() -> None:
    losses = 0

    async def talk(peer: ServerConnection, _: dict[str, Any]) -> None:
        nonlocal losses
        losses += 1
        if losses <= 2:
            await peer.close(1013, "overloaded")
        else:
            await say(peer, WELCOME)

    async with odd(talk) as url:
        client = AsyncClient(url, behaviour=Behaviour(random=lambda: 0.0))
        statuses: list[StatusChanged] = []
        client.on_status(statuses.append)
        client.on_status(lambda status: client.retry() if status.retry_at else None)
        async with asyncio.timeout(5):  # by itself it would wait for 5 s, twice
            await client.connect()
        await client.close()
    waited = [status for status in statuses if status.retry_at is not None]
    assert [(status.code, status.reason) for status in waited] == [(1013, "overloaded")] * 2
