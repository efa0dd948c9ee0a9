"""The demo page as a person uses it: panes to write in, a badge to look at."""

import json
from pathlib import Path
from typing import Any, Self

from playwright.async_api import ConsoleMessage, Locator, Page, WebSocket, expect

SHOTS = Path(__file__).parents[2] / "artifacts" / "browser"
GLOWED = 'h1[style*="--glow"]'
"""The title where the tool `highlight` was executed, also when its glow is over."""


class Pane:
    """One session on the page."""

    def __init__(self, node: Locator) -> None:
        self.node = node

    def get(self, name: str) -> Locator:
        return self.node.get_by_test_id(name)

    async def choose(self, agent: str) -> Self:
        await self.node.get_by_text(agent, exact=True).click()
        return self

    async def say(self, text: str) -> Self:
        await self.get("composer").fill(text)
        await self.get("composer").press("Enter")
        return self

    async def script(self, *steps: dict[str, Any]) -> Self:
        """Steps for the agent `scripted`."""
        return await self.say(json.dumps(steps))

    async def ended(self, status: str = "completed") -> Self:
        """Its newest run has ended so, and none waits."""
        await expect(self.node).to_have_attribute("data-run", status)
        await expect(self.node).to_have_attribute("data-live", "false")
        return self

    @property
    def texts(self) -> Locator:
        """What the agent said; the messages of the person are not in it."""
        return self.node.locator('[data-role="assistant"] [data-testid="text"]')

    async def answer(self) -> str:
        """The newest text of the agent, so far."""
        return await self.texts.last.inner_text() if await self.texts.count() else ""


class Demo:
    """The page, with what it did on the side: sockets it opened, what it complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.sockets: list[WebSocket] = []
        self.complaints: list[str] = []
        page.on("websocket", self._on_socket)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._on_console)

    def _on_socket(self, socket: WebSocket) -> None:
        self.sockets.append(socket)

    def _on_console(self, message: ConsoleMessage) -> None:
        # Chromium writes a line of its own for every socket that does not open.
        if message.type in ("error", "warning") and "WebSocket connection" not in message.text:
            self.complaints.append(message.text)

    async def open(self, url: str) -> Self:
        await self.page.goto(url)
        await self.is_("open")
        return self

    async def is_(self, status: str) -> None:
        """The badge says so."""
        badge = self.page.get_by_test_id("badge")
        await expect(badge).to_have_attribute("data-status", status)

    def pane(self, index: int = 0) -> Pane:
        return Pane(self.page.get_by_test_id("pane").nth(index))

    async def another(self) -> Pane:
        panes = self.page.get_by_test_id("pane")
        count = await panes.count()
        await self.page.get_by_test_id("new-session").click()
        await expect(panes).to_have_count(count + 1)
        return self.pane(count)

    async def shoot(self, name: str) -> None:
        """A screenshot for people to look at."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=SHOTS / f"{name}.png", animations="disabled")
