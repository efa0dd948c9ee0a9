"""The demo agent does what its greeting says, with a page that answers, and without one."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.agents.demo import HELLO, STORY, DemoAgent
from gateway.runtime.agent import FunctionAgent
from tests.support.composed import composed
from tests.support.wire import Frame, Tab

TOOLS = [
    {"name": "read_heading", "parameters": {"type": "object"}, "idempotent": True},
    {"name": "highlight", "parameters": {"type": "object"}},
    {"name": "rename_page", "parameters": {"type": "object"}, "approval": True},
]


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    fast = DemoAgent(tokens_per_s=1e9)
    agent = FunctionAgent(name="demo", function=fast.__call__)
    async with composed(agents={"demo": agent}) as (_, address):
        yield f"ws://{address}/v1/ws"


class Page(Tab):
    """A page with the demo's tools, and a conversation in one session."""

    async def ask_agent(self, text: str, tools: list[Frame] | None = None) -> tuple[str, str]:
        """Send a message in a new session; the session and the run."""
        session = await self.create("demo", tools=TOOLS if tools is None else tools)
        await self.subscribe(session, tools=["*"])
        return session, (await self.message(session, text))["run"]

    async def called(self, session: str, name: str) -> Frame:
        return await self.wait_for("tool_call.requested", session=session, name=name)


async def test_it_says_what_it_can(url: str) -> None:
    async with Page(url) as page:
        session, run = await page.ask_agent("Good morning!")
        assert (await page.run_end(session, run))["type"] == "run.completed"
        assert page.text(session) == HELLO
        assert page.text(session, kind="thinking")
        kinds = [f["kind"] for f in page.find("message.delta", session=session)]
        assert kinds == sorted(kinds, key=["thinking", "text"].index), "thinking comes first"


@pytest.mark.parametrize("heading", [{"level": 1, "text": "Mission control"}, "Mission control"])
async def test_it_reads_the_heading(url: str, heading: Any) -> None:
    async with Page(url) as page:
        session, run = await page.ask_agent("What does the heading of this page say?")
        call = await page.called(session, "read_heading")
        assert call["arguments"] == {"level": 1}
        await page.answer(call, heading)
        await page.run_end(session, run)
        assert "**Mission control**" in page.text(session)


@pytest.mark.parametrize(
    ("text", "color"), [("Highlight the title, please.", "gold"), ("Make it Teal: color!", "teal")]
)
async def test_it_highlights(url: str, text: str, color: str) -> None:
    async with Page(url) as page:
        session, run = await page.ask_agent(text)
        call = await page.called(session, "highlight")
        assert call["arguments"] == {"selector": "h1", "color": color}
        await page.answer(call, {"matched": 1})
        await page.run_end(session, run)
        assert f"**{color}**" in page.text(session)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Rename this page to “Mission control”.", "Mission control"),
        ('Could you rename it to "A B"?', "A B"),
        ("rename the page to Ann's place!", "Ann's place"),
        ("Give it another title", "Mission control"),
    ],
)
async def test_it_asks_before_it_renames(url: str, text: str, title: str) -> None:
    async with Page(url) as page:
        session, run = await page.ask_agent(text)
        asked = await page.wait_for("approval.requested", session=session)
        assert (asked["title"], asked["arguments"]) == ("rename_page", {"title": title})
        about = {"session": session, "approval": asked["approval"]}
        edited = {"arguments": {"title": "Edited"}}
        await page.must({"type": "approval.respond", **about, "decision": "approve", **edited})
        await page.answer(await page.called(session, "rename_page"), {"title": "Edited"})
        await page.run_end(session, run)
        assert "**Edited**" in page.text(session)


async def test_it_takes_a_no(url: str) -> None:
    async with Page(url) as page:
        session, run = await page.ask_agent("Rename this page to X")
        asked = await page.wait_for("approval.requested", session=session)
        about = {"session": session, "approval": asked["approval"]}
        await page.must({"type": "approval.respond", **about, "decision": "deny"})
        assert (await page.run_end(session, run))["type"] == "run.completed"
        assert "keeps its name" in page.text(session)
        assert not page.find("tool_call.requested", session=session)


async def test_it_does_several_steps_at_once(url: str) -> None:
    async with Page(url) as page:
        session, run = await page.ask_agent("Show me some steps.")
        heading = await page.called(session, "read_heading")
        highlight = await page.called(session, "highlight")
        await page.answer(highlight, {"matched": 1})
        error = {"code": "tool.failed", "message": "No heading."}
        about = {"session": session, "call": heading["call"]}
        await page.must({"type": "tool.claim", **about})
        await page.must({"type": "tool.result", **about, "error": error})
        await page.run_end(session, run)
        assert "1. `read_heading`: No heading." in page.text(session)
        assert "2. `highlight`: done" in page.text(session)


async def test_it_tells_a_long_story_with_progress(url: str) -> None:
    async with Page(url) as page:
        session, run = await page.ask_agent("Tell me a long story.")
        await page.run_end(session, run)
        assert page.text(session) == STORY
        progress = page.find("run.progress", session=session)
        assert [f["current"] for f in progress] == list(range(progress[-1]["total"] + 1))
        assert page.find("run.activity", session=session, activity="writing")


async def test_it_fails_on_request(url: str) -> None:
    async with Page(url) as page:
        session, run = await page.ask_agent("Please fail.")
        end = await page.run_end(session, run)
        assert (end["type"], end["error"]["code"]) == ("run.failed", "agent.failed")


@pytest.mark.parametrize("text", ["heading", "highlight", "rename", "steps"])
async def test_a_page_without_tools_is_told_so(url: str, text: str) -> None:
    async with Page(url) as page:
        session, run = await page.ask_agent(text, tools=[])
        assert (await page.run_end(session, run))["type"] == "run.completed"
        said = page.text(session)
        assert "tool.unknown" in said or "There is no tool" in said, json.dumps(said)
