"""The README's agent, as it stands there, run by whoever copies it (N1)."""

import re
from typing import Any

from gateway.client import AsyncClient, tool
from gateway.runtime.agent import FunctionAgent, agent
from tests.support.composed import composed
from tests.support.processes import ROOT

README = (ROOT / "README.md").read_text()
AGENTS = (ROOT / "docs" / "agents.md").read_text()
FIRST = re.compile(r"^```python\n(# research\.py\n.*?)^```", re.DOTALL | re.MULTILINE)


async def answered(page: str, question: str) -> str:
    """What the page's first agent says to a person whose page has the demo's tool."""
    found = FIRST.search(page)
    assert found is not None
    module: dict[str, Any] = {}
    exec(compile(found.group(1), "research.py", "exec"), module)
    written = module["researcher"]
    researcher = written if isinstance(written, FunctionAgent) else agent()(written)
    heading = tool("read_heading").handler(lambda _: {"text": "A page"}).build()
    async with (
        composed(agents={"researcher": researcher}) as (_, place),
        AsyncClient(f"http://{place}") as client,
    ):
        conversation = client.agent({"agent": "researcher", "tools": [heading]})
        return (await conversation.send_message(question)).text


async def test_N1_the_readmes_agent_runs() -> None:
    assert (await answered(README, "Hi")).strip() == "The heading of this page is “A page”."


async def test_the_agent_of_the_page_about_agents_runs() -> None:
    assert await answered(AGENTS, "Hi") == "2 words."


def test_the_readmes_agent_asks_for_a_tool_that_the_demo_page_has() -> None:
    tools = (ROOT / "gateway" / "pages" / "demo" / "tools.js").read_text()
    for page in (README, AGENTS):
        found = FIRST.search(page)
        assert found is not None
        for name in re.findall(r'call_tool\("(\w+)"', found.group(1)):
            assert f"name: '{name}'" in tools or f"def {name}(" in found.group(1), name
