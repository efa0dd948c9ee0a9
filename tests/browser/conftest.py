"""The demo page and the React pages in a real Chromium."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.browser.demo_page import Demo
from tests.browser.react_lab import PAGES, Lab, build
from tests.support.processes import GatewayProcess

expect.set_options(timeout=60_000)  # a busy machine is slow, not wrong


@pytest.fixture(scope="session")
async def url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A gateway with the demo page, in memory; tests share it, so they look for their own."""
    process = GatewayProcess(tmp_path_factory.mktemp("demo"), command="demo")
    await process.start()
    yield process.http_url
    try:
        await process.terminate()
    finally:
        await process.kill()
    process.assert_clean()


@pytest.fixture
async def demo(page: Page) -> AsyncIterator[Demo]:
    """The page, not opened yet; it must have complained of nothing."""
    demo = Demo(page)
    yield demo
    assert demo.complaints == []


@pytest.fixture(scope="session")
async def react_dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The React pages of the tests, built by Vite with all of React's checks."""
    return await build(PAGES, tmp_path_factory.mktemp("react") / "pages", strict=True)


@pytest.fixture
async def lab(page: Page, react_dist: Path) -> AsyncIterator[Lab]:
    """A React page, not opened yet; it must have complained of nothing."""
    lab = Lab(page, react_dist)
    yield lab
    assert lab.complaints == []
