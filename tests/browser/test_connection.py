"""The connection of the page: what the badge says, and that nothing is lost or told twice."""

from playwright.async_api import WebSocketRoute, expect

from tests.browser.demo_page import Demo
from tests.conftest import StartGateway
from tests.faults.proxy import fault_proxy
from tests.support.processes import Valkey

WORDS = " ".join(f"w{number}" for number in range(400))


async def test_a_gateway_that_is_killed_and_comes_back_leaves_no_gap(
    gateway: StartGateway, demo: Demo, valkey: Valkey
) -> None:
    await gateway("--broker", valkey.url, "--agents", "scripted", command="worker")
    process = await gateway("--broker", valkey.url, "--no-runs", command="demo")
    await demo.open(process.http_url)
    pane = await demo.pane().choose("Scripted")
    await pane.script({"say": WORDS, "chunk": 8, "interval_ms": 20})
    await expect(pane.texts.last).to_contain_text("w30")
    await process.kill()
    await demo.is_("offline")
    await expect(demo.page.get_by_test_id("badge")).to_contain_text("again in")
    await demo.shoot("offline")
    await pane.script({"say": "Written while offline."})
    await process.start()
    await demo.is_("open")
    await expect(pane.get("transcript")).to_contain_text("Written while offline.")
    await pane.ended()
    assert await pane.texts.all_inner_texts() == [WORDS, "Written while offline."]


async def test_a_network_that_is_gone_for_a_while_leaves_no_gap(
    gateway: StartGateway, demo: Demo
) -> None:
    await demo.open((await gateway(command="demo")).http_url)
    pane = await demo.pane().choose("Scripted")
    await pane.script({"say": WORDS, "chunk": 8, "interval_ms": 20})
    await expect(pane.texts.last).to_contain_text("w30")
    await demo.page.context.set_offline(True)
    await demo.is_("offline")
    await demo.page.context.set_offline(False)
    await demo.is_("open")
    await pane.ended()
    assert await pane.answer() == WORDS


async def test_a_gateway_that_drains_is_left_without_a_word_lost(
    gateway: StartGateway, demo: Demo, valkey: Valkey
) -> None:
    await gateway("--broker", valkey.url, "--agents", "scripted", command="worker")
    process = await gateway("--broker", valkey.url, "--no-runs", command="demo")
    await demo.open(process.http_url)
    pane = await demo.pane().choose("Scripted")
    await pane.script({"say": WORDS, "chunk": 8, "interval_ms": 20})
    await expect(pane.texts.last).to_contain_text("w30")
    assert await process.terminate() == 0
    await process.start()
    await demo.is_("open")
    await pane.ended()
    assert await pane.answer() == WORDS


async def test_a_gateway_that_drains_is_left_for_another_one_without_a_break(
    gateway: StartGateway, demo: Demo, valkey: Valkey
) -> None:
    await gateway("--broker", valkey.url, "--agents", "scripted", command="worker")
    first = await gateway("--broker", valkey.url, "--no-runs", command="demo")
    second = await gateway("--broker", valkey.url, "--no-runs", command="demo")

    def kept(route: WebSocketRoute) -> None:
        """The page alone closes it: how long that takes on a busy machine is no matter."""
        route.connect_to_server().on_close(lambda _code, _reason: None)

    await demo.page.route_web_socket("**/v1/ws", kept)
    async with fault_proxy(first.port) as balancer:
        await demo.open(f"http://127.0.0.1:{balancer.port}")
        pane = await demo.pane().choose("Scripted")
        await pane.script({"say": WORDS, "chunk": 8, "interval_ms": 20})
        await expect(pane.texts.last).to_contain_text("w30")
        await demo.page.evaluate(
            "() => { window.changes = []; gateway.onStatus(({ status }) => changes.push(status)) }"
        )
        balancer.target = second.port
        assert await first.terminate() == 0
        await pane.script({"say": "Another one."})
        await expect(pane.texts.last).to_have_text("Another one.")
        assert await pane.texts.all_inner_texts() == [WORDS, "Another one."]
        # The new socket was welcomed before the old one was closed.
        assert await demo.page.evaluate("window.changes") == []
        assert len(demo.sockets) == 2


async def test_a_client_that_is_closed_stays_closed_until_it_is_asked(
    gateway: StartGateway, demo: Demo
) -> None:
    await demo.open((await gateway(command="demo")).http_url)
    await demo.page.evaluate("window.gateway.close()")
    await demo.is_("closed")
    await demo.page.get_by_test_id("badge").click()
    await demo.is_("open")
