"""examples/python: two agents and a chat, started as their first lines say."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import pytest
from playwright.async_api import Page, expect

from gateway.client import AsyncClient
from tests.browser.demo_page import Demo
from tests.support.processes import ROOT, GatewayProcess

EXAMPLES = ROOT / "examples" / "python"


class StartDemo(Protocol):
    """`await demo("--agents", "weather:weather")`, in a copy of the folder."""

    async def __call__(self, *options: str) -> GatewayProcess: ...


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[StartDemo]:
    shutil.copytree(EXAMPLES, tmp_path, dirs_exist_ok=True)
    started: list[GatewayProcess] = []

    async def demo(*options: str) -> GatewayProcess:
        started.append(GatewayProcess(tmp_path, *options, command="demo"))
        return await started[-1].start()

    yield demo
    for process in started:
        await process.terminate()
        process.assert_clean()


def printed(process: GatewayProcess) -> str:
    """The address that the command printed."""
    return next(line for line in process.output().splitlines() if line.startswith("http"))


def test_the_agent_is_short() -> None:
    assert len((EXAMPLES / "weather.py").read_text().splitlines()) <= 15


async def test_the_agent_answers(start: StartDemo) -> None:
    gateway = await start("--agents", "weather:weather")
    async with AsyncClient(gateway.http_url) as client:
        reply = await client.agent("weather").send_message("Oslo")
    assert reply.text == "In **Oslo** it is 9.5 °C."


@pytest.mark.parametrize("agreed", [True, False])
async def test_the_agent_works_in_the_browser(start: StartDemo, page: Page, agreed: bool) -> None:
    gateway = await start("--agents", "browser_tool:inspector")
    demo = await Demo(page).open(printed(gateway))
    pane = demo.pane()
    await expect(page.get_by_role("radio")).to_have_count(1)
    await pane.say("Tea house")
    await pane.get("approve" if agreed else "deny").click()
    await pane.ended()
    title = "Tea house" if agreed else "Agent Gateway"
    await expect(page.locator("h1")).to_have_text(title)
    said = "Agent Gateway is called Tea house now." if agreed else "It is still called"
    assert said in await pane.answer()
    assert demo.complaints == []


async def test_the_same_chat_from_python(start: StartDemo, tmp_path: Path) -> None:
    gateway = await start()
    program = tmp_path / "chat.py"
    program.write_text(program.read_text().replace("http://127.0.0.1:8000", gateway.http_url))
    chat = await asyncio.create_subprocess_exec(
        sys.executable,
        program,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    typed = "Rename this page to “Tea house”\ny\nRename this page to “Inn”\nn\n\n"
    out, err = await chat.communicate(typed.encode())
    assert (chat.returncode, err.decode()) == (0, "")
    told = out.decode()
    assert "May it do this? rename_page {'title': 'Tea house'} [y/n]" in told
    assert "=== Tea house ===" in told
    assert "Done. This page is called **Tea house** now." in told
    assert "=== Inn ===" not in told
    assert "keeps its name" in told
