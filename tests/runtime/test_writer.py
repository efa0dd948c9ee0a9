"""A message as an agent writes it: kinds, parts, calls, and how it ends."""

from typing import Any

import pytest

from gateway.runtime.agent import AgentFunction, agent
from gateway.runtime.calls import CallResult
from gateway.runtime.context import RunContext
from gateway.runtime.failures import NotJsonError
from gateway.runtime.tools import server_tool
from protocol.state import State
from protocol.values import (
    CommentaryPart,
    DataPart,
    SourcePart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)
from tests.runtime.stage import Stage, shown, types


@server_tool
def search(query: str) -> str:
    """Finds something."""
    return f"found {query}"


async def perform(function: AgentFunction, **options: Any) -> tuple[Stage, State]:
    stage = Stage([agent(name="a", tools=[search], **options)(function)])
    await stage.create("a")
    async with stage.worker():
        await stage.send("Hi")
        state = await stage.ended()
    return stage, state


def parts(state: State, message: int = 1) -> list[Any]:
    return state.messages[message].parts


async def test_model_text_is_classified() -> None:
    async def write(run: RunContext) -> None:
        async with run.message() as message:
            for piece in ("<thi", "nk>Hm", "m.</think>", "Answer"):
                await message.write(piece)

    _, state = await perform(write)
    assert parts(state) == [ThinkingPart("Hmm."), TextPart("Answer")]


async def test_a_preamble_becomes_commentary_and_the_call_follows_it() -> None:
    results: list[CallResult] = []

    async def write(run: RunContext) -> None:
        async with run.message() as message:
            await message.think("Who?")
            await message.write("Let me ")
            await message.write("look.")
            call = await message.call("search", provider={"id": "call_7"})
            await call.arguments('{"query":')
            await call.arguments(' "Dune"}')
            results.extend(await message.call_tools())

    stage, state = await perform(write)
    assert parts(state) == [
        ThinkingPart("Who?"),
        CommentaryPart("Let me look."),
        ToolCallPart("c_1", {"id": "call_7"}),
    ]
    assert [r.output for r in results] == ["found Dune"]
    log = [e for e in shown(await stage.events()) if e["type"] != "message.delta"][5:]
    for event in log:
        event.pop("deadline", None)
    assert log == [
        {
            "type": "message.part",
            "message": "m_2",
            "part": 1,
            "content": {"kind": "commentary", "text": "Let me look."},
        },
        {
            "type": "tool_call.started",
            "message": "m_2",
            "part": 2,
            "call": "c_1",
            "name": "search",
            "target": "server",
            "provider": {"id": "call_7"},
        },
        {"type": "tool_call.delta", "call": "c_1", "delta": '{"query": "Dune"}'},
        {"type": "message.completed", "message": "m_2", "status": "complete"},
        {
            "type": "tool_call.requested",
            "call": "c_1",
            "run": "r_1",
            "message": "m_2",
            "name": "search",
            "arguments": {"query": "Dune"},
            "target": "server",
        },
        {"type": "tool_call.completed", "call": "c_1", "output": "found Dune"},
        {"type": "run.completed", "run": "r_1"},
    ]


async def test_a_held_preamble_never_shows_as_text() -> None:
    async def write(run: RunContext) -> None:
        async with run.message() as message:
            await message.write("Secret. ")
            await message.call("search")
            await message.write("More.")

    stage, state = await perform(write, preamble="hold")
    assert parts(state) == [
        CommentaryPart("Secret. "),
        ToolCallPart("c_1"),
        CommentaryPart("More."),
    ]
    assert "text" not in {e.get("kind") for e in await stage.events()}


async def test_parts_between_texts() -> None:
    async def write(run: RunContext) -> None:
        async with run.message() as message:
            await message.write("Before")
            at = await message.part(SourcePart("https://a"))
            await message.write("after")
            await message.part(SourcePart("https://b", "B"), index=at)
            await message.part(DataPart("d", {"x": [1]}))
            await message.call("search")

    _, state = await perform(write)
    assert parts(state) == [
        CommentaryPart("Before"),
        SourcePart("https://b", "B"),
        CommentaryPart("after"),
        DataPart("d", {"x": [1]}),
        ToolCallPart("c_1"),
    ]


async def test_model_text_goes_on_where_it_was_unless_something_came_between() -> None:
    async def write(run: RunContext) -> None:
        async with run.message() as message:
            for piece in ("a", "b", "", "c"):
                await message.write(piece)
            await message.text("d")
            await message.write("e")
            await message.part(DataPart(name="x", value=1))
            for piece in ("f", "g"):
                await message.write(piece)
            await message.commentary("h")
            for piece in ("i", "<think>j", "k", "</think>l", "m"):
                await message.write(piece)
            with pytest.raises(NotJsonError):
                await message.write(7)  # type: ignore[arg-type] - what agents do
            await message.write("n")

    _, state = await perform(write)
    assert parts(state) == [
        TextPart("abcde"),
        DataPart(name="x", value=1),
        TextPart("fg"),
        CommentaryPart("h"),
        TextPart("i"),
        ThinkingPart("jk"),
        TextPart("lmn"),
    ]


async def test_a_signature_stays_with_its_part() -> None:
    async def write(run: RunContext) -> None:
        async with run.message() as message:
            await message.think("Deep")
            await message.sign({"signature": "s"})
            await message.write("Shallow")

    _, state = await perform(write)
    assert parts(state) == [ThinkingPart("Deep", {"signature": "s"}), TextPart("Shallow")]


@pytest.mark.parametrize(
    ("name", "arguments", "code", "problem"),
    [
        ("search", '{"query"', "tool.failed", "not valid"),
        ("search", "[1]", "tool.failed", "Expected a JSON object"),
        ("search", '{"query": 1' + "0" * 400 + "}", "tool.failed", "not valid"),
        ("search", "", "tool.failed", "missing required field"),
        ("conjure", "{}", "tool.unknown", "no tool conjure"),
    ],
)
async def test_a_call_that_cannot_be_offered_has_its_error_at_once(
    name: str, arguments: str, code: str, problem: str
) -> None:
    results: list[CallResult] = []

    async def write(run: RunContext) -> None:
        async with run.message() as message:
            call = await message.call(name)
            await call.arguments(arguments)
            results.extend(await message.call_tools())

    _, state = await perform(write)
    assert results[0].error is not None
    assert results[0].error.code == code
    assert problem in results[0].error.message
    assert state.run is not None
    assert state.run.status == "completed"


async def test_leaving_the_block_requests_and_awaits_its_calls() -> None:
    async def write(run: RunContext) -> Any:
        async with run.message() as message:
            call = await message.call("search")
            await call.arguments('{"query": "x"}')
        return run.messages[-1].calls[0].output

    _, state = await perform(write)
    assert state.run is not None
    assert state.run.output == "found x"


async def test_a_failing_step_closes_the_calls_it_named() -> None:
    async def write(run: RunContext) -> None:
        async with run.message() as message:
            call = await message.call("search")
            await call.arguments('{"qu')
            raise ConnectionError("cut off")

    stage, state = await perform(write)
    assert types(await stage.events())[4:] == [
        "message.started",
        "tool_call.started",
        "tool_call.delta",
        "message.completed",
        "tool_call.completed",
        "run.failed",
    ]
    assert state.messages[1].status == "failed"


async def test_bad_text_and_values_from_a_model() -> None:
    async def write(run: RunContext) -> None:
        async with run.message() as message:
            await message.write("half \ud83d")
            await message.write("\ude00 whole, \udc00 none")
            with pytest.raises(ValueError, match=r"part\.value is nan"):
                await message.part(DataPart("d", float("nan")))
            await message.write("x" * 100_000)

    stage, state = await perform(write)
    assert parts(state) == [TextPart("half 😀 whole, \ufffd none" + "x" * 100_000)]
    sizes = [len(e["delta"].encode()) for e in await stage.events() if "delta" in e]
    assert max(sizes) <= 16 * 1024


async def test_no_more_parts_than_the_log_can_hold() -> None:
    async def write(run: RunContext) -> None:
        async with run.message() as message:
            message._parts = 65_535  # as if it had written them
            assert await message.part(DataPart("last", 1)) == 65_535
            await message.text("one too many")

    _, state = await perform(write)
    assert state.run is not None
    assert state.run.error is not None
    assert "at most 65536 parts" in state.run.error.message
