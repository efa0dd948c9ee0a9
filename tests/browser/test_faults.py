"""Faults as a browser has them: reloads, tabs that vanish or double, networks that go and lose."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from playwright.async_api import BrowserContext, expect

from tests.browser.demo_page import GLOWED, Demo
from tests.browser.tab_page import LosesOnce, Tab, Tabs, Way
from tests.support.waiting import eventually

WORDS = " ".join(f"w{number}" for number in range(400))
TALK = {"say": WORDS, "chunk": 8, "interval_ms": 20}
HOLD: list[dict[str, Any]] = [
    {"call_tool": {"name": "work", "arguments": {"hold": True}}},
    {"say": "{last}"},
]
OFFLINE_SECONDS = 20
BACK_SECONDS = 8


@pytest.fixture
async def tabs(context: BrowserContext, url: str) -> AsyncIterator[Tabs]:
    """Tabs that complained of nothing, each on the same session."""
    complaints: list[str] = []
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    yield await Tabs(context, url).prepare()
    assert complaints == []


async def completions(watcher: Tab) -> int:
    return (await watcher.events()).count("tool_call.completed")


async def test_a_reload_amid_a_call_ends_an_idempotent_tool_in_the_reloaded_tab(
    tabs: Tabs,
) -> None:
    tab = await tabs.open()
    watcher = await tabs.open(tool=False)
    before = await tab.id()
    await tab.say(*HOLD)
    await tabs.hears("began", before)
    await tab.load()
    after = await tab.id()
    assert after != before
    await tabs.hears("began", after)
    await tab.release()
    await tab.ended()
    assert await tab.answer() == json.dumps({"tab": after}, separators=(",", ":"))
    assert tabs.heard == [("began", before), ("began", after), ("ended", after)]
    await watcher.ended()
    assert await completions(watcher) == 1


async def test_a_reload_amid_a_call_never_runs_another_tool_twice(tabs: Tabs) -> None:
    tab = await tabs.open(idempotent=False)
    watcher = await tabs.open(tool=False)
    await tab.say(*HOLD)
    await tabs.hears("began", await tab.id())
    await tab.load()
    await tab.ended()
    assert "tool.outcome_unknown" in await tab.answer()
    assert len(tabs.heard) == 1
    await watcher.ended()
    assert await completions(watcher) == 1


async def test_a_lost_socket_amid_a_call_ends_in_the_same_tab(tabs: Tabs) -> None:
    tab = await tabs.open(idempotent=False, lease_ms=5_000)
    watcher = await tabs.open(tool=False)
    here = await tab.id()
    await tab.say(*HOLD)
    await tabs.hears("began", here)
    await tabs.context.set_offline(True)
    await tab.release()
    await tabs.hears("ended", here)
    await tab.page.wait_for_function("tab.client.status === 'offline'")
    await tabs.context.set_offline(False)
    await tab.ended()
    assert here in await tab.answer()
    assert tabs.heard == [("began", here), ("ended", here)]
    await watcher.ended()
    assert await completions(watcher) == 1


async def test_reloads_amid_an_answer_lose_no_word_and_tell_none_twice(tabs: Tabs) -> None:
    tab = await tabs.open()
    watcher = await tabs.open(tool=False)
    await tab.say(TALK)
    for word in ("w40 ", "w90 ", "w140 "):
        await eventually(lambda word=word: said(tab, word), what=word)
        await tab.load()
        assert word in await tab.answer()
    await tab.ended()
    await watcher.ended()
    assert await tab.answer() == await watcher.answer() == WORDS
    assert (await watcher.events())[-1] == "run.completed"
    # where the machine was so slow that it was loaded after the end, the state has told it
    assert (await tab.events())[-1:] in (["run.completed"], [])


async def said(tab: Tab, word: str) -> bool:
    return word in await tab.answer()


async def test_the_tab_that_asked_executes_and_the_other_one_does_not(tabs: Tabs) -> None:
    first, second = await tabs.open(lease_ms=15_000), await tabs.open(lease_ms=15_000)
    asking = await second.id()
    await second.say({"call_tool": {"name": "work"}}, {"say": "{last}"})
    await second.ended()
    await first.ended()
    assert await first.answer() == await second.answer()
    assert tabs.heard == [("began", asking), ("ended", asking)]


async def test_a_call_that_no_tab_asked_for_is_executed_by_one_of_them(tabs: Tabs) -> None:
    several = [await tabs.open(lease_ms=15_000) for _ in range(3)]
    steps = [{"call_tool": {"name": "work"}}, {"say": "{last}"}]
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.post(
            f"{tabs.url}/v1/sessions/{tabs.session}/commands",
            json={"type": "run.start", "id": "k_http", "input": steps},
        )
    assert answer.is_success, answer.text
    for tab in several:
        await tab.ended()
    assert [what for what, _ in tabs.heard] == ["began", "ended"]
    assert tabs.began()[0] in await several[0].answer()
    assert await completions(several[0]) == 1


@pytest.mark.parametrize("idempotent", [True, False])
async def test_the_tab_that_executes_is_killed(tabs: Tabs, idempotent: bool) -> None:
    first = await tabs.open(idempotent=idempotent)
    second = await tabs.open(idempotent=idempotent)
    killed, other = await first.id(), await second.id()
    await first.say(*HOLD)
    await tabs.hears("began", killed)
    await first.page.close()
    if idempotent:
        await tabs.hears("began", other)
        await second.release()
    await second.ended()
    expected = other if idempotent else "tool.outcome_unknown"
    assert expected in await second.answer()
    assert tabs.began() == ([killed, other] if idempotent else [killed])
    events = await second.events()
    assert events.count("tool_call.released") == events.count("tool_call.completed") == 1


async def test_the_tab_that_asked_is_gone_before_it_claims(tabs: Tabs) -> None:
    first = await tabs.open(idempotent=False, lease_ms=3_000)
    second = await tabs.open(idempotent=False, lease_ms=3_000)
    gone, other = await first.id(), await second.id()
    work = {"call_tool": {"name": "work"}}
    await first.say({"approve": {"title": "Go on?"}}, work, {"say": "{last}"})
    await second.page.wait_for_function("tab.session.pendingApprovals.length === 1")
    await first.page.close()
    await second.page.evaluate("tab.session.approve(tab.session.pendingApprovals[0].id)")
    await second.ended()
    assert tabs.heard == [("began", other), ("ended", other)]
    assert gone not in await second.answer()


async def test_twenty_seconds_offline_amid_an_answer_and_before_a_call(tabs: Tabs) -> None:
    tab = await tabs.open(idempotent=False, lease_ms=15_000)
    here = await tab.id()
    await tab.say({**TALK, "interval_ms": 40}, *HOLD)
    await eventually(lambda: said(tab, "w40 "), what="an answer under way")
    await tabs.context.set_offline(True)
    await tab.say({"say": "Written while offline."}, if_busy="enqueue")
    await asyncio.sleep(OFFLINE_SECONDS)  # the length of the fault
    assert await tab.page.evaluate("tab.client.status") == "offline"
    assert tabs.heard == []
    await tabs.context.set_offline(False)
    await tabs.hears("began", here, within=BACK_SECONDS)
    await tab.release()
    await eventually(lambda: said(tab, "Written while offline."), what="the queued run")
    state = await tab.ended()
    assert (await tab.events()).count("tool_call.completed") == 1
    assert tabs.heard == [("began", here), ("ended", here)]
    assert [texts(message) for message in state["messages"] if message["role"] == "assistant"] == [
        [WORDS],
        [],
        [json.dumps({"tab": here}, separators=(",", ":"))],
        ["Written while offline."],
    ]


def texts(message: dict[str, Any]) -> list[str]:
    return [part["text"] for part in message["parts"] if part["kind"] == "text"]


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_message_or_its_answer_is_lost_and_counts_once(tabs: Tabs, way: Way) -> None:
    loss = LosesOnce("message.send", way)
    await tabs.context.route_web_socket("**/v1/ws", loss)
    tab = await tabs.open()
    await tab.say({"say": "Once."})
    await tab.page.evaluate("tab.sent")
    await tab.ended()
    first, second = loss.sent
    assert first == second
    events = await tab.events()
    assert events.count("message.added") == events.count("run.queued") == 1


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_result_or_its_answer_is_lost_and_counts_once(tabs: Tabs, way: Way) -> None:
    loss = LosesOnce("tool.result", way)
    await tabs.context.route_web_socket("**/v1/ws", loss)
    tab = await tabs.open(idempotent=False, lease_ms=15_000)
    here = await tab.id()
    await tab.say({"call_tool": {"name": "work"}}, {"say": "{last}"})
    await tab.ended()
    assert here in await tab.answer()
    await eventually(lambda: len(loss.sent) == 2, what="the result is sent again")
    assert loss.sent[0] == loss.sent[1]
    await tab.page.wait_for_function("tab.client.status === 'open'")
    assert tabs.heard == [("began", here), ("ended", here)]
    assert await completions(tab) == 1


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_claim_or_its_answer_is_lost_and_the_tool_runs_once(tabs: Tabs, way: Way) -> None:
    loss = LosesOnce("tool.claim", way)
    await tabs.context.route_web_socket("**/v1/ws", loss)
    tab = await tabs.open(idempotent=False, lease_ms=15_000)
    here = await tab.id()
    await tab.say({"call_tool": {"name": "work"}}, {"say": "{last}"})
    await tab.ended()
    assert here in await tab.answer()
    assert tabs.heard == [("began", here), ("ended", here)]


async def test_the_duplicate_of_a_tab_is_a_tab_of_its_own(url: str, demo: Demo) -> None:
    await demo.open(url)
    pane = await demo.pane().choose("Scripted")
    await pane.script({"say": "Ready."})
    await pane.ended()
    # As "Duplicate tab" does: another load with a copy of the sessionStorage.
    async with demo.page.expect_popup() as opening:
        await demo.page.evaluate("void window.open(location.href)")
    copy = Demo(await opening.value)
    await copy.is_("open")
    mirror = copy.pane()
    await expect(mirror.get("transcript")).to_contain_text("Ready.")
    ids = [await one.page.evaluate("window.gateway.id") for one in (demo, copy)]
    assert ids[0] != ids[1]
    call = {"name": "highlight", "arguments": {"selector": "h1"}}
    await mirror.script({"call_tool": call}, {"say": "Done: {last}"})
    for one in (pane, mirror):
        await expect(one.texts.last).to_have_text('Done: {"matched":1}')
        await one.ended()
    await expect(copy.page.locator(GLOWED)).to_have_count(1)
    await expect(demo.page.locator(GLOWED)).to_have_count(0)
    for one in (demo, copy):
        await one.is_("open")
        # Nobody was sent away as the other's successor.
        assert await one.page.evaluate("window.gateway.connection.code") == 0
    assert copy.complaints == []
