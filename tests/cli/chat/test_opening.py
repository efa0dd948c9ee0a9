"""Connecting and opening: what is taken if nobody says, and errors that name the remedy."""

from pathlib import Path

import pytest

from gateway.cli.chat.opening import (
    ChatError,
    Wish,
    connect,
    declared,
    make_client,
    open_session,
    refused,
)
from gateway.client import GatewayError
from gateway.errors import ConfigurationError
from protocol.values import Tool
from tests.cli.chat.conftest import Join
from tests.support.processes import GatewayProcess, free_port
from tests.support.wire import Tab


async def test_a_gateway_that_is_not_there_is_told_at_once() -> None:
    url = f"ws://127.0.0.1:{free_port()}"
    client = make_client(url, None, None)
    try:
        with pytest.raises(ChatError, match=r"agent-gateway demo"):
            await connect(client, url)
    finally:
        await client.close()


async def test_a_connection_that_is_lost_later_is_no_error(served: GatewayProcess) -> None:
    client = make_client(served.url, None, None)
    try:
        await connect(client, served.url)
        await served.kill()
        await served.start()
        assert await client.list_sessions() == []
    finally:
        await client.close()


async def test_who_is_talked_to(served: GatewayProcess, join: Join) -> None:
    client = await join(served)
    assert (await open_session(client, Wish())).state.agent == "echo"
    named = await open_session(client, Wish("scripted", "s_named"))
    assert (named.id, named.state.agent) == ("s_named", "scripted")
    named.close()
    assert (await open_session(client, Wish(session="s_named"))).state.agent == "scripted"


async def test_tools_of_the_session_and_of_the_person(served: GatewayProcess, join: Join) -> None:
    async with Tab(served.url) as tab:
        session = await tab.create(tools=[{"name": "theirs", "parameters": {"type": "object"}}])
    ours = declared(["ours"], None)
    opened = await open_session(
        await join(served), Wish(session=session), declared=ours, handler=lambda _: None
    )
    assert {tool.name for tool in opened.state.tools} == {"ours", "theirs"}


def test_tools_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tools.json"
    file.write_text('[{"name": "b", "parameters": {"type": "object"}, "approval": true}]')
    assert declared(["a"], file) == [
        Tool(name="a", parameters={"type": "object"}),
        Tool(name="b", parameters={"type": "object"}, approval=True),
    ]
    file.write_text('{"name": "b"}')
    with pytest.raises(ConfigurationError, match="JSON list of tools"):
        declared([], file)


def test_what_cannot_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--url"):
        make_client("localhost", None, None)
    with pytest.raises(ConfigurationError, match="--token-file"):
        make_client("ws://localhost", None, tmp_path / "missing")


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("session.not_found", "without --session"),
        ("session.exists", "--agent"),
        ("auth.invalid", "AGENT_GATEWAY_TOKEN"),
        ("client.closed", "AGENT_GATEWAY_TOKEN"),
        ("internal", "It is so"),
    ],
)
def test_refusals_name_the_remedy(code: str, remedy: str) -> None:
    assert remedy in str(refused(GatewayError(code, "It is so: 4401.")))


def test_a_client_that_was_superseded_needs_no_token() -> None:
    assert "token" not in str(refused(GatewayError("client.closed", "Refused: 4409.")))
