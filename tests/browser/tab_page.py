"""Tabs of one small page (pages/tab.js), what their tool did, and a network that loses things."""

import json
import uuid
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlencode

from playwright.async_api import BrowserContext, Page, WebSocketRoute

from tests.support.waiting import eventually

FOLDER = Path(__file__).parent / "pages"
SERVICE_RESTART = 1012

Way = Literal["up", "down"]
Message = str | bytes


class Tab:
    """One tab with one session; it dies with its page."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url

    async def load(self) -> Self:
        """Load it, or reload it: another client id."""
        await self.page.goto(self.url)
        await self.page.wait_for_function("window.tab?.session.status === 'open'")
        return self

    async def id(self) -> str:
        return await self.page.evaluate("tab.client.id")

    async def say(self, *steps: dict[str, Any], if_busy: str = "reject") -> None:
        """Steps for the agent `scripted`; returns at once, the answer may be late."""
        send = "([text, if_busy]) => { tab.sent = tab.session.send(text, {if_busy}) }"
        await self.page.evaluate(send, [json.dumps(steps), if_busy])

    async def state(self) -> dict[str, Any]:
        return await self.page.evaluate("tab.session.state")

    async def ended(self, within: float = 20) -> dict[str, Any]:
        """Its newest run is over; the state then."""

        async def over() -> dict[str, Any]:
            state = await self.state()
            run = state["run"]
            live = run is None or run["status"] in ("queued", "running", "waiting")
            return {} if live else state

        return await eventually(over, within=within, what="the run ends")

    async def answer(self) -> str:
        """The newest text of the agent, so far."""
        messages = (await self.state())["messages"]
        texts = [
            part["text"]
            for message in messages
            for part in message["parts"]
            if message["role"] == "assistant" and part["kind"] == "text"
        ]
        return texts[-1] if texts else ""

    async def release(self) -> None:
        """Its tool may end."""
        await self.page.evaluate("tab.release()")

    async def events(self) -> list[str]:
        """The types of all events since it was loaded; dense, each once, in order."""
        seen: list[tuple[str, int, int]] = await self.page.evaluate("tab.seen")
        for (_, _, last), (_, first, _) in pairwise(seen):
            assert first == last + 1, seen
        return [kind for kind, _, _ in seen]


class Tabs:
    """The tabs of one browser on one session, and what their tool did, in order."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.session = f"s_{uuid.uuid4().hex}"
        self.heard: list[tuple[str, str]] = []  # what, client id
        self._created = False

    async def prepare(self) -> Self:
        """Let the gateway's own origin serve the page."""
        # A page that is not from the network itself needs leave to speak to loopback.
        await self.context.grant_permissions(["local-network-access"], origin=self.url)
        await self.context.expose_function("heard", lambda *what: self.heard.append(what))
        for name in ("tab.html", "tab.js"):
            await self.context.route(f"{self.url}/{name}*", self._serve)
        return self

    async def _serve(self, route: Any) -> None:
        await route.fulfill(path=FOLDER / Path(route.request.url.split("?")[0]).name)

    async def open(self, *, tool: bool = True, idempotent: bool = True, lease_ms: int = 500) -> Tab:
        """A new tab; the first one creates the session."""
        options = {
            "session": self.session,
            "create": not self._created,
            "tool": tool,
            "idempotent": idempotent,
            "lease_ms": lease_ms,
        }
        self._created = True
        query = urlencode({name: json.dumps(value).strip('"') for name, value in options.items()})
        tab = Tab(await self.context.new_page(), f"{self.url}/tab.html?{query}")
        return await tab.load()

    async def hears(self, what: str, tab: str, within: float = 10) -> None:
        """The tool of that tab did so."""
        await eventually(lambda: (what, tab) in self.heard, within=within, what=f"{tab} {what}")

    def began(self) -> list[str]:
        """The tabs in which an execution began, in order."""
        return [tab for what, tab in self.heard if what == "began"]


def frames_of(message: Message) -> list[dict[str, Any]]:
    assert isinstance(message, str), "a binary message"
    return [json.loads(line) for line in message.split("\n")]


class LosesOnce:
    """Loses one frame of a type on its way up, or its answer on the way down, and the socket."""

    def __init__(self, kind: str, way: Way) -> None:
        self.kind = kind
        self.way = way
        self.sent: list[dict[str, Any]] = []  # frames of the type, as the page sent them
        self._lost = False

    def __call__(self, route: WebSocketRoute) -> None:
        server = route.connect_to_server()

        async def up(message: Message) -> None:
            hit = [frame for frame in frames_of(message) if frame["type"] == self.kind]
            self.sent.extend(hit)
            if hit and self.way == "up" and not self._lost:
                self._lost = True
                await self._cut(route, server)
            else:
                server.send(message)

        async def down(message: Message) -> None:
            if self.way == "down" and not self._lost and self._answers(message):
                self._lost = True
                await self._cut(route, server)
            else:
                route.send(message)

        route.on_message(up)
        server.on_message(down)

    def _answers(self, message: Message) -> bool:
        ids = {frame["id"] for frame in self.sent}
        return any(frame["type"] == "ok" and frame["id"] in ids for frame in frames_of(message))

    async def _cut(self, *sides: WebSocketRoute) -> None:
        for side in sides:
            await side.close(code=SERVICE_RESTART)
