"""The chat as a person has it: a real process in a real pseudo-terminal, a real gateway."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.chat.screens import CTRL_C, CTRL_D, ChatTerminal
from tests.conftest import StartGateway
from tests.support.processes import GatewayProcess, Valkey
from tests.support.waiting import eventually
from tests.support.wire import Tab, new_id

ENDLESS = {"repeat": 100_000, "steps": [{"say": "on and ", "interval_ms": 20}]}


def script(*steps: dict[str, Any]) -> str:
    return json.dumps(steps)


def ticks(count: int, interval_ms: int = 20) -> dict[str, Any]:
    """A text of numbered words, one after the other."""
    text = "".join(f"t{number:03} " for number in range(count))
    return {"say": text, "chunk": 5, "interval_ms": interval_ms}


def last_tick(chat: ChatTerminal) -> int:
    """The newest word of an answer; what was typed holds them all, in one piece and in quotes."""
    answer = chat.words.rpartition("}]")[2]
    return max((int(number) for number in re.findall(r"\bt(\d{3})\b", answer)), default=-1)


async def test_an_answer_streams_while_one_types(served: GatewayProcess, tmp_path: Path) -> None:
    async with ChatTerminal("--url", served.url, "--agent", "scripted", folder=tmp_path) as chat:
        await chat.sees("agent scripted")
        chat.enter(script(ENDLESS))
        await chat.sees("on and on and")
        chat.type("half a thought")
        await chat.sees("> half a thought")
        before = chat.words.count("on and")

        def streams_above() -> bool:
            more = chat.words.count("on and") > before + 3
            return more and chat.text.splitlines()[-1] == "> half a thought"

        await eventually(streams_above, what="it streams on above what is typed")


async def test_the_keys_stay_keys_while_something_is_written(
    served: GatewayProcess, tmp_path: Path
) -> None:
    async with ChatTerminal("--url", served.url, "--agent", "scripted", folder=tmp_path) as chat:
        await chat.sees("agent scripted")
        chat.enter(script({"repeat": 60, "steps": [{"say": "one "}]}, {"say": "and the last"}))
        async with asyncio.timeout(60):
            while "and the last" not in chat.words.rpartition("}]")[2]:
                assert not chat.line_mode, "a Ctrl-D would be lost now"
                await asyncio.sleep(0)  # as often as it can: a mode may last a millisecond
        chat.type(CTRL_D)
        assert await chat.ends() == 0


async def test_ctrl_c_stops_the_run_and_then_says_how_to_leave(
    served: GatewayProcess, tmp_path: Path
) -> None:
    async with ChatTerminal("--url", served.url, "--agent", "scripted", folder=tmp_path) as chat:
        await chat.sees("agent scripted")
        chat.enter(script(ENDLESS))
        await chat.sees("on and on and")
        chat.type(CTRL_C)
        await chat.sees("Stopped")
        chat.type(CTRL_C)
        await chat.sees("Ctrl-D quits")
        chat.type(CTRL_D)
        assert await chat.ends() == 0
        assert "Go on with: agent-gateway chat --session s_" in chat.words


async def test_markdown_and_thinking(served: GatewayProcess, tmp_path: Path) -> None:
    async with ChatTerminal("--url", served.url, "--agent", "scripted", folder=tmp_path) as chat:
        await chat.sees("agent scripted")
        chat.enter(script({"think": "Hm, let me see."}, {"say": "## Title\n\n- **one**\n- two"}))
        await chat.sees("• two")
        await chat.sees("✻ thought, 4 words: Hm, let me see.")
        assert "Title" in chat.text.splitlines()
        chat.enter("/thinking")
        await eventually(lambda: chat.words.count("Hm, let me see.") == 3, what="in full")


async def test_without_streaming_a_whole_answer_comes(
    served: GatewayProcess, tmp_path: Path
) -> None:
    options = ("--url", served.url, "--agent", "scripted", "--no-stream")
    async with ChatTerminal(*options, folder=tmp_path) as chat:
        await chat.sees("agent scripted")
        chat.enter(script(ticks(40, interval_ms=150)))
        await chat.sees("✎ writing,")
        assert last_tick(chat) in (-1, 39)
        await eventually(lambda: last_tick(chat) == 39, within=30, what="the answer")


async def test_a_tool_is_executed_by_the_person(served: GatewayProcess, tmp_path: Path) -> None:
    options = ("--url", served.url, "--agent", "scripted", "--tool", "read_heading")
    async with ChatTerminal(*options, folder=tmp_path) as chat:
        await chat.sees("agent scripted")
        call = {"call_tool": {"name": "read_heading", "arguments": {"level": 1}}}
        chat.enter(script(call, {"say": "First {last}."}, call, {"say": "Second {last}."}))
        await chat.sees("result of read_heading")
        assert '"level": 1' in chat.text
        chat.enter("Welcome home")
        await chat.sees('First "Welcome home".')
        await chat.sees('✓ read_heading(level=1) → "Welcome home"')
        await eventually(lambda: chat.text.count("⚙ You are asked") == 2, what="asked again")
        await eventually(lambda: chat.text.splitlines()[-1].startswith("result of"), what="prompt")
        chat.enter("/error no heading here")
        await chat.sees("✗ read_heading(level=1) tool.failed: no heading here")


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("y", '{"decision":"approve"}'),
        ("n not today", '{"decision":"deny"}'),
        ('{"title": "Q2"}', '{"decision":"approve","arguments":{"title":"Q2"}}'),
    ],
)
async def test_an_approval(
    served: GatewayProcess, tmp_path: Path, answer: str, outcome: str
) -> None:
    async with ChatTerminal("--url", served.url, "--agent", "scripted", folder=tmp_path) as chat:
        await chat.sees("agent scripted")
        asked = {"approve": {"title": "Rename?", "arguments": {"title": "Q1"}}}
        chat.enter(script(asked, {"say": "It was {last}."}))
        await chat.sees("Rename? [y/n/edit] >")
        assert '"title": "Q1"' in chat.text
        chat.enter(answer)
        await chat.sees(f"It was {outcome}.")


@pytest.mark.parametrize("editor", ["sed -i s/Q1/Q2/", "", "no-such-editor", "vi '"])
async def test_arguments_are_edited(served: GatewayProcess, tmp_path: Path, editor: str) -> None:
    options = ("--url", served.url, "--agent", "scripted")
    async with ChatTerminal(*options, folder=tmp_path, EDITOR=editor) as chat:
        await chat.sees("agent scripted")
        asked = {"approve": {"title": "Rename?", "arguments": {"title": "Q1"}}}
        chat.enter(script(asked, {"say": "It was {last}."}))
        await chat.sees("Rename? [y/n/edit] >")
        chat.enter("edit")
        if not editor.startswith("sed"):
            await chat.sees('arguments of Rename? > {"title":"Q1"}')
            chat.enter("\x7f" * 4 + 'Q2"}')
        await chat.sees('It was {"decision":"approve","arguments":{"title":"Q2"}}.')


async def test_always_is_remembered(served: GatewayProcess, tmp_path: Path) -> None:
    tools = tmp_path / "tools.json"
    tools.write_text('[{"name": "rename", "parameters": {"type": "object"}, "approval": true}]')
    options = ("--url", served.url, "--agent", "scripted", "--tools", str(tools))
    async with ChatTerminal(*options, folder=tmp_path) as chat:
        await chat.sees("agent scripted")
        call = {"call_tool": {"name": "rename"}}
        chat.enter(script(call, call, {"say": "Done: {last}."}))
        await chat.sees("rename [y/n/always/edit] >")
        chat.enter("always")
        await chat.sees("result of rename")
        chat.enter("1")
        await eventually(lambda: chat.text.count("⚙ You are asked") == 2, what="asked again")
        await eventually(lambda: chat.text.splitlines()[-1].startswith("result of"), what="prompt")
        chat.enter("2")
        await chat.sees("Done: 2.")
        assert chat.text.count("[y/n/always/edit]") == 0  # the prompt is gone, and was asked once
        assert chat.text.count("The agent asks") == 1


async def test_what_is_half_typed_is_no_answer_to_a_question(
    served: GatewayProcess, tmp_path: Path
) -> None:
    options = ("--url", served.url, "--agent", "scripted", "--session", "s_draft")
    async with Tab(served.url) as tab, ChatTerminal(*options, folder=tmp_path) as chat:
        await chat.sees("agent scripted")
        chat.type("half a thought")
        await chat.sees("> half a thought")
        await tab.script("s_draft", {"approve": {"title": "Sure?"}}, {"say": "It was {last}."})
        await eventually(lambda: chat.text.endswith("Sure? [y/n] >"), what="an empty prompt")
        chat.enter("y")
        await chat.sees('It was {"decision":"approve"}.')
        await eventually(lambda: chat.text.endswith("> half a thought"), what="the draft is back")


async def test_a_message_steers_the_live_run(served: GatewayProcess, tmp_path: Path) -> None:
    options = ("--url", served.url, "--agent", "scripted", "--session", "s_steer")
    async with ChatTerminal(*options, folder=tmp_path) as chat:
        await chat.sees("agent scripted")
        chat.enter(script(ENDLESS))
        await chat.sees("on and on and")
        chat.enter("[]")
        await chat.sees("> [] (steers the run)")
        async with Tab(served.url) as tab:
            state = (await tab.subscribe("s_steer"))["state"]
        assert [m["role"] for m in state["messages"]] == ["user", "assistant", "user"]
        assert state["run"]["status"] == "running"


async def test_a_session_goes_on_after_its_terminal_was_killed(
    served: GatewayProcess, tmp_path: Path
) -> None:
    options = ("--url", served.url, "--agent", "scripted", "--session", "s_again")
    async with ChatTerminal(*options, folder=tmp_path) as chat:
        await chat.sees("agent scripted")
        chat.enter(script({"say": "An earlier answer."}))
        await chat.sees("An earlier answer. >")
        chat.enter(script(ticks(60)))
        await eventually(lambda: last_tick(chat) > 3, what="the answer begins")
        await chat.kill()
    async with ChatTerminal(*options[:2], *options[4:], folder=tmp_path) as chat:
        await chat.sees("An earlier answer.")
        await eventually(lambda: last_tick(chat) == 59, within=20, what="the answer is whole")
        answer = chat.words.rpartition("}]")[2]
        assert re.findall(r"\bt\d{3}\b", answer) == [f"t{number:03}" for number in range(60)]
        chat.enter("/sessions")
        await chat.sees("(this one)")


async def test_a_replica_that_restarts_in_mid_answer_costs_nothing(
    valkey: Valkey, gateway: StartGateway, tmp_path: Path
) -> None:
    session = new_id("s")
    worker = await gateway("--broker", valkey.url, "--agents", "scripted")
    replica = await gateway("--broker", valkey.url, "--no-runs")
    options = ("--url", replica.url, "--agent", "scripted", "--session", session)
    async with Tab(worker.url) as tab, ChatTerminal(*options, folder=tmp_path) as chat:
        await chat.sees("agent scripted")
        await tab.subscribe(session)
        chat.enter(script(ticks(150)))
        await eventually(lambda: last_tick(chat) > 3, what="the answer begins")
        await replica.kill()
        await chat.sees("trying to reach the gateway")
        chat.enter("[]")
        await chat.sees("1 unsent")
        await tab.wait_for("message.completed", session=session)
        await replica.start()
        await eventually(lambda: last_tick(chat) == 149, within=60, what="the answer is whole")
        await eventually(lambda: "trying to reach" not in chat.text, what="connected")
        answer = chat.words.rpartition("}]")[2]
        assert re.findall(r"\bt\d{3}\b", answer) == [f"t{number:03}" for number in range(150)]


async def test_one_can_leave_while_the_gateway_is_away(
    served: GatewayProcess, tmp_path: Path
) -> None:
    async with ChatTerminal("--url", served.url, folder=tmp_path) as chat:
        await chat.sees("agent echo")
        await served.kill()
        await chat.sees("trying to reach the gateway")
        chat.enter("Hello?")
        await chat.sees("1 unsent")
        chat.type(CTRL_D)
        assert await chat.ends() == 0
        assert "Go on with: agent-gateway chat --session s_" in chat.words


async def test_no_process_stays_when_its_window_is_closed(
    served: GatewayProcess, tmp_path: Path
) -> None:
    async with ChatTerminal("--url", served.url, folder=tmp_path) as chat:
        await chat.sees("agent echo")
        chat.close()
        await chat.ends()


async def test_a_gateway_that_is_not_there(tmp_path: Path, free_port: int) -> None:
    url = f"ws://127.0.0.1:{free_port}"
    async with ChatTerminal("--url", url, folder=tmp_path) as chat:
        assert await chat.ends() == 1
        assert f"no gateway at {url}" in chat.words
        assert "agent-gateway demo" in chat.words


async def test_other_sessions_and_details(served: GatewayProcess, tmp_path: Path) -> None:
    options = ("--url", served.url, "--agent", "echo", "--session", "s_first")
    async with ChatTerminal(*options, folder=tmp_path) as chat:
        await chat.sees("session s_first")
        chat.enter("Hello there")
        await chat.sees("> Hello there Hello there >")
        chat.enter("/new scripted")
        await chat.sees("agent scripted")
        chat.enter(script({"think": "Secret."}, {"say": "Open."}))
        await chat.sees("✻ thought, 1 word: Secret. Open. >")
        chat.enter("/detail answer")
        await chat.sees("You see the detail answer now.")
        chat.enter(script({"think": "Hidden."}, {"say": "Shown."}))
        await chat.sees("}] Shown. >")
        assert "thought, 1 word: Hidden." not in chat.words
        chat.enter("/sessions")
        await chat.sees("2 s_first echo completed")
        chat.enter("/resume 2")
        # The answer may have been on its way when the chat left: only what comes now counts.
        await eventually(
            lambda: "> Hello there Hello there >" in chat.words.rpartition("/resume NUMBER")[2],
            what="the last messages",
        )
        chat.enter("/nonsense")
        await chat.sees("/nonsense is no command")
        chat.enter("/quit")
        assert await chat.ends() == 0
