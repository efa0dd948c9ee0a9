"""The React examples of the documents that people know (react_pages/references.jsx) run here."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import expect

from tests.browser.react_lab import Lab
from tests.support.processes import GatewayProcess

AGENTS = ("sonnet", "opus", "unnamed", "video", "image")


@pytest.fixture(scope="module")
async def documented(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A gateway with the agents that the documents name."""
    names = ",".join(f"tests.browser.reference_agents:{name}" for name in AGENTS)
    process = GatewayProcess(tmp_path_factory.mktemp("documented"), "--agents", names)
    await process.start()
    yield process.http_url
    await process.terminate()
    process.assert_clean()


async def test_the_agent_sdk(documented: str, lab: Lab) -> None:
    page = (await lab.open(documented, "agent-sdk")).page
    await expect(page.locator("output")).to_have_text("idle")
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_test_id("user")).to_have_text("Hello!")
    await expect(page.get_by_test_id("assistant")).to_have_text("You said: Hello!")
    await expect(page.locator("output")).to_have_text("idle")


async def test_the_pre_built_chat_component(documented: str, lab: Lab) -> None:
    await lab.open(documented, "pre-built")
    chat = lab.chat("My Assistant")
    await chat.say("Hello")
    await chat.answered("Hello from the assistant.")


async def test_client_tools(documented: str, lab: Lab) -> None:
    await lab.open(documented, "client-tools")
    chat = lab.chat("Assistant")
    await chat.say("Look")
    await chat.answered('{"found":true} and {"found":false}')


async def test_the_progress_component(documented: str, lab: Lab) -> None:
    page = (await lab.open(documented, "progress")).page
    await expect(page.get_by_text("Status: completed")).to_be_visible()
    await expect(page.locator("progress")).to_have_attribute("value", "100")
    # StrictMode mounts it twice, and the document's effect runs at every mount.
    await expect(page.locator("li")).to_have_count(8)


async def test_the_hook_for_streaming(documented: str, lab: Lab) -> None:
    page = (await lab.open(documented, "hook")).page
    await page.get_by_role("button", name="Generate").click()
    await expect(page.get_by_text("Status: completed")).to_be_visible()
    await expect(page.get_by_test_id("logs")).to_have_text("drawing")
    await expect(page.get_by_alt_text("What was made")).to_be_visible()
