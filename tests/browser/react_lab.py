"""React pages built by Vite (react_pages/), and a chat on one of them as a person uses it."""

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any, Self

from playwright.async_api import (
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Route,
    WebSocket,
    expect,
)

from tests.support.processes import ROOT, Process, find_program, free_port

PAGES = Path(__file__).parent / "react_pages"
EXAMPLE = ROOT / "examples" / "react"
WEB = ROOT / "web"
VITE = WEB / "node_modules" / "vite" / "bin" / "vite.js"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    "base-uri 'none'"
)
SHOTS = ROOT / "artifacts" / "browser"


async def build(source: Path, folder: Path, *, strict: bool = False) -> Path:
    """Builds a Vite app of this repository as a copy, with the packages that `web` has.

    `strict`: with React's development build, which complains and runs every effect twice.
    """
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    if not (config := folder / "vite.config.js").exists():
        shutil.copy(EXAMPLE / "vite.config.js", config)
    modules = folder / "node_modules"
    modules.mkdir()
    (modules / "agent-gateway").symlink_to(WEB)
    for name in ("react", "react-dom", "vite"):
        (modules / name).symlink_to(WEB / "node_modules" / name)
    process = await asyncio.create_subprocess_exec(
        find_program("node"),
        str(VITE),
        "build",
        "--base=./",
        cwd=folder,
        env={**os.environ, "NODE_ENV": "development" if strict else "production"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return folder / "dist"


class VitePreview(Process):
    """`vite preview` of a built app, with its proxy to a gateway."""

    def __init__(self, folder: Path, gateway_url: str) -> None:
        self.port = free_port()
        listen = ["--host", "127.0.0.1", "--port", str(self.port), "--strictPort"]
        super().__init__(
            [find_program("node"), str(VITE), "preview", *listen],
            folder,
            name="vite-preview",
            environment={"PATH": "/usr/bin:/bin", "GATEWAY_URL": gateway_url},
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ready(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True


class Chat:
    """One chat component."""

    def __init__(self, node: Locator) -> None:
        self.node = node

    @property
    def field(self) -> Locator:
        return self.node.get_by_role("textbox", name="Message", exact=True)

    @property
    def log(self) -> Locator:
        return self.node.get_by_role("log")

    @property
    def texts(self) -> Locator:
        """What the agent said."""
        return self.node.locator('[data-role="assistant"] .agw-text')

    def button(self, name: str) -> Locator:
        return self.node.get_by_role("button", name=name, exact=True)

    async def say(self, text: str) -> Self:
        await self.field.fill(text)
        await self.field.press("Enter")
        return self

    async def script(self, *steps: dict[str, Any]) -> Self:
        """Steps for the agent `scripted`."""
        return await self.say(json.dumps(steps))

    async def answered(self, text: str) -> Self:
        """Its newest text is this, and nothing goes on."""
        await expect(self.texts.last).to_have_text(text)
        return await self.idle()

    async def idle(self) -> Self:
        await expect(self.node).to_have_attribute("data-status", "idle")
        return self


class Lab:
    """One browser page of the built app, served from the gateway's own origin."""

    def __init__(self, page: Page, dist: Path) -> None:
        self.page = page
        self.dist = dist
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

    async def open(self, url: str, page: str, query: str = "") -> Self:
        await prepare(self.page.context, url, self.dist)
        await self.page.goto(f"{url}/lab/index.html?page={page}{query}")
        return self

    def chat(self, title: str = "Scripted") -> Chat:
        return Chat(self.page.get_by_role("region", name=title, exact=True))

    async def known(self, expression: str) -> Any:
        """What the page wrote on `window.lab`."""
        return await self.page.evaluate(f"window.lab.{expression}")

    async def shoot(self, name: str) -> None:
        """A screenshot for people to look at."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=SHOTS / f"react-{name}.png", animations="disabled")


async def prepare(context: BrowserContext, url: str, dist: Path) -> None:
    """Let the gateway's own origin serve the built pages, under a policy as strict as ours."""

    async def serve(route: Route) -> None:
        name = route.request.url.split("?")[0].split("/lab/")[1]
        await route.fulfill(path=dist / name, headers={"Content-Security-Policy": POLICY})

    # A page that is not from the network itself needs leave to speak to loopback.
    await context.grant_permissions(["local-network-access"], origin=url)
    await context.route(f"{url}/lab/**", serve)
