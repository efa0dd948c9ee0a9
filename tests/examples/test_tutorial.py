"""docs/tutorial.md, followed word for word but for the port."""

import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.browser.demo_page import Demo
from tests.cli.chat.screens import CTRL_D, ChatTerminal
from tests.support.processes import ROOT, GatewayProcess, Process, free_port

PAGE = (ROOT / "docs" / "tutorial.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
INSTALL, AGENT, START, BROWSER, TERMINAL, PROGRAM, _ = SECTIONS.values()


def blocks(section: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


def steps(section: str) -> list[str]:
    """The items of its list."""
    return re.findall(r"^- (.+?)$", section, re.MULTILINE)


def quoted(step: str) -> list[str]:
    return re.findall(r"`(.+?)`", step)


class Tour:
    """A person's home, with the folder of the tour in it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "tour"
        self.port = free_port()

    @property
    def environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("AGENT_GATEWAY_")}
        port = str(self.port)
        url = f"http://127.0.0.1:{port}"
        ours = {"HOME": str(self.home), "AGENT_GATEWAY_PORT": port, "AGENT_GATEWAY_URL": url}
        return {**inherited, **ours}

    def renamed(self, text: str) -> str:
        """With our port in place of the page's."""
        return text.replace("127.0.0.1:8000", f"127.0.0.1:{self.port}")

    def run(self, script: str) -> str:
        """What commands print, typed in the clone of the repository."""
        done = subprocess.run(
            ["bash", "-ec", script],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write(self, program: str) -> None:
        """Writes a file; its first line says how it is called."""
        name = re.match(r"# (\w+\.py)\n", program)
        assert name is not None
        (self.folder / name[1]).write_text(self.renamed(program))


class Foreground(Process):
    """A terminal in which a gateway runs."""

    def __init__(self, script: str, tour: Tour) -> None:
        *before, command = script.strip().splitlines()
        arguments = ["bash", "-ec", "\n".join([f"cd {ROOT}", *before, f"exec {command}"])]
        super().__init__(arguments, tour.home, name="gateway", environment=tour.environment)
        self.port = tour.port

    ready = GatewayProcess.ready
    http_url = GatewayProcess.http_url
    command = "demo"


@pytest.fixture
async def tour(tmp_path: Path) -> AsyncIterator[Tour]:
    """Everything up to the gateway that runs in the first terminal."""
    tour = Tour(tmp_path)
    assert tour.run(f"{blocks(INSTALL, 'sh')[0]}pwd").splitlines()[-1] == str(tour.folder)
    tour.write(blocks(AGENT, "python")[0])
    gateway = Foreground(blocks(INSTALL, "sh")[0] + blocks(START, "sh")[0], tour)
    await gateway.start()
    assert tour.renamed(quoted(BROWSER)[0]) in gateway.output().splitlines()
    yield tour
    assert await gateway.terminate() == 0


async def test_in_the_browser(tour: Tour, page: Page) -> None:
    demo = await Demo(page).open(tour.renamed(quoted(BROWSER)[0]))
    pane = demo.pane()
    done: set[str] = set()
    for step in steps(BROWSER):
        verb, *_ = step.split()
        done.add(verb)
        match verb:
            case "Write":
                await pane.say(quoted(step)[0])
            case "Read":
                await expect(pane.texts.last).to_have_text(quoted(step)[0].strip())
            case "Reload":
                await page.reload()
            case "Press":
                button = re.findall(r"\*\*(.+?)\*\*", step)[0]
                await pane.node.get_by_role("button", name=button, exact=True).click()
                await expect(page.locator("h1")).to_have_text(quoted(step)[0])
            case _:
                raise AssertionError(f"nobody knows how to do this: {step}")
    assert done == {"Write", "Read", "Reload", "Press"}
    assert demo.complaints == []


async def test_in_a_terminal(tour: Tour) -> None:
    variables = {name: tour.environment[name] for name in ("HOME", "AGENT_GATEWAY_URL")}
    chat = ChatTerminal(folder=ROOT, **variables)
    chat._arguments = ["bash", "-ec", blocks(TERMINAL, "sh")[0]]
    async with chat:
        await chat.sees(">")
        for step in steps(TERMINAL):
            match step.split():
                case ["Write", *_]:
                    chat.enter(quoted(step)[0])
                case ["When", *_]:
                    asked, typed = quoted(step)
                    await chat.sees(f"result of {asked}")
                    chat.enter(typed)
                case ["Read", *_]:
                    for text in quoted(step):
                        await chat.sees(text)
                case ["Press", "Ctrl-D", *_]:
                    chat.type(CTRL_D)
                case _:
                    raise AssertionError(f"nobody knows how to do this: {step}")
        assert await chat.ends() == 0


async def test_from_a_program(tour: Tour) -> None:
    tour.write(blocks(PROGRAM, "python")[0])
    second_terminal = "\n".join(blocks(TERMINAL, "sh")[0].splitlines()[:2])
    printed = tour.run(f"{second_terminal}\n{blocks(PROGRAM, 'sh')[0]}")
    assert printed == blocks(PROGRAM, "text")[0]


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!http)(.+?)\)", PAGE)
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
