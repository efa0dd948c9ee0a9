"""The types that users of the client see; `test_typing` has them checked."""

from collections.abc import AsyncGenerator, Iterator
from typing import Any, assert_type

from gateway.client import (
    Agent,
    AsyncClient,
    AsyncRun,
    BlockingRun,
    Client,
    ClientTool,
    Reply,
    Sent,
    Session,
    Update,
    string,
    tool,
)
from protocol.state import Approval, Call, Run, State

shout = tool("shout").param("text", string()).handler(lambda args: str(args["text"])).build()
assert_type(shout, ClientTool)


def blocking(client: Client) -> None:
    """Methods that block give values."""
    agent = client.agent({"agent": "echo", "tools": [shout]})
    assert_type(agent, Agent)
    assert_type(agent.send_message("Hello"), Reply)
    assert_type(agent.send_message("Hello", stream=True), Iterator[Reply])
    reply = agent.send_message("Hello", on_message=print, on_tool_call=print, if_busy="steer")
    assert_type(reply.text, str)
    assert_type(reply.run, Run | None)
    assert_type(reply.pending_tool_calls, list[Call])
    assert_type(reply.pending_approvals, list[Approval])
    assert_type(client.run("echo"), Update)
    assert_type(client.run({"app": "echo"}, stream=True), BlockingRun)
    assert_type(
        [update.status == "queued" for update in client.run("echo", stream=True)], list[bool]
    )


async def awaiting(client: AsyncClient) -> None:
    """Those of asyncio give awaitables."""
    agent = client.agent("echo")
    assert_type(await agent.send_message("Hello"), Reply)
    assert_type(agent.send_message("Hello", stream=True), AsyncGenerator[Reply])
    assert_type(await client.run("echo", timeout=1.5), Update)
    assert_type(client.run("echo", stream=True), AsyncRun)
    session = await client.session(agent="echo")
    assert_type(session, Session)
    assert_type(session.state, State)
    assert_type(await session.send("Hello"), Sent)
    output: Any = (await client.run("echo")).output
    assert_type(output, Any)
