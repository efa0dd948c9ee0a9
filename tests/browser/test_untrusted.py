"""What an agent says is text of a stranger: in Chromium it runs nothing and fetches nothing.

The fixtures see to it that the page complained of nothing: what its policy had to stop would be a
complaint.
"""

import json
from urllib.parse import urlsplit

from playwright.async_api import Dialog, Locator, Page, Request, expect

from tests.browser.demo_page import Demo
from tests.browser.react_lab import WEB, Lab

ATTACKS: list[str] = json.loads((WEB / "test" / "attacks.json").read_text())
END = "the last words"
STEPS = [{"say": text} for text in [*ATTACKS, "\n\n".join(ATTACKS), END]]
FOUND = """nodes => nodes.flatMap(node => [...node.querySelectorAll('*')].flatMap(one => {
    const names = one.getAttributeNames();
    const bad = names.filter(name => /^on|^src|^style$|^id$|^name$|^srcdoc$/.test(name));
    const known = 'A,BLOCKQUOTE,CODE,DIV,EM,H3,H4,H5,H6,HR,LI,OL,P,PRE,STRONG,TABLE,TBODY,TD,TH,' +
        'THEAD,TR,UL';
    if (!known.split(',').includes(one.tagName)) bad.push(one.tagName);
    if (one.tagName === 'A' && !['http:', 'https:', 'mailto:'].includes(one.protocol))
        bad.push(one.href);
    return bad;
}))"""


class Watch:
    """What a page did that it should not."""

    def __init__(self, page: Page, url: str) -> None:
        self.seen: list[str] = []
        self._origin = urlsplit(url).netloc
        page.on("request", self._on_request)
        page.on("dialog", self._on_dialog)

    def _on_request(self, request: Request) -> None:
        place = urlsplit(request.url)
        if place.scheme not in ("data", "blob") and place.netloc != self._origin:
            self.seen.append(request.url)

    async def _on_dialog(self, dialog: Dialog) -> None:
        self.seen.append(dialog.message)
        await dialog.dismiss()


async def assert_harmless(texts: Locator, watch: Watch) -> None:
    assert await texts.count() >= len(STEPS)
    assert await texts.evaluate_all(FOUND) == []
    links = texts.locator("a")
    assert await links.count() > 3
    for link in await links.all():
        assert await link.get_attribute("rel") == "noopener noreferrer nofollow"
    assert watch.seen == []


async def test_the_demo_page(url: str, demo: Demo) -> None:
    watch = Watch(demo.page, url)
    await demo.open(url)
    pane = await demo.pane().choose("Scripted")
    for step in STEPS:
        await pane.script(step)
        await pane.ended()
    await expect(pane.texts.last).to_have_text(END)
    await assert_harmless(pane.texts, watch)


async def test_the_react_component(url: str, lab: Lab) -> None:
    watch = Watch(lab.page, url)
    await lab.open(url, "solo")
    chat = lab.chat()
    for step in STEPS:
        await chat.script(step)
        await chat.idle()
    await expect(chat.texts.last).to_have_text(END)
    await assert_harmless(chat.texts, watch)
