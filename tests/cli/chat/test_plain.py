"""A chat in a pipe: the answer alone on stdout, the rest on stderr, and the exit code."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.chat.plain import Answer
from tests.cli.chat.screens import command, environment, without_terminal
from tests.conftest import StartGateway
from tests.support.processes import GatewayProcess
from tests.support.waiting import eventually
from tests.support.wire import Tab, new_id


def run(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, capture_output=True, text=True, check=False, timeout=50, **options
    )


def chat(
    *arguments: str, folder: Path, said: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    return run(command(*arguments), input=said, cwd=folder, env=environment(**variables))


@pytest.mark.parametrize("options", [(), ("--stream",), ("--stream=True",), ("--no-stream",)])
async def test_what_is_piped_in_is_answered(
    served: GatewayProcess, tmp_path: Path, options: tuple[str, ...]
) -> None:
    options = ("--url", served.url, "--agent", "echo", *options)
    result = chat(*options, folder=tmp_path, said="hi *there*\n")
    assert (result.stdout, result.stderr, result.returncode) == ("hi *there*\n", "", 0)


async def test_the_answer_alone(served: GatewayProcess, tmp_path: Path) -> None:
    steps = [{"think": "Hm."}, {"say": "One."}, {"progress": [1, 2]}, {"sleep_ms": 1}]
    calls = [{"call_tool": {"name": "nothing"}}, {"say": "Two."}]
    result = chat(
        "--agent", "scripted", json.dumps([*steps, *calls]),
        folder=tmp_path, AGENT_GATEWAY_URL=served.http_url,
    )  # fmt: skip
    assert (result.stdout, result.stderr, result.returncode) == ("One.\nTwo.\n", "", 0)


async def test_a_session_goes_on(served: GatewayProcess, tmp_path: Path) -> None:
    session = new_id("s")
    options = ("--url", served.url, "--session", session)
    assert chat(*options, "--agent", "echo", "one", folder=tmp_path).stdout == "one\n"
    assert chat(*options, "two", folder=tmp_path).stdout == "two\n"
    async with Tab(served.url) as tab:
        state = (await tab.subscribe(session))["state"]
    assert [m["parts"][0]["text"] for m in state["messages"]] == ["one", "one", "two", "two"]


@pytest.mark.parametrize(
    ("steps", "answer", "told"),
    [
        ([{"say": "a"}, {"fail": "no luck"}], "a\n", "the run failed: no luck"),
        ([{"approve": {"title": "Sure?"}}], "", "waits for a decision about Sure?"),
    ],
)
async def test_what_goes_wrong_is_on_stderr(
    served: GatewayProcess, tmp_path: Path, steps: object, answer: str, told: str
) -> None:
    options = ("--url", served.url, "--agent", "scripted")
    result = chat(*options, json.dumps(steps), folder=tmp_path)
    assert (result.stdout, result.returncode) == (answer, 1)
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1


async def test_mistakes_name_the_remedy(served: GatewayProcess, tmp_path: Path) -> None:
    mistakes = {
        ("--url", "nonsense", "hi"): (2, "http://host:port"),
        ("--url", "ws://127.0.0.1:1", "hi"): (1, "agent-gateway demo"),
        ("--url", served.url, "--session", "nobody", "hi"): (1, "without --session"),
        ("--url", served.url): (1, "nothing to say"),
        ("--token-file", "missing", "hi"): (2, "missing"),
        ("--tools", "missing", "hi"): (2, "JSON list of tools"),
        ("--detail", "all", "hi"): (2, "answer"),
    }
    for arguments, (code, remedy) in mistakes.items():
        result = chat(*arguments, folder=tmp_path)
        assert (result.returncode, result.stdout) == (code, "")
        assert remedy in result.stderr
        assert result.stderr.startswith("agent-gateway: ")
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
async def test_what_is_no_text(served: GatewayProcess, tmp_path: Path, errors: str) -> None:
    variables = environment(PYTHONIOENCODING=f"utf-8:{errors}")
    arguments = command("--url", served.url, "--agent", "echo")
    result = run(arguments, input="\xe9", encoding="latin-1", cwd=tmp_path, env=variables)
    assert (result.returncode, result.stdout) == (2, "")
    assert "UTF-8" in result.stderr
    assert len(result.stderr.splitlines()) == 1


async def test_tokens(gateway: StartGateway, tmp_path: Path) -> None:
    secret = {"AGENT_GATEWAY_AUTH_SECRET": "5" * 32}
    served = await gateway("--auth", "jwt", environment=secret)
    minted = [*command()[:-1], "token", "--sub", "ann"]
    token = run(minted, env=environment(**secret)).stdout.strip()
    file = tmp_path / "token"
    file.write_text(f"{token}\n")
    options = ("--url", served.url, "hi")
    ways = [
        chat("--token", token, *options, folder=tmp_path),
        chat(*options, folder=tmp_path, AGENT_GATEWAY_TOKEN=token),
        chat("--token-file", str(file), *options, folder=tmp_path),
    ]
    assert [(way.stdout, way.stderr) for way in ways] == [("hi\n", "")] * 3
    without = chat(*options, folder=tmp_path)
    assert (without.stdout, without.returncode) == ("", 1)
    assert "--token" in without.stderr


async def test_an_interrupt_stops_the_run(served: GatewayProcess, tmp_path: Path) -> None:
    session = new_id("s")
    steps = [{"say": "on "}, {"sleep_ms": 600_000}]
    options = ("--url", served.url, "--agent", "scripted", "--session", session, "--stream")
    with without_terminal(
        *options, json.dumps(steps), folder=tmp_path, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        await eventually(process.stdout.read, within=30, what="it streams")
        process.send_signal(signal.SIGINT)
        await eventually(lambda: process.poll() is not None, what="it ends")
    assert process.returncode == 130
    async with Tab(served.url) as tab:
        state = (await tab.subscribe(session))["state"]
    assert state["run"]["status"] == "cancelled"


async def test_b8_an_agent_that_nobody_has(served: GatewayProcess, tmp_path: Path) -> None:
    result = chat("--url", served.url, "--agent", "echoo", "hi", folder=tmp_path)
    assert result.returncode != 0
    assert 'There is no agent "echoo". Did you mean "echo"?' in result.stderr


async def test_an_agent_that_nobody_has_just_now(gateway: StartGateway, tmp_path: Path) -> None:
    """Nor has anybody said which agents there are: its worker may be yet to start."""
    front = await gateway("--no-runs")
    options = ("--url", front.url, "--agent", "nobody", "hi")
    with without_terminal(*options, folder=tmp_path, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        os.set_blocking(process.stderr.fileno(), False)
        line = await eventually(process.stderr.read, within=20, what="it tells")
        process.send_signal(signal.SIGINT)
        await eventually(lambda: process.poll() is not None, what="it ends")
    assert b"no worker has the agent nobody yet" in line


def test_an_answer_that_has_changed_is_written_again() -> None:
    assert Answer("one two").after("one") == " two"
    assert Answer("two").after("one") == "\ntwo"
