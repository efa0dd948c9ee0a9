"""How the component looks, to the eye (screenshots for people) and to a screen reader (axe)."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.browser.react_lab import WEB, Chat, Lab

_log = logging.getLogger(__name__)

AXE = WEB / "node_modules" / "axe-core" / "axe.min.js"
PHONE = {"width": 390, "height": 800}
DESKTOP = {"width": 1100, "height": 820}

MARKDOWN = """## What I found

The page has **three** parts; the *second* is `hidden`, see [the notes](https://example.com/notes):

1. a heading
2. a list
   - with a list in it
   - and another item

| part | words |
| --- | --- |
| heading | 12 |
| list | 340 |

```js
const found = document.querySelectorAll('h1');
```

> Nothing else was there.
"""


@asynccontextmanager
async def look(browser: Browser, dist: Path, size: Any, scheme: Any) -> AsyncGenerator[Lab]:
    phone = size is PHONE
    context = await browser.new_context(
        viewport=size, color_scheme=scheme, has_touch=phone, is_mobile=phone
    )
    try:
        lab = Lab(await context.new_page(), dist)
        yield lab
        assert lab.complaints == []
    finally:
        await context.close()


async def fill(chat: Chat) -> None:
    """Something of everything."""
    await chat.script(
        {"think": "They want to know what is on the page. I will look and then say."},
        {"commentary": "I will look at the page."},
        {"call_tool": {"name": "add", "arguments": {"text": "one"}}},
        {"say": MARKDOWN},
        {"progress": [3, 8]},
        {"approve": {"title": "Publish the notes?", "arguments": {"to": "everybody"}}},
        {"say": "Good."},
    )
    await chat.button("Allow").click()
    await expect(chat.node.get_by_text("Publish the notes?", exact=True)).to_be_visible()


async def serious(lab: Lab) -> list[str]:
    """What axe finds that keeps people out; anything lesser goes to the log."""
    await lab.page.evaluate(AXE.read_text())  # the page's policy forbids a tag of ours
    found = await lab.page.evaluate("axe.run().then(({violations}) => violations)")
    told = [f"{one['impact']} {one['id']}: {one['nodes'][0]['html']}" for one in found]
    _log.info("axe: %s", told)
    return [one for one in told if one.startswith(("serious", "critical"))]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
async def test_it_keeps_nobody_out(
    url: str, browser: Browser, react_dist: Path, size: dict[str, int], scheme: str
) -> None:
    name = f"{'phone' if size is PHONE else 'desktop'}-{scheme}"
    async with look(browser, react_dist, size, scheme) as lab:
        await lab.open(url, "solo")
        chat = lab.chat()
        await expect(chat.node).to_have_attribute("data-status", "idle")
        await lab.shoot(f"{name}-empty")
        assert await serious(lab) == []
        await fill(chat)
        assert await serious(lab) == []
        await lab.shoot(f"{name}-asking")
        await chat.log.evaluate("log => log.scrollTop = 0")
        await chat.node.locator(".agw-thinking summary").click()
        await chat.node.locator(".agw-tool summary").click()
        await expect(chat.node.get_by_text('"text": "one"').first).to_be_visible()
        await lab.shoot(f"{name}-top")
        wide = await lab.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= size["width"]
        await chat.script({"fail": "The model is not there."})
        await chat.button("Allow").click()
        await expect(chat.node.get_by_role("alert")).to_be_visible()
        await expect(chat.button("To the newest")).to_have_count(0)
        assert await serious(lab) == []
        await lab.shoot(f"{name}-failed")


async def test_a_theme_can_be_chosen(url: str, lab: Lab) -> None:
    await lab.open(url, "solo", "&theme=dark")
    node = lab.chat().node
    background = "node => getComputedStyle(node).backgroundColor"
    assert await node.evaluate(background) == "rgb(20, 23, 30)"
    await lab.page.evaluate(
        "document.documentElement.style.setProperty('--agw-background', 'rgb(1, 2, 3)')"
    )
    assert await node.evaluate(background) == "rgb(1, 2, 3)"


async def test_everything_can_be_done_by_keyboard(url: str, lab: Lab) -> None:
    await lab.open(url, "solo", "&agent=echo")
    chat = lab.chat()
    await chat.field.focus()
    await lab.page.keyboard.type("one")
    await lab.page.keyboard.press("Shift+Enter")
    await lab.page.keyboard.type("two")
    await expect(chat.field).to_have_value("one\ntwo")
    await lab.page.keyboard.press("Enter")
    await expect(chat.texts.last).to_contain_text("two")
    await expect(chat.field).to_have_value("")
    await expect(chat.field).to_be_focused()
