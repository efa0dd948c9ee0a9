"""The asyncio client against gateways that a real one would have to be provoked into."""

import asyncio
from typing import Any, Literal

import pytest
from websockets.asyncio.server import ServerConnection

from gateway.client.agent import Reply
from gateway.client.client import AsyncClient, Behaviour
from gateway.client.errors import GatewayError
from gateway.client.steps import StatusChanged
from gateway.client.tasks import Tasks
from tests.client.odd import WELCOME, odd, say, subscribed
from tests.support.waiting import eventually


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
            await say(peer, subscribed(frame, messages=[{"kind": "hologram"}]))

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
            await say(peer, subscribed(frame))
        elif frame["type"] == "message.send":
            await peer.close(4403, "revoked")

    async with odd(talk) as url, AsyncClient(url) as client:
        session = await client.session("s_1")
        events = session.events()
        with pytest.raises(GatewayError) as refused:
            await session.send("Hello")
        assert refused.value.code == "auth.forbidden"
        with pytest.raises(GatewayError, match="revoked"):
            await anext(events)
        assert client.sessions == {}
        with pytest.raises(GatewayError, match="revoked"):
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


async def test_a_cancelled_connect_closes_the_client_however_often_it_is_cancelled() -> None:
    hellos = 0

    async def talk(_: ServerConnection, __: dict[str, Any]) -> None:
        nonlocal hellos
        hellos += 1

    tasks = Tasks()
    async with odd(talk) as url:
        for times in (1, 2):
            client = AsyncClient(url)
            connecting = tasks.start(client.connect(), awaited=True)
            await eventually(lambda times=times: hellos == times)
            for _ in range(times):
                connecting.cancel()
                await asyncio.sleep(0)
            await asyncio.wait([connecting])
            assert connecting.cancelled()
            assert client.status == "closed"


async def test_leaving_a_slow_entrance_leaves_no_client_behind() -> None:
    async def talk(_: ServerConnection, __: dict[str, Any]) -> None:
        """Never a welcome."""

    async with odd(talk) as url:
        client = AsyncClient(url)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1), client:
                raise AssertionError("nobody welcomed it")
        assert client.status == "closed"


class Sessions:
    """A gateway that answers a `session.subscribe` when the test says how."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answers: asyncio.Queue[Literal["accept", "refuse"]] = asyncio.Queue()

    async def talk(self, peer: ServerConnection, frame: dict[str, Any]) -> None:
        if frame["type"] == "hello":
            await say(peer, WELCOME)
        elif frame["type"] == "session.create":
            await say(peer, {"type": "ok", "id": frame["id"]})
        elif frame["type"] == "session.subscribe":
            self.asked.append(frame)
            if await self.answers.get() == "accept":
                await say(peer, subscribed(frame))
            else:
                error = {"type": "error", "code": "session.not_found", "message": "No."}
                place = {"id": frame["id"], "session": frame["session"]}
                await say(peer, {**error, **place, "retryable": False})


async def test_a_session_that_is_being_opened_is_waited_for() -> None:
    gateway = Sessions()
    async with odd(gateway.talk) as url, AsyncClient(url) as client, asyncio.TaskGroup() as group:
        first, second = (group.create_task(client.session("s_1")) for _ in range(2))
        await eventually(lambda: bool(gateway.asked))
        assert not second.done()
        gateway.answers.put_nowait("accept")
        assert await first is await second
        assert second.result().state.agent == "echo"
        assert len(gateway.asked) == 1


@pytest.mark.parametrize("how", ["refused", "cancelled"])
async def test_who_waits_for_an_opening_that_fails_opens_it(how: str) -> None:
    gateway = Sessions()
    async with odd(gateway.talk) as url, AsyncClient(url) as client:
        first, second = (client.tasks.start(client.session("s_1"), awaited=True) for _ in range(2))
        await eventually(lambda: bool(gateway.asked))
        if how == "cancelled":
            first.cancel()
        gateway.answers.put_nowait("refuse")
        gateway.answers.put_nowait("accept")
        session = await second
        with pytest.raises((GatewayError, asyncio.CancelledError)):
            await first
        assert not session.closed
        assert session.state.agent == "echo"
        assert client.sessions == {"s_1": session}


async def test_an_agent_opens_one_session_for_messages_that_come_together() -> None:
    gateway = Sessions()
    async with odd(gateway.talk) as url, AsyncClient(url) as client, asyncio.TaskGroup() as group:
        agent = client.agent("echo")
        first, second = (group.create_task(agent.session()) for _ in range(2))
        await eventually(lambda: bool(gateway.asked))
        for _ in range(2):
            gateway.answers.put_nowait("accept")
        assert await first is await second
        assert len(gateway.asked) == 1


class Storing:
    """A gateway that stores messages, and says of them what the test wants."""

    def __init__(self) -> None:
        self.peer: ServerConnection | None = None
        self.heard: list[str] = []

    async def talk(self, peer: ServerConnection, frame: dict[str, Any]) -> None:
        self.peer = peer
        self.heard.append(frame["type"])
        match frame["type"]:
            case "hello":
                await say(peer, WELCOME)
            case "session.create":
                await say(peer, {"type": "ok", "id": frame["id"], "session": frame["session"]})
            case "session.subscribe":
                await say(peer, subscribed(frame))
            case "message.send":
                stored = {"message": "m_1", "run": "r_1", "seq": 50}
                await say(peer, {"type": "ok", "id": frame["id"], **stored})
            case "session.list":
                await say(peer, {"type": "ok", "id": frame["id"], "sessions": []})
            case _:
                pass

    async def say(self, **frame: Any) -> None:
        assert self.peer is not None
        await say(self.peer, frame)


async def test_a_session_that_the_gateway_takes_away_ends_who_waits() -> None:
    gateway = Storing()
    async with odd(gateway.talk) as url, AsyncClient(url) as client:
        session = await client.session("s_1")
        waiting = client.tasks.start(session.finished(await session.send("Hi")), awaited=True)
        events = session.events()
        gone = {"code": "session.not_found", "message": "No.", "retryable": False}
        await gateway.say(type="error", session="s_1", **gone)
        for ended in (waiting, anext(events)):
            with pytest.raises(GatewayError) as refused:
                await ended
            assert refused.value.code == "session.not_found"
        assert (session.closed, client.sessions) == (True, {})


async def test_a_turn_that_was_lost_with_the_end_of_the_log_is_done() -> None:
    gateway = Storing()
    async with odd(gateway.talk) as url, AsyncClient(url) as client:
        agent = client.agent("echo")
        session = await agent.session()
        reply = client.tasks.start(anext(agent.turn("Hi")), awaited=True)
        await eventually(lambda: "message.send" in gateway.heard)
        await client.list_sessions()  # the message was answered before
        place = {"epoch": "e_2", "seq": 45}
        lost = subscribed({"id": None, "session": session.id}, **place)
        await gateway.say(**{**lost, **place})
        assert await reply == Reply("", True, None)
