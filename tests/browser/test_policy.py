"""The demo page lives under its strict policy: nothing it does is refused, nothing foreign runs."""

from typing import Any

from playwright.async_api import Page, Route, expect

from tests.browser.demo_page import Demo
from tests.support.waiting import eventually

WATCH = """
window.violations = [];
addEventListener('securitypolicyviolation', ({ effectiveDirective, blockedURI }) => {
  window.violations.push([effectiveDirective, blockedURI]);
});
"""


async def violations(page: Page) -> list[list[str]]:
    """What the browser refused so far: directive and what it was."""
    return await page.evaluate("window.violations")


async def test_the_page_works_and_nothing_is_refused(url: str, demo: Demo) -> None:
    """A story, a tool, an approval, Markdown, a reload: with no violation."""
    await demo.page.add_init_script(WATCH)
    await demo.open(url)
    pane = demo.pane()
    await pane.get("suggestion").filter(has_text="heading").click()
    await pane.ended()
    await pane.say("Highlight the title, please.")
    await expect(demo.page.locator(".glowing").first).to_be_visible()
    await pane.ended()
    other = await (await demo.another()).choose("Scripted")
    await other.script({"say": "# Title\n\n**bold** `code`\n\n- one\n- two\n"})
    await other.ended()
    await demo.page.get_by_test_id("theme").click()
    await demo.shoot("policy")
    assert await violations(demo.page) == []
    await demo.page.reload()
    await demo.is_("open")
    assert await violations(demo.page) == []


INJECTED = """
() => {
  window.ran = [];
  const make = (tag, fields) => Object.assign(document.createElement(tag), fields);
  const add = (tag, fields) => document.body.append(make(tag, fields));
  const attempts = {
    inline: () => add('script', { textContent: "window.ran.push('inline')" }),
    foreign: () => add('script', { src: 'http://localhost:9/evil.js' }),
    data: () => add('script', { src: "data:text/javascript,window.ran.push('data')" }),
    handler: () => {
      const button = document.createElement('button');
      button.setAttribute('onclick', "window.ran.push('handler')");
      document.body.append(button);
      button.click();
    },
    markup: () => {
      document.body.innerHTML += "<img src=x onerror=\\"window.ran.push('markup')\\">";
    },
    eval: () => setTimeout("window.ran.push('eval')"),
    frame: () => add('iframe', { src: 'http://localhost:9/' }),
    style: () => document.body.setAttribute('style', 'color: rgb(1, 2, 3)'),
    connect: () => fetch('http://localhost:9/steal').catch(() => {}),
    image: () => add('img', { src: 'http://localhost:9/steal.png' }),
  };
  const thrown = [];
  for (const [name, attempt] of Object.entries(attempts)) {
    try { attempt(); } catch { thrown.push(name); }
  }
  return thrown;
}
"""


async def test_what_is_injected_does_not_run(url: str, page: Page) -> None:
    """As if some part of the page had let an attacker's text become markup or code."""
    demo = Demo(page)  # that it complains is the point
    await page.add_init_script(WATCH)
    await demo.open(url)
    thrown: list[str] = await page.evaluate(INJECTED)
    # no text becomes markup or code at all
    assert thrown == ["inline", "foreign", "data", "handler", "markup", "eval"]
    wanted = {"connect-src", "frame-src", "img-src", "require-trusted-types-for", "style-src-attr"}

    async def refused() -> bool:
        return wanted <= {each[0] for each in await violations(page)}

    await eventually(refused, within=10, what=f"{wanted} are refused")
    assert await page.evaluate("window.ran") == []
    colour: Any = await page.evaluate("getComputedStyle(document.body).color")
    assert colour != "rgb(1, 2, 3)"
    await demo.is_("open")
    await demo.pane().say("Still here?")
    await demo.pane().ended()


PLANTED = """
<script>window.ran = 'inline';</script>
<script src="http://localhost:9/evil.js"></script>
<img src="x" onerror="window.ran = 'handler'">
<style>body { color: rgb(1, 2, 3) }</style>
<base href="http://localhost:9/">
"""


async def test_what_is_planted_in_the_page_does_not_run(url: str, page: Page) -> None:
    """As if the markup itself had been changed on its way out of the gateway."""

    async def plant(route: Route) -> None:
        answer = await route.fetch()
        body = (await answer.text()).replace("<body>", f"<body>{PLANTED}")
        await route.fulfill(response=answer, body=body)

    await page.add_init_script(WATCH)
    await page.route(f"{url}/", plant)
    await page.goto(url)
    await expect(page.get_by_test_id("pane")).to_have_count(1)  # its own script runs
    wanted = {"base-uri", "script-src-attr", "script-src-elem", "style-src-elem"}

    async def refused() -> bool:
        return wanted <= {each[0] for each in await violations(page)}

    await eventually(refused, within=10, what=f"{wanted} are refused")
    assert await page.evaluate("window.ran") is None


async def test_another_page_cannot_frame_it(url: str, page: Page) -> None:
    markup = f'<iframe src="{url}/"></iframe><iframe src="{url}/healthz"></iframe>'
    there = "http://evil.example/"
    await page.route(there, lambda route: route.fulfill(body=markup, content_type="text/html"))
    await page.goto(there, wait_until="load")
    inside = [frame for frame in page.frames if frame != page.main_frame]
    assert len(inside) == 2
    for frame in inside:
        assert "Agent Gateway" not in await frame.content()
        assert "alive" not in await frame.content()
