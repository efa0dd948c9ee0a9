"""How it looks: a phone, light and dark. Screenshots are for people; sizes are checked here."""

import pytest
from playwright.async_api import Browser, expect

from tests.browser.demo_page import Demo

PHONE = {"width": 390, "height": 800}


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone_shows_one_session_at_a_time(url: str, browser: Browser, scheme: str) -> None:
    context = await browser.new_context(
        viewport={"width": 390, "height": 800},
        color_scheme="dark" if scheme == "dark" else "light",
        has_touch=True,
        is_mobile=True,
    )
    try:
        demo = Demo(await context.new_page())
        await demo.open(url)
        await expect(demo.page.locator("html")).to_have_attribute("data-theme", scheme)
        first = demo.pane()
        await first.say("What does the heading say?")
        await first.ended()
        await first.say("Rename this page")
        await expect(first.get("approve")).to_be_visible()
        await demo.shoot(f"phone-{scheme}")
        second = await demo.another()
        await expect(first.node).to_be_hidden()
        await expect(second.node).to_be_visible()
        await second.say("Tell me a long story.")
        await expect(second.get("stop")).to_be_visible()
        await demo.shoot(f"phone-{scheme}-second")
        await demo.page.get_by_test_id("tab").first.click()
        await expect(first.node).to_be_visible()
        await demo.page.get_by_test_id("sessions").click()
        await expect(demo.page.locator("[aria-current]")).to_have_count(2)
        await demo.shoot(f"phone-{scheme}-sessions")
        wide = await demo.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= PHONE["width"]
        assert demo.complaints == []
    finally:
        await context.close()


async def test_the_theme_that_is_chosen_stays(url: str, demo: Demo) -> None:
    await demo.open(url)
    root = demo.page.locator("html")
    await expect(root).to_have_attribute("data-theme", "light")
    await demo.page.get_by_test_id("theme").click()
    await expect(root).to_have_attribute("data-theme", "dark")
    await demo.page.reload()
    await expect(root).to_have_attribute("data-theme", "dark")
    await demo.shoot("dark")


async def test_the_reader_is_not_pulled_to_the_end(url: str, demo: Demo) -> None:
    await demo.open(url)
    pane = await demo.pane().choose("Scripted")
    lines = "".join(f"line {number}\n\n" for number in range(150))
    await pane.script({"say": lines, "chunk": 20, "interval_ms": 20})
    log = pane.node.get_by_role("log")
    await expect(pane.get("transcript")).to_contain_text("line 60")
    await expect(pane.get("latest")).to_be_hidden()
    await log.hover()
    await demo.page.mouse.wheel(0, -600)
    await expect(pane.get("latest")).to_be_visible()
    place = await log.evaluate("log => log.scrollTop")
    await pane.ended()
    assert await log.evaluate("log => log.scrollTop") == place
    await pane.get("latest").click()
    rest = await log.evaluate("log => log.scrollHeight - log.scrollTop - log.clientHeight")
    assert rest < 5
    await expect(pane.get("latest")).to_be_hidden()


async def test_everything_can_be_reached_by_name(url: str, demo: Demo) -> None:
    await demo.open(url)
    nameless = await demo.page.evaluate(
        """() => [...document.querySelectorAll('button, input, textarea, select')]
          .filter((one) => one.checkVisibility())
          .filter((one) => !(one.ariaLabel || one.textContent.trim() || one.labels?.length))
          .map((one) => one.outerHTML)"""
    )
    assert nameless == []
    await expect(demo.page.get_by_role("radio", name="Demo")).to_be_checked()
    await expect(demo.page.get_by_role("textbox", name="Message")).to_be_focused()
