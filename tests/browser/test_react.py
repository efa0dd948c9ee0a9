"""The React component and hooks, in Chromium, against a real gateway."""

import json
import re
from pathlib import Path

from playwright.async_api import Page, expect

from tests.browser.react_lab import EXAMPLE, Chat, Lab, VitePreview, build
from tests.conftest import StartGateway
from tests.support.processes import Valkey
from tests.support.waiting import eventually

WORDS = " ".join(f"w{number}" for number in range(400))
TALK = {"say": WORDS, "chunk": 8, "interval_ms": 20}
ENDLESS = {"say": "more " * 5_000, "chunk": 5, "interval_ms": 20}
ASK = {"call_tool": {"name": "add", "arguments": {"text": "one"}}}


async def test_the_example_renames_its_page_when_it_is_allowed_to(
    url: str, page: Page, tmp_path: Path
) -> None:
    dist = await build(EXAMPLE, tmp_path / "example")
    preview = VitePreview(dist.parent, url)
    await preview.start()
    try:
        await page.goto(preview.url)
        chat = Chat(page.get_by_role("region", name="Assistant"))
        await chat.button("Rename this page to “Tea house”").click()
        await chat.button("Allow").click()
        await expect(page.locator("h1")).to_have_text("Tea house")
        await chat.answered("Done. This page is called Tea house now.")
    finally:
        await preview.kill()


async def test_the_example_is_short() -> None:
    lines = (EXAMPLE / "src" / "main.jsx").read_text().splitlines()
    assert len(lines) <= 30


async def test_two_chats_share_one_socket(url: str, lab: Lab) -> None:
    await lab.open(url, "two")
    left, right = lab.chat("Left"), lab.chat("Right")
    await left.script(TALK)
    await right.say("Hello there")
    await right.answered("Hello there")
    await expect(left.texts).to_contain_text("w20 ")
    await left.answered(WORDS)
    await expect(right.texts).to_have_count(1)
    assert len(lab.sockets) == 1


async def test_a_tool_is_allowed_with_other_arguments(url: str, lab: Lab) -> None:
    await lab.open(url, "solo")
    chat = lab.chat()
    await chat.script(ASK, {"say": "{last}"})
    question = chat.node.get_by_role("group", name="Approval: add")
    await question.get_by_role("textbox", name="Arguments").fill('{"text": oops')
    await chat.button("Allow").click()
    await expect(question.get_by_role("alert")).to_have_text("The arguments are not valid JSON.")
    await question.get_by_role("textbox", name="Arguments").fill('{"text": "two"}')
    await chat.button("Allow").click()
    await chat.answered('{"text":"two","count":1}')
    await expect(lab.page.locator("h1")).to_have_text("Count: 1")
    await expect(chat.node.locator(".agw-tool")).to_have_attribute("data-status", "done")
    await expect(chat.node.locator(".agw-decided")).to_contain_text("Allowed by dev")


async def test_a_tool_is_denied_and_another_is_always_allowed(url: str, lab: Lab) -> None:
    await lab.open(url, "solo")
    chat = lab.chat()
    await chat.script(ASK, ASK, ASK, {"say": "{last}"})
    await chat.button("Deny").click()
    await expect(chat.node.locator(".agw-tool").first).to_have_attribute("data-status", "denied")
    await chat.button("Always allow").click()
    await chat.answered('{"text":"one","count":2}')
    await expect(lab.page.locator("h1")).to_have_text("Count: 2")
    await expect(chat.button("Allow")).to_have_count(0)


async def test_a_reload_amid_an_answer_loses_nothing(url: str, lab: Lab) -> None:
    await lab.open(url, "solo")
    chat = lab.chat()
    await chat.script(TALK)
    await expect(chat.texts).to_contain_text("w40 ")
    await lab.page.reload()
    await expect(chat.texts).to_contain_text("w40 ")
    await chat.answered(WORDS)
    await expect(chat.texts).to_have_count(1)


async def test_a_replica_is_killed_amid_an_answer_and_comes_back(
    gateway: StartGateway, valkey: Valkey, lab: Lab
) -> None:
    options = ("--broker", valkey.url, "--agents", "scripted")
    await gateway(*options, command="worker")
    replica = await gateway("--broker", valkey.url, "--no-runs")
    await lab.open(replica.http_url, "solo")
    chat = lab.chat()
    await chat.script(TALK)
    await expect(chat.texts).to_contain_text("w40 ")
    await replica.kill()
    await expect(chat.node.get_by_text("No connection. Nothing is lost.")).to_be_visible()
    await lab.shoot("offline")
    await replica.start()
    await chat.answered(WORDS)
    await expect(chat.node.locator(".agw-banner")).to_have_count(0)


async def test_escape_stops_and_another_answer_can_be_had(url: str, lab: Lab) -> None:
    await lab.open(url, "solo")
    chat = lab.chat()
    await chat.script(ENDLESS)
    await expect(chat.texts).to_contain_text("more more")
    await chat.field.press("Escape")
    await chat.idle()
    await expect(chat.node.get_by_text("Stopped")).to_be_visible()
    assert await lab.known("turn") == "cancelled"
    await chat.button("Another answer").click()
    await expect(chat.button("Stop")).to_be_visible()
    await expect(chat.texts).to_have_count(1)
    await chat.button("Stop").click()
    await chat.idle()


async def test_a_message_is_edited(url: str, lab: Lab) -> None:
    await lab.open(url, "solo", "&agent=echo")
    chat = lab.chat()
    await chat.say("first")
    await chat.answered("first")
    await chat.say("second")
    await chat.answered("second")
    await chat.node.get_by_text("second").first.hover()
    await chat.button("Edit").click()
    editor = chat.node.get_by_role("textbox", name="Edit message")
    await editor.fill("third")
    await chat.node.locator(".agw-editor").get_by_role("button", name="Send").click()
    await chat.answered("third")
    await expect(chat.texts).to_have_count(2)
    await expect(chat.node.get_by_text("second")).to_have_count(0)


async def test_a_failed_run_says_why_and_is_tried_again(url: str, lab: Lab) -> None:
    await lab.open(url, "solo")
    chat = lab.chat()
    await chat.script({"say": "Almost"}, {"fail": "On purpose."})
    alert = chat.node.get_by_role("alert")
    await expect(alert).to_contain_text("On purpose.")
    await chat.button("Try again").click()
    await expect(chat.node).to_have_attribute("data-status", "error")
    await chat.button("Dismiss").click()
    await expect(alert).to_have_count(0)
    await chat.script({"say": "Well."})
    await chat.answered("Well.")


async def test_an_agent_that_there_is_not_is_told_at_once(url: str, lab: Lab) -> None:
    """N11: it was "Starting" for ever."""
    await lab.open(url, "solo", "&agent=nobody")
    chat = lab.chat()
    await chat.say("Hello?")
    await expect(chat.node.locator(".agw-error")).to_contain_text('There is no agent "nobody".')
    await expect(chat.node.locator(".agw-message")).to_contain_text("Not sent")
    await expect(chat.node.get_by_text("Starting")).to_have_count(0)


async def test_a_refused_message_says_why_and_can_be_removed(url: str, lab: Lab) -> None:
    await lab.open(url, "solo", "&agent=no%20such%20name")
    chat = lab.chat()
    await chat.say("Hello?")
    await expect(chat.node.locator(".agw-message").get_by_role("alert")).to_contain_text("Not sent")
    await expect(chat.node.locator(".agw-error")).to_contain_text("Expected")
    await chat.button("Remove").click()
    await expect(chat.node.locator(".agw-message")).to_have_count(0)
    await chat.button("Dismiss").click()
    await expect(chat.node.locator(".agw-error")).to_have_count(0)


async def test_a_new_chat_begins_anew(url: str, lab: Lab) -> None:
    await lab.open(url, "solo", "&agent=echo")
    chat = lab.chat()
    await chat.button("Say hello").click()
    await chat.answered("Say hello")
    await chat.button("New chat").click()
    await expect(chat.texts).to_have_count(0)
    await chat.say("again")
    await chat.answered("again")
    await expect(chat.texts).to_have_count(1)


async def test_files_go_with_a_message(url: str, lab: Lab) -> None:
    await lab.open(url, "solo", "&agent=echo")
    chat = lab.chat()
    pixel = Path(__file__).parents[1] / "browser" / "react_pages" / "index.html"
    async with lab.page.expect_file_chooser() as choosing:
        await chat.button("Attach files").click()
    await (await choosing.value).set_files(pixel)
    await expect(chat.node.get_by_role("list", name="Files")).to_contain_text("index.html")
    await chat.say("Look at this")
    await chat.answered("Look at this")
    mine = chat.node.locator('[data-role="user"]')
    await expect(mine.get_by_role("link", name="index.html")).to_have_attribute(
        "href", re.compile("^data:text/html")
    )


async def test_markdown_of_an_agent_can_do_nothing(url: str, lab: Lab) -> None:
    await lab.open(url, "solo")
    chat = lab.chat()
    evil = (
        "<img src=x onerror=window.bad=1> <script>window.bad=1</script>\n\n"
        "[click](javascript:window.bad=1) ![pixel](https://example.com/p.png)\n\n"
        "**bold** and `code`"
    )
    await chat.script({"say": evil, "chunk": 3})
    await chat.idle()
    await expect(chat.texts.locator("strong")).to_have_text("bold")
    await expect(chat.texts.locator("img, script, iframe")).to_have_count(0)
    await expect(chat.texts.get_by_role("link")).to_have_text(["pixel"])
    await expect(chat.texts).to_contain_text("[click](javascript:window.bad=1)")
    assert await lab.page.evaluate("window.bad") is None


async def test_what_is_complete_is_read_aloud_once(url: str, lab: Lab) -> None:
    await lab.open(url, "solo")
    await lab.page.evaluate(
        """() => {
          const heard = (window.lab.heard = []);
          const region = document.querySelector('[aria-live="polite"]');
          new MutationObserver(() => heard.push(region.textContent))
            .observe(region, { childList: true, characterData: true, subtree: true });
        }"""
    )
    chat = lab.chat()
    await chat.script({"say": "Some **words** come slowly.", "chunk": 2, "interval_ms": 30}, ASK)
    await expect(chat.button("Allow")).to_be_visible()
    last = "heard.at(-1) === 'The agent asks for approval: add'"
    await eventually(lambda: lab.known(last), what="it is announced")
    assert await lab.known("heard.length") <= 2


async def test_only_what_changes_is_drawn_again(url: str, lab: Lab) -> None:
    await lab.open(url, "solo")
    chat = lab.chat()
    await chat.script({"say": "The first answer."})
    await chat.answered("The first answer.")
    mark = "node => { node.marked = new MutationObserver(all => window.lab.touched = all.length); "
    mark += "node.marked.observe(node, {subtree: true, childList: true, characterData: true}) }"
    await chat.texts.first.evaluate(mark)
    await chat.script({"say": WORDS, "chunk": 8, "interval_ms": 2})
    await chat.answered(WORDS)
    assert await lab.known("touched") is None


async def test_the_reader_is_not_pulled_to_the_end(url: str, lab: Lab) -> None:
    await lab.open(url, "solo")
    chat = lab.chat()
    lines = "".join(f"line {number}\n\n" for number in range(150))
    await chat.script({"say": lines, "chunk": 20, "interval_ms": 20})
    await expect(chat.log).to_contain_text("line 60")
    await expect(chat.button("To the newest")).to_have_count(0)
    await chat.log.hover()
    await lab.page.mouse.wheel(0, -600)
    await expect(chat.button("To the newest")).to_be_visible()
    place = await chat.log.evaluate("log => log.scrollTop")
    await chat.idle()
    assert await chat.log.evaluate("log => log.scrollTop") == place
    await chat.button("To the newest").click()
    rest = await chat.log.evaluate("log => log.scrollHeight - log.scrollTop - log.clientHeight")
    assert rest < 5


async def test_the_hooks_tell_and_do_everything(url: str, lab: Lab) -> None:
    await lab.open(url, "hooks")
    status = lab.page.get_by_test_id("status")
    await expect(status).to_have_text("idle")
    script = json.dumps([{"call_tool": {"name": "manual"}}, {"say": "{last}"}])
    await lab.page.evaluate("text => window.lab.actions.sendMessage(text)", script)
    await expect(status).to_have_text("streaming")
    await lab.page.wait_for_function("window.lab.chat.pendingToolCalls.length === 1")
    await lab.page.evaluate(
        "window.lab.actions.submitToolResult(window.lab.chat.pendingToolCalls[0].id, {by: 'hand'})"
    )
    await expect(lab.page.get_by_test_id("assistant").last).to_have_text('{"by":"hand"}')
    await expect(status).to_have_text("idle")
    assert await lab.known("created") == await lab.known("chat.chatId")
    # Actions never cause a draw: twice is what StrictMode makes of once.
    assert await lab.known("buttons") <= 4
    fail = json.dumps([{"fail": "On purpose."}])
    await lab.page.evaluate("text => window.lab.actions.sendMessage(text)", fail)
    await expect(lab.page.get_by_test_id("error")).to_contain_text("On purpose.")
    await expect(status).to_have_text("error")
    assert "On purpose." in await lab.known("error")
    await lab.page.evaluate("window.lab.actions.clearError()")
    await expect(status).to_have_text("idle")
    assert {"connecting", "idle", "streaming", "error"} == set(await lab.known("statuses"))


async def test_tools_that_come_later_are_offered(url: str, lab: Lab) -> None:
    await lab.open(url, "tools")
    chat = lab.chat("Tools")
    await chat.script({"call_tool": {"name": "first"}}, {"say": "{last}"})
    await chat.answered('"first"')
    await lab.page.get_by_role("button", name="Offer more").click()
    await chat.script(
        {"call_tools": [{"name": "first"}, {"name": "second"}]},
        {"say": "{last}"},
    )
    await chat.answered('["first, later","second"]')


async def test_a_shadow_root_has_the_looks_too(url: str, lab: Lab) -> None:
    await lab.open(url, "shadow")
    chat = lab.chat("Within")
    await chat.say("Hello")
    await chat.answered("Hello")
    color = await chat.node.evaluate("node => getComputedStyle(node).backgroundColor")
    assert color == "rgb(20, 23, 30)"


async def test_runs_without_a_conversation(url: str, lab: Lab) -> None:
    await lab.open(url, "runs")
    first, second = lab.page.get_by_test_id("first"), lab.page.get_by_test_id("second")
    await expect(first).to_have_text('completed {"whole":true}')
    told = await lab.known("runs.first")
    assert told["logs"] == ["one", "two"]
    assert told["progress"] == {"current": 1, "total": 2}
    assert told["text"] == "Said."
    await expect(second).to_have_text("idle ")
    await lab.page.get_by_role("button", name="Run").click()
    await expect(second).to_contain_text("running word word")
    await lab.page.get_by_role("button", name="Cancel").click()
    await expect(second).to_contain_text("cancelled")
    assert len(lab.sockets) == 1
