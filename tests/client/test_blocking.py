"""The client without asyncio, used as a script or a notebook would."""

import asyncio
import itertools
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.client import Client, GatewayError, string, tool
from gateway.client.stream import Item
from protocol.events import MessageDelta
from protocol.state import Call
from tests.conftest import StartGateway
from tests.support.processes import GatewayProcess, Valkey, free_port

COUNTED = "".join(f"<{number}>" for number in range(300))


def script(*steps: dict[str, Any]) -> str:
    return json.dumps(steps)


CALL = {"call_tool": {"name": "calculator", "arguments": {"expression": "42 * 17"}}}
CALCULATOR = tool("calculator").describe("Do math").param("expression", string("Expression"))


@pytest.fixture
def client(served: GatewayProcess) -> Iterator[Client]:
    with Client(served.http_url) as client:
        yield client


def test_streaming(client: Client) -> None:
    """What was said before a call is there while the call waits."""
    heard = threading.Event()
    pause = tool("pause").handler(lambda _: heard.wait(20)).build()
    agent = client.agent({"agent": "scripted", "tools": [pause]})
    call = {"call_tool": {"name": "pause", "arguments": {}}}
    texts: list[str] = []
    for message in agent.send_message(
        script({"say": "Once upon"}, call, {"say": " a time"}), stream=True
    ):
        texts.append(message.text)
        if message.text:
            heard.set()
    assert "Once upon" in texts
    assert texts[-1] == "Once upon a time"


def test_callbacks_run_in_the_callers_thread(client: Client) -> None:
    threads: set[threading.Thread] = set()
    calls: list[Call] = []
    said: list[tuple[str, bool]] = []

    def on_message(text: str, done: bool) -> None:
        threads.add(threading.current_thread())
        said.append((text, done))

    def on_tool_call(call: Call) -> None:
        threads.add(threading.current_thread())
        calls.append(call)

    counted = CALCULATOR.handler(lambda args: len(args["expression"])).build()
    agent = client.agent({"agent": "scripted", "tools": [counted]})
    reply = agent.send_message(
        script(CALL, {"say": "{last}"}), on_message=on_message, on_tool_call=on_tool_call
    )
    assert reply.text == "7"
    assert said[-1] == ("7", True)
    assert [call.name for call in calls] == ["calculator"]
    assert threads == {threading.current_thread()}


def test_manual_tools(client: Client) -> None:
    agent = client.agent({"agent": "scripted", "tools": [CALCULATOR.build()]})
    response = agent.send_message(script(CALL, {"say": "It is {last}."}))
    for call in response.pending_tool_calls:
        assert call.arguments == {"expression": "42 * 17"}
        response = agent.submit_tool_result(call.id, str(42 * 17))
    assert response.text == 'It is "714".'


def test_approvals_stop_and_reset(client: Client) -> None:
    agent = client.agent("scripted")
    question = script({"approve": {"title": "Sure?"}}, {"say": "{last}"})
    for answer in (agent.approve, agent.deny):
        (approval,) = agent.send_message(question).pending_approvals
        assert "decision" in answer(approval.id).text
    replies = agent.send_message(script({"say": "more " * 5_000, "interval_ms": 20}), stream=True)
    next(replies)
    agent.stop()
    *_, last = replies
    assert last.run is not None
    assert last.run.status == "cancelled"
    before = agent.session.id
    agent.reset()
    assert agent.session.id != before


def test_a_session(client: Client) -> None:
    session = client.session(agent="scripted", tools=[CALCULATOR.build()])
    events = session.events()
    sent = session.send(script({"say": "Hello"}, CALL))
    session.wait_until(lambda state: any(c.status == "requested" for c in state.calls.values()))
    (call,) = session.pending_tool_calls
    session.submit_tool_result(call.id, 714)
    run = session.finished(sent, timeout=20)
    assert run is not None
    assert run.status == "completed"
    assert session.text(run.id) == "Hello"
    sent = session.send(script({"approve": {"title": "Sure?"}}))
    session.wait_until(lambda state: bool(state.approvals), timeout=20)
    (approval,) = session.approvals
    session.deny(approval.id)
    session.finished(sent)
    started = session.run([{"sleep_ms": 60_000}])
    session.wait_until(lambda state: state.live_run is not None)
    session.stop(started.run, reason="enough")
    ended = session.finished(started)
    assert ended is not None
    assert ended.status == "cancelled"
    kept = session.state
    assert [row.session for row in client.list_sessions()] == [session.id]
    session.close()
    seen: list[Item] = list(events)
    assert "".join(event.delta for event in seen if isinstance(event, MessageDelta)) == "Hello"
    assert kept.seq >= sent.seq
    client.session(session.id).delete()


def test_an_approved_call(client: Client) -> None:
    asked = CALCULATOR.require_approval().handler(lambda _: 714).build()
    session = client.session(agent="scripted", tools=[asked])
    sent = session.send(script(CALL, {"say": "{last}"}))
    session.wait_until(lambda state: bool(state.approvals))
    session.approve(session.approvals[0].id, remember=True)
    session.finished(sent)
    assert session.text(sent.run or "") == "714"
    assert session.state.remembered == ["calculator"]


def test_waiting_has_a_bound(client: Client) -> None:
    session = client.session(agent="echo")
    with pytest.raises(TimeoutError):
        session.wait_until(lambda _: False, timeout=0.05)


def test_nobody_there() -> None:
    before = threading.active_count()
    with pytest.raises(GatewayError) as unreachable:
        Client(f"http://127.0.0.1:{free_port()}", timeout=0.2)
    assert unreachable.value.code == "client.unreachable"
    assert threading.active_count() == before


def test_closing_ends_the_thread(served: GatewayProcess) -> None:
    before = threading.active_count()
    client = Client(served.url)
    assert client.status == "open"
    client.close()
    client.close()
    assert threading.active_count() == before
    with pytest.raises(GatewayError) as closed:
        client.list_sessions()
    assert closed.value.code == "client.closed"


async def test_the_replica_is_killed_in_mid_answer(gateway: StartGateway, valkey: Valkey) -> None:
    """The blocking client blocks its own thread only: here it is asyncio that must not wait."""
    await gateway("--broker", valkey.url, "--agents", "scripted", command="worker")
    replica = await gateway("--broker", valkey.url, "--agents", "scripted", "--no-runs")
    began = threading.Event()

    def talk() -> list[str]:
        texts: list[str] = []
        with Client(replica.http_url) as client:
            slow = script({"say": COUNTED, "chunk": 10, "interval_ms": 10})
            for message in client.agent("scripted").send_message(slow, stream=True):
                texts.append(message.text)
                began.set()
        return texts

    talking = asyncio.create_task(asyncio.to_thread(talk))  # noqa: TID251 - awaited below
    await asyncio.to_thread(began.wait)
    await replica.kill()
    await replica.start()
    texts = await talking
    assert texts[-1] == COUNTED
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
