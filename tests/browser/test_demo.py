"""What a person sees: sessions over one socket, tools of the page, approval, Stop, reload."""

from playwright.async_api import Browser, expect

from tests.browser.demo_page import GLOWED, Demo
from tests.support.waiting import eventually

TALK = {"say": "word " * 400, "chunk": 5, "interval_ms": 20}


async def test_two_sessions_stream_at_once_over_one_socket(url: str, demo: Demo) -> None:
    await demo.open(url)
    panes = [demo.pane(), await demo.another()]
    for pane in panes:
        await pane.say("Tell me a long story.")
    for pane in panes:
        await expect(pane.texts.last).to_contain_text("the lamp is lit")
    before = [await pane.answer() for pane in panes]

    async def grown() -> bool:
        now = [await pane.answer() for pane in panes]
        return all(len(new) > len(old) for new, old in zip(now, before, strict=True))

    await eventually(grown, what="both texts grow")
    for pane in panes:
        await expect(pane.node).to_have_attribute("data-live", "true")
    await demo.shoot("two-sessions")
    assert len(demo.sockets) == 1
    await expect(demo.page.get_by_test_id("badge")).to_contain_text("1 socket · 2 sessions")


async def test_a_tool_reads_the_page_and_its_result_is_in_the_answer(url: str, demo: Demo) -> None:
    await demo.open(url)
    pane = demo.pane()
    await pane.get("suggestion").filter(has_text="heading").click()
    await pane.ended()
    card = pane.get("tool")
    await expect(card).to_have_attribute("data-name", "read_heading")
    await expect(card).to_have_attribute("data-status", "done")
    assert "Agent Gateway" in await pane.answer()
    await expect(pane.get("thinking")).to_have_count(1)
    await expect(pane.get("thinking")).not_to_have_attribute("open", "")
    await card.locator("summary").click()
    await expect(card).to_contain_text('"text": "Agent Gateway"')
    await demo.shoot("tool")


async def test_a_tool_changes_the_page(url: str, demo: Demo) -> None:
    await demo.open(url)
    await demo.pane().say("Highlight the title, please.")
    await expect(demo.page.locator(".glowing").first).to_be_visible()
    await demo.pane().ended()


async def test_an_approval_is_asked_edited_and_granted(url: str, demo: Demo) -> None:
    await demo.open(url)
    pane = demo.pane()
    await pane.say("Rename this page, please.")
    await expect(pane.get("approval")).to_have_attribute("data-decision", "open")
    await expect(pane.get("tool")).to_have_attribute("data-status", "asking")
    await expect(pane.get("activity")).to_contain_text("Waiting for your decision")
    await demo.shoot("approval")
    await pane.get("arguments").fill('{"title": }')
    await pane.get("approve").click()
    await expect(pane.get("approval")).to_contain_text("not valid JSON")
    await pane.get("arguments").fill('{"title": "Night shift"}')
    await pane.get("approve").click()
    await expect(demo.page).to_have_title("Night shift")
    await expect(demo.page.get_by_test_id("heading")).to_have_text("Night shift")
    await pane.ended()
    await expect(pane.get("approval")).to_have_attribute("data-decision", "approve")


async def test_what_is_denied_does_not_happen(url: str, demo: Demo) -> None:
    await demo.open(url)
    pane = demo.pane()
    await pane.say("Rename this page, please.")
    await pane.get("deny").click()
    await pane.ended()
    await expect(pane.get("tool")).to_have_attribute("data-status", "denied")
    await expect(demo.page).to_have_title("Agent Gateway")


async def test_stop_stops_at_once(url: str, demo: Demo) -> None:
    await demo.open(url)
    pane = demo.pane()
    await pane.say("Tell me a long story.")
    await expect(pane.texts.last).to_be_visible()
    await pane.get("stop").click()
    await pane.ended("cancelled")
    stopped = await pane.answer()
    assert "it turned out to be enough" not in stopped  # the story's end, many seconds away
    # Another run on the same session: had anything of the stopped one come, it would be there.
    await pane.say("Thank you.")
    await pane.ended()
    assert await pane.texts.first.inner_text() == stopped
    stopped_message = pane.node.locator('[data-status="interrupted"]')
    await expect(stopped_message.get_by_test_id("note")).to_have_text("Stopped")


async def test_escape_stops_as_well(url: str, demo: Demo) -> None:
    await demo.open(url)
    pane = demo.pane()
    await (await pane.choose("Scripted")).script(TALK)
    await expect(pane.texts.last).to_be_visible()
    await pane.get("composer").press("Escape")
    await pane.ended("cancelled")


async def test_what_is_written_meanwhile_waits_its_turn(url: str, demo: Demo) -> None:
    await demo.open(url)
    pane = await demo.pane().choose("Scripted")
    await pane.script({"say": "One."}, {"approve": {"title": "Go on?"}}, {"say": "Two."})
    await expect(pane.get("approval")).to_have_attribute("data-decision", "open")
    await pane.script({"say": "Three."})
    await expect(pane.get("queued")).to_have_count(1)
    await pane.script({"say": "Never."})
    await expect(pane.get("queued")).to_have_count(2)
    await pane.get("queued").last.get_by_role("button").click()
    await expect(pane.get("queued")).to_have_count(1)
    await pane.get("approve").click()
    await expect(pane.get("transcript")).to_contain_text("Three.")
    await pane.ended()
    await expect(pane.get("queue")).to_be_hidden()
    assert (await pane.answer()).strip() == "Three."
    await expect(pane.get("transcript")).not_to_contain_text("Never.")


async def test_enter_sends_and_shift_enter_is_a_new_line(url: str, demo: Demo) -> None:
    await demo.open(url)
    pane = await demo.pane().choose("Echo")
    field = pane.get("composer")
    await field.press_sequentially("one")
    await field.press("Shift+Enter")
    await field.press_sequentially("two")
    await expect(field).to_have_value("one\ntwo")
    await field.press("Enter")
    await expect(field).to_have_value("")
    await pane.ended()
    message = pane.node.locator('[data-role="user"]')
    assert await message.inner_text() == "one\ntwo"


async def test_what_an_agent_writes_is_shown_and_never_run(url: str, demo: Demo) -> None:
    await demo.open(url)
    pane = await demo.pane().choose("Scripted")
    evil = (
        "<img src=x onerror=\"document.title='owned'\"> <script>document.title='owned'</script>\n\n"
        "[a](javascript:alert(1)) ![b](data:text/html,x) [c](https://example.com/c)\n\n"
        "# Title\n\n- one\n- two\n\n```\n<b>code</b>\n```\n\n**bold** and `code`"
    )
    await pane.script({"say": evil})
    await pane.ended()
    text = pane.texts.last
    assert "<img src=x" in await text.inner_text()
    await expect(text.locator("img, script, b")).to_have_count(0)
    links = await text.locator("a").evaluate_all("links => links.map(link => link.href)")
    assert links == ["https://example.com/c"]
    await expect(text.locator("h3")).to_have_text("Title")
    await expect(text.locator("li")).to_have_text(["one", "two"])
    await expect(text.locator("pre")).to_have_text("<b>code</b>")
    await expect(text.locator("strong")).to_have_text("bold")
    await expect(demo.page).to_have_title("Agent Gateway")


async def test_a_run_that_fails_says_why(url: str, demo: Demo) -> None:
    await demo.open(url)
    pane = await demo.pane().choose("Scripted")
    await pane.script({"say": "Now."}, {"fail": "The oven is cold."})
    await pane.ended("failed")
    await expect(pane.get("error")).to_contain_text("The oven is cold.")


async def test_progress_and_activity_are_shown(url: str, demo: Demo) -> None:
    await demo.open(url)
    pane = await demo.pane().choose("Scripted")
    await pane.script({"activity": "uploading"}, {"progress": [2, 4]}, {"sleep_ms": 600_000})
    await expect(pane.get("activity")).to_contain_text("Uploading")
    await expect(pane.get("progress").last).to_contain_text("2 of 4")
    await pane.get("stop").click()
    await pane.ended("cancelled")


async def test_a_thought_without_a_word_is_not_drawn(url: str, demo: Demo) -> None:
    await demo.open(url)
    pane = await demo.pane().choose("Scripted")
    await pane.script({"think": " "}, {"say": "Hello."}, {"log": "x"}, {"think": "\n"})
    await pane.ended()
    state = await demo.page.evaluate("[...window.gateway.sessions.values()][0].state")
    kinds = [part["kind"] for message in state["messages"] for part in message["parts"]]
    assert kinds.count("thinking") == 2
    await expect(pane.get("thinking")).to_have_count(0)
    await expect(pane.texts).to_have_text("Hello.")


async def test_a_reload_in_mid_answer_goes_on_where_it_was(url: str, demo: Demo) -> None:
    await demo.open(url)
    pane = await demo.pane().choose("Scripted")
    words = " ".join(f"w{number}" for number in range(150))
    await pane.script({"say": words, "chunk": 8, "interval_ms": 20})
    await expect(pane.texts.last).to_contain_text("w20")
    await demo.page.reload()
    await demo.is_("open")
    await pane.ended()
    assert await pane.answer() == words
    await expect(pane.get("message")).to_have_count(2)


async def test_closed_sessions_are_found_on_the_shelf(url: str, demo: Demo) -> None:
    await demo.open(url)
    pane = await demo.pane().choose("Echo")
    await pane.say("Remember me")
    await pane.ended()
    await pane.get("rename").click()
    await demo.page.keyboard.type("My echo")
    await demo.page.keyboard.press("Enter")
    await pane.get("close").click()
    await expect(demo.pane().get("greeting")).to_be_visible()
    item = demo.page.get_by_test_id("session-item").filter(has_text="My echo")
    await item.click()
    opened = demo.pane(1)
    await expect(opened.get("transcript")).to_contain_text("Remember me")
    await expect(opened.get("pane-title")).to_have_text("My echo")
    await demo.shoot("shelf")
    demo.page.once("dialog", lambda dialog: dialog.accept())
    await opened.get("delete").click()
    await expect(demo.page.get_by_test_id("pane")).to_have_count(1)
    await expect(item).to_have_count(0)


async def test_two_tabs_see_the_same_and_a_tool_runs_in_one(
    url: str, demo: Demo, browser: Browser
) -> None:
    await demo.open(url)
    pane = await demo.pane().choose("Scripted")
    await pane.script({"say": "Ready."})
    await pane.ended()
    context = await browser.new_context()
    try:
        other = Demo(await context.new_page())
        await other.open(url)
        session = await pane.node.get_attribute("data-session")
        await other.page.locator(f'.shelf-item[data-session="{session}"]').click()
        mirror = other.pane(1)
        await expect(mirror.get("transcript")).to_contain_text("Ready.")
        for one in (demo, other):
            await one.page.evaluate("document.title = 'before'")
        call = {"name": "highlight", "arguments": {"selector": "h1", "color": "gold"}}
        await mirror.script({"call_tool": call}, {"say": "Done: {last}"})
        for one in (pane, mirror):
            await expect(one.texts.last).to_have_text('Done: {"matched":1}')
            await one.ended()
        await expect(other.page.locator(GLOWED)).to_have_count(1)
        await expect(demo.page.locator(GLOWED)).to_have_count(0)
        assert other.complaints == []
    finally:
        await context.close()
