"""Two replicas and one Valkey: one session, whichever replica a tab is on."""

from tests.conftest import StartGateway
from tests.support.processes import GatewayProcess, Valkey
from tests.support.wire import Frame, Tab, new_id

HEADING: Frame = {
    "name": "read_heading",
    "description": "Reads a heading of the page",
    "parameters": {"type": "object", "properties": {"level": {"type": "integer"}}},
    "idempotent": True,
}
CALL: Frame = {"call_tool": {"name": "read_heading", "arguments": {"level": 1}}}
ENDLESS: Frame = {"say": "more " * 5_000, "chunk": 5, "interval_ms": 20}


async def replicas(
    gateway: StartGateway, valkey: Valkey, first: str, second: str
) -> tuple[GatewayProcess, GatewayProcess]:
    options = ("--broker", valkey.url, "--agents", "scripted,echo")
    return await gateway(*options, first), await gateway(*options, second)


def same_events(one: Tab, other: Tab, session: str) -> None:
    """Both saw every seq once, in order, and the very same events."""
    seen = [
        {event["seq"]: event for event in tab.assert_dense(session) if "from_seq" not in event}
        for tab in (one, other)
    ]
    common = seen[0].keys() & seen[1].keys()
    assert common
    assert {seq: seen[0][seq] for seq in common} == {seq: seen[1][seq] for seq in common}


async def test_a_tool_result_through_one_replica_reaches_the_run_on_the_other(
    gateway: StartGateway, valkey: Valkey
) -> None:
    a, b = await replicas(gateway, valkey, "--no-runs", "--runs")
    async with Tab(a.url) as tab, Tab(b.url) as watcher:
        session = await tab.create(tools=[HEADING])
        await tab.subscribe(session, detail="full", tools=["read_heading"])
        await watcher.subscribe(session, detail="full")
        ok = await tab.script(session, CALL, {"say": "It says {last}."})
        call = await tab.wait_for("tool_call.requested", session=session)
        assert call["client"] == tab.client
        await tab.answer(call, {"text": "Welcome"})
        for each in (tab, watcher):
            end = await each.run_end(session, ok["run"])
            assert end["type"] == "run.completed"
        assert tab.text(session) == 'It says {"text":"Welcome"}.'
        same_events(tab, watcher, session)


async def test_a_separate_worker_executes_what_a_replica_took(
    gateway: StartGateway, valkey: Valkey
) -> None:
    a, _ = await replicas(gateway, valkey, "--no-runs", "--no-runs")
    agent = "echo"
    async with Tab(a.url) as tab:
        session = await tab.create(agent=agent)
        await tab.subscribe(session, detail="full")
        ok = await tab.message(session, "Is anybody there?")
        await gateway("--broker", valkey.url, "--agents", agent, command="worker")
        await tab.run_end(session, ok["run"])
        assert tab.text(session) == "Is anybody there?"


async def test_an_interrupt_on_one_replica_stops_the_run_on_the_other(
    gateway: StartGateway, valkey: Valkey
) -> None:
    a, b = await replicas(gateway, valkey, "--runs", "--no-runs")
    async with Tab(a.url) as watcher, Tab(b.url) as tab:
        session = await tab.create()
        for each in (tab, watcher):
            await each.subscribe(session, detail="full")
        run = (await tab.script(session, ENDLESS))["run"]
        await tab.wait_for("message.delta", session=session)
        stop = await tab.must({"type": "run.interrupt", "session": session, "reason": "enough"})
        for each in (tab, watcher):
            end = await each.run_end(session, run)
            assert end["type"] == "run.cancelled"
            assert end["seq"] == stop["seq"]
        # whatever the worker still had in hand is refused: the next run begins right after
        after = await tab.script(session, {"say": "Done."})
        for each in (tab, watcher):
            await each.run_end(session, after["run"])
            later = [e for e in each.events(session) if e["seq"] > stop["seq"]]
            assert [e["type"] for e in later][:3] == [
                "message.added",
                "run.queued",
                "run.started",
            ]
            assert not [e for e in later if e.get("run") == run]
        same_events(tab, watcher, session)


async def test_a_reconnect_to_the_other_replica_gets_exactly_what_is_missing(
    gateway: StartGateway, valkey: Valkey
) -> None:
    a, b = await replicas(gateway, valkey, "--no-runs", "--runs")
    client = new_id("tab")
    async with Tab(b.url) as watcher:
        async with Tab(a.url, client=client) as tab:
            session = await tab.create()
            await tab.subscribe(session, detail="full")
            await watcher.subscribe(session, detail="full")
            words = {"say": "word " * 20, "chunk": 5, "interval_ms": 10}
            run = (await tab.script(session, words, {"approve": {"title": "On?"}}, words))["run"]
            await tab.wait_for("message.delta", session=session)
            await tab.cut()
            position = tab.position(session)
        asked = await watcher.wait_for("approval.requested", session=session)
        answer = {"approval": asked["approval"], "decision": "approve"}
        await watcher.must({"type": "approval.respond", "session": session, **answer})
        await watcher.run_end(session, run)
        async with Tab(b.url, client=client, sessions=[{**position, "detail": "full"}]) as again:
            subscribed = await again.wait_for("subscribed", session=session)
            assert subscribed["recovered"] is True
            assert subscribed["seq"] == position["after"]
            assert "state" not in subscribed
            end = await again.run_end(session, run)
            await again.wait_for("cursor", session=session, seq=end["seq"])
            events = again.assert_dense(session)
            assert events[0].get("from_seq", events[0]["seq"]) == position["after"] + 1
            said = tab.text(session) + "".join(
                e["delta"] for e in events if e["type"] == "message.delta"
            )
            assert said == "word " * 40 == watcher.text(session)


async def test_a_foreign_cursor_gets_the_state(gateway: StartGateway, valkey: Valkey) -> None:
    a, _ = await replicas(gateway, valkey, "--runs", "--no-runs")
    async with Tab(a.url) as tab:
        session = await tab.create()
        await tab.subscribe(session, detail="full")
        ok = await tab.script(session, {"say": "Hi"})
        await tab.run_end(session, ok["run"])
    async with Tab(a.url, sessions=[{"session": session, "after": 4, "epoch": "e_other"}]) as other:
        subscribed = await other.wait_for("subscribed")
        assert subscribed["recovered"] is False
        assert [m["role"] for m in subscribed["state"]["messages"]] == ["user", "assistant"]
        assert subscribed["state"]["seq"] == subscribed["seq"]


async def test_a_command_repeated_on_the_other_replica_has_one_effect(
    gateway: StartGateway, valkey: Valkey
) -> None:
    a, b = await replicas(gateway, valkey, "--runs", "--no-runs")
    client = new_id("tab")
    async with Tab(a.url, client=client) as tab:
        session = await tab.create()
        await tab.subscribe(session, detail="full")
        frame = {
            "type": "message.send",
            "id": new_id("k"),
            "session": session,
            "content": '[{"say":"once"}]',
        }
        first = await tab.must(frame)
        await tab.run_end(session, first["run"])
    async with Tab(b.url, client=client) as again:
        assert await again.must(frame) == first
        changed = await again.ask({**frame, "content": '[{"say":"twice"}]'})
        assert changed["code"] == "command.conflict"
        state = (await again.subscribe(session, detail="full"))["state"]
        assert len(state["messages"]) == 2
