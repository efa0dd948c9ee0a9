"""The demo page in a real Chromium."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page

from tests.browser.demo_page import Demo


@pytest.fixture
async def demo(page: Page) -> AsyncIterator[Demo]:
    """The page, not opened yet; it must have complained of nothing."""
    demo = Demo(page)
    yield demo
    assert demo.complaints == []
