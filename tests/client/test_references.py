# ruff: noqa: T201 - these programs print
"""Programs as people know them from the SDK of others (N38): the import and the address are ours.

The address is `AGENT_GATEWAY_URL`, so that the programs name none.
"""

import asyncio
import contextlib
import io
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway.client import (
    AsyncClient,
    AsyncInference,
    Client,
    GatewayError,
    Inference,
    string,
    tool,
)
from tests.support.processes import GatewayProcess

AGENTS = ("storyteller", "mathematician", "painter")
STORY = "Once upon a time: Tell me a story "


@pytest.fixture(scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A gateway with agents for these programs."""
    names = ",".join(f"tests.client.reference_agents:{name}" for name in AGENTS)
    process = GatewayProcess(tmp_path_factory.mktemp("references"), "--agents", names)
    await process.start()
    yield process.http_url
    await process.terminate()
    process.assert_clean()


@pytest.fixture(autouse=True)
def address(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a program has to be told beside its import."""
    monkeypatch.setenv("AGENT_GATEWAY_URL", url)


async def printed(program: Callable[[Inference], None], url: str) -> list[str]:
    """The lines of a program, run in a thread as scripts are: without a loop."""

    def run() -> str:
        with (
            Inference(api_key="inf_...") as client,
            contextlib.redirect_stdout(io.StringIO()) as out,
        ):
            program(client)
        return out.getvalue()

    return (await asyncio.to_thread(run)).splitlines()


async def test_basic_streaming(url: str) -> None:
    def program(client: Inference) -> None:
        agent = client.agent({"agent": "storyteller"})

        for message in agent.send_message("Tell me a story", stream=True):
            print(message.text)  # Full message content so far

    lines = await printed(program, url)
    assert lines[-1] == STORY
    assert len(set(lines)) > 1
    assert all(STORY.startswith(line) for line in lines)


async def test_message_callbacks(url: str) -> None:
    def program(client: Inference) -> None:
        agent = client.agent({"agent": "storyteller"})

        def on_message(text: str, done: bool) -> None:
            if done:
                print(f"\n[Complete] Final: {text}")
            else:
                print(f"Current message: {text}")

        agent.send_message("Tell me a story", on_message=on_message)

    lines = await printed(program, url)
    assert lines[0].startswith("Current message: Once")
    assert lines[-1] == f"[Complete] Final: {STORY}"


async def test_tool_call_callbacks(url: str) -> None:
    def multiply(arguments: dict[str, Any]) -> int:
        left, right = arguments["expression"].split(" * ")
        return int(left) * int(right)

    def program(client: Inference) -> None:
        calculator = tool("calculator").param("expression", string()).handler(multiply).build()
        agent = client.agent({"agent": "mathematician", "tools": [calculator]})

        def on_tool_call(tool_call: Any) -> None:
            print(f"Calling: {tool_call.name}")
            print(f"Args: {tool_call.arguments}")
            # Tool is executed automatically if handler is defined

        reply = agent.send_message("What's 42 * 17?", on_tool_call=on_tool_call)
        print(reply.text)

    assert await printed(program, url) == [
        "Calling: calculator",
        "Args: {'expression': '42 * 17'}",
        "It is 714.",
    ]


async def test_manual_tool_handling(url: str) -> None:
    def program(client: Inference) -> None:
        calculator = (
            tool("calculator")
            .describe("Do math")
            .param("expression", string("Expression"))
            .build()  # No handler
        )

        agent = client.agent({"agent": "mathematician", "tools": [calculator]})

        response = agent.send_message("What's 42 * 17?")

        # Check for pending tool calls
        if response.pending_tool_calls:
            for tc in response.pending_tool_calls:
                result = eval(tc.arguments["expression"])
                print(agent.submit_tool_result(tc.id, str(result)).text)

    assert await printed(program, url) == ["It is 714."]


async def test_combined_callbacks(url: str) -> None:
    def program(client: Inference) -> None:
        begun = threading.Event()

        def drawn(_: dict[str, Any]) -> str:
            assert begun.wait(20)
            return "sunset.png"

        draw = tool("draw").param("prompt", string()).handler(drawn).build()
        agent = client.agent({"agent": "painter", "tools": [draw]})

        def on_message(text: str, done: bool) -> None:
            begun.set()
            if done:
                print(f"\nFinal: {text}")
            else:
                print(f"Progress: {text[:50]}...")

        def on_tool_call(tool_call: Any) -> None:
            print(f"\n[Tool: {tool_call.name}]")

        response = agent.send_message(
            "Generate an image of a sunset", on_message=on_message, on_tool_call=on_tool_call
        )
        print(response.run.status if response.run else "")

    lines = await printed(program, url)
    assert "Progress: I will draw it. ..." in lines
    assert "[Tool: draw]" in lines
    assert lines[-2:] == ["Final: I will draw it. Here: sunset.png", "completed"]


async def test_async_client(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        client = AsyncInference(api_key="inf_...")
        agent = client.agent({"agent": "storyteller"})

        async for message in agent.send_message("Hello", stream=True):
            print(message.text)
        await client.close()

    await main()
    assert capsys.readouterr().out.splitlines()[-1] == "Once upon a time: Hello "


async def test_async_client_as_it_is_printed(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The document has a plain `for` within a coroutine: that is the blocking client, which
    works in a running loop, as in a notebook, and holds that loop up meanwhile."""

    async def main() -> None:
        client = Inference(api_key="inf_...")
        agent = client.agent({"agent": "storyteller"})

        for message in agent.send_message("Hello", stream=True):
            print(message.text)
        client.close()

    await main()
    assert capsys.readouterr().out.splitlines()[-1] == "Once upon a time: Hello "


async def test_a_client_that_was_closed_does_not_come_back_by_itself(url: str) -> None:
    client = AsyncClient(url)
    await client.agent("storyteller").send_message("Hello")
    await client.close()
    with pytest.raises(Exception, match="connect first"):
        await client.agent("storyteller").send_message("Hello")


async def test_n38_the_address_that_is_given_counts_more(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_GATEWAY_URL", "http://127.0.0.1:1")
    async with AsyncInference(url, api_key="inf_...") as client:
        assert client.status == "open"


@pytest.mark.parametrize("kind", [AsyncClient, AsyncInference, Client, Inference])
def test_n38_without_any_address_the_variable_is_named(
    kind: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AGENT_GATEWAY_URL")
    with pytest.raises(GatewayError, match="AGENT_GATEWAY_URL") as error:
        kind(api_key="inf_...")
    assert error.value.code == "client.usage"


async def test_n38_a_key_may_be_a_function(url: str) -> None:
    asked: list[str] = []

    def key() -> str:
        asked.append("asked")
        return "inf_..."

    async with AsyncInference(api_key=key):
        assert asked == ["asked"]
