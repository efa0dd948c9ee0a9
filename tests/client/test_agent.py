"""Conversations as other SDKs have them, against a real gateway."""

import asyncio
import itertools
import json
from typing import Any

import pytest

from gateway.client.agent import Reply, configured
from gateway.client.errors import GatewayError
from gateway.client.tool import ClientTool, string, tool
from protocol.state import Call
from tests.client.conftest import Join
from tests.support.processes import GatewayProcess

CALCULATOR = tool("calculator").describe("Do math").param("expression", string("Expression"))
PAUSE = {"call_tool": {"name": "pause", "arguments": {}}}


def script(*steps: dict[str, Any]) -> str:
    return json.dumps(steps)


def calculate(expression: str) -> dict[str, Any]:
    return {"call_tool": {"name": "calculator", "arguments": {"expression": expression}}}


def pause_until(event: asyncio.Event) -> ClientTool:
    """A tool that takes until then."""

    async def pause(_: dict[str, Any]) -> None:
        await event.wait()

    return tool("pause").handler(pause).build()


async def test_a_stream_gives_the_whole_text_so_far(served: GatewayProcess, join: Join) -> None:
    heard = asyncio.Event()
    agent = (await join(served)).agent({"agent": "scripted", "tools": [pause_until(heard)]})
    said = script({"say": "Once upon", "chunk": 1}, PAUSE, {"say": " a time", "chunk": 1})
    replies: list[Reply] = []
    async for reply in agent.send_message(said, stream=True):
        replies.append(reply)
        if reply.text:
            heard.set()
    texts = [reply.text for reply in replies]
    assert texts[-1] == "Once upon a time"
    assert len(texts) > 1
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    assert [reply.done for reply in replies] == [False] * (len(replies) - 1) + [True]


async def test_callbacks_hear_messages_and_calls(served: GatewayProcess, join: Join) -> None:
    heard: list[tuple[str, bool]] = []
    calls: list[Call] = []
    counted = CALCULATOR.handler(lambda args: f"{args['expression']} is 714").build()
    agent = (await join(served)).agent({"agent": "scripted", "tools": [counted]})
    reply = await agent.send_message(
        script(calculate("42 * 17"), {"say": "{last}"}),
        on_message=lambda text, done: heard.append((text, done)),
        on_tool_call=calls.append,
    )
    assert reply.text == '"42 * 17 is 714"'
    assert reply.run is not None
    assert (reply.run.status, reply.error) == ("completed", None)
    assert heard[-1] == (reply.text, True)
    assert [(call.name, call.arguments) for call in calls] == [
        ("calculator", {"expression": "42 * 17"})
    ]


async def test_calls_without_a_handler_come_back_with_the_reply(
    served: GatewayProcess, join: Join
) -> None:
    agent = (await join(served)).agent({"agent": "scripted", "tools": [CALCULATOR.build()]})
    both = {"call_tools": [calculate("1 + 1")["call_tool"], calculate("2 + 2")["call_tool"]]}
    reply = await agent.send_message(script({"say": "Let me see. "}, both, {"say": "{last}"}))
    assert reply.done
    assert reply.run is not None
    assert reply.run.status == "waiting"
    first, second = reply.pending_tool_calls
    reply = await agent.submit_tool_result(first.id, "2")
    assert [call.id for call in reply.pending_tool_calls] == [second.id]
    reply = await agent.submit_tool_result(second.id, "4")
    assert reply.pending_tool_calls == []
    assert reply.text == 'Let me see. ["2","4"]'


@pytest.mark.parametrize("agree", [True, False])
async def test_a_question_comes_back_with_the_reply(
    served: GatewayProcess, join: Join, agree: bool
) -> None:
    agent = (await join(served)).agent("scripted")
    reply = await agent.send_message(script({"approve": {"title": "Sure?"}}, {"say": "{last}"}))
    (approval,) = reply.pending_approvals
    assert approval.title == "Sure?"
    answer = agent.approve if agree else agent.deny
    reply = await answer(approval.id)
    assert json.loads(reply.text)["decision"] == ("approve" if agree else "deny")


async def test_a_failed_run_says_why(served: GatewayProcess, join: Join) -> None:
    reply = await (await join(served)).agent("scripted").send_message(script({"fail": "Broken."}))
    assert reply.error is not None
    assert (reply.error.code, reply.error.message) == ("agent.failed", "Broken.")


async def test_stop_and_reset(served: GatewayProcess, join: Join) -> None:
    agent = (await join(served)).agent("scripted")
    endless = script({"say": "more " * 5_000, "interval_ms": 20})
    async for reply in agent.send_message(endless, stream=True):
        if not reply.done:
            await agent.stop()
        else:
            assert reply.run is not None
            assert reply.run.status == "cancelled"
        break
    first = await agent.session()
    await agent.reset()
    assert first.closed
    assert (await agent.session()).id != first.id


async def test_the_same_session_serves_every_message(served: GatewayProcess, join: Join) -> None:
    client = await join(served)
    agent = client.agent({"agent": "echo", "session": "s_named", "metadata": {"title": "Named"}})
    assert (await agent.send_message("One")).text == "One"
    assert (await agent.send_message("Two")).text == "Two"
    session = await agent.session()
    assert (session.id, len(session.state.messages)) == ("s_named", 4)
    session.close()
    assert (await agent.send_message("Three")).text == "Three"  # taken up again


async def test_closing_the_client_ends_a_turn(served: GatewayProcess, join: Join) -> None:
    client = await join(served)
    agent = client.agent({"agent": "scripted", "tools": [pause_until(asyncio.Event())]})
    replies = agent.send_message(script({"say": "Once upon"}, PAUSE), stream=True)
    await anext(replies)
    await client.close()
    with pytest.raises(GatewayError) as closed:
        assert [reply async for reply in replies] == []
    assert closed.value.code == "client.closed"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "agent"),
        ({"agent": "echo", "system_prompt": "Be nice."}, "system_prompt"),
        ({"agent": "echo", "tools": [CALCULATOR]}, "build"),
    ],
)
def test_a_configuration_that_makes_no_sense(config: dict[str, Any], said: str) -> None:
    with pytest.raises(GatewayError, match=said) as refused:
        configured(config)
    assert refused.value.code == "client.usage"


def test_other_spellings_of_a_configuration() -> None:
    assert configured("echo") == configured({"agent": "echo"})
    assert configured({"core_app_ref": "infsh/claude@1"}).agent == "infsh/claude@1"
