"""The main path over the real wire, event by event: order, ids and fields as promised."""

import asyncio
import json
from typing import Any

import pytest

from tests.conftest import StartGateway
from tests.support.wire import Frame, Tab

OPTIONS = ("--agents", "scripted,echo")


def tool(name: str, **fields: Any) -> Frame:
    return {"name": name, "parameters": {"type": "object", "properties": {}}, **fields}


def call(name: str, **arguments: Any) -> Frame:
    return {"call_tool": {"name": name, "arguments": arguments}}


def types(events: list[Frame]) -> list[str]:
    """Event types, runs of deltas as one."""
    names = [e["type"] for e in events]
    return [n for i, n in enumerate(names) if n != "message.delta" or names[i - 1 : i] != [n]]


async def test_four_frames_in_one_message(gateway: StartGateway) -> None:
    server = await gateway(*OPTIONS)
    async with Tab(server.url, hello=False) as tab:
        script = json.dumps([{"think": "Let me see."}, {"say": "Hello, world!"}])
        await tab.send(
            {"type": "hello", "client": "tab_A"},
            {"type": "session.create", "id": "k_1", "agent": "scripted", "session": "s_1"},
            {"type": "session.subscribe", "id": "k_2", "session": "s_1", "detail": "full"},
            {"type": "message.send", "id": "k_3", "session": "s_1", "content": script},
        )
        sent = await tab.wait_for("ok", id="k_3")
        end = await tab.run_end("s_1", sent["run"])
        welcome = tab.find("welcome")[0]
        assert welcome["client"] == "tab_A"
        assert welcome["principal"] == {"tenant": "local", "subject": "dev"}
        assert welcome["heartbeat_ms"] == 25_000
        assert tab.find("ok", id="k_1") == [{"type": "ok", "id": "k_1", "session": "s_1"}]
        subscribed = tab.find("subscribed")[0]
        assert subscribed["state"] == {
            "session": "s_1",
            "agent": "scripted",
            "epoch": subscribed["epoch"],
            "seq": 1,
            "metadata": {},
            "tools": [],
            "messages": [],
            "more": False,
            "run": None,
            "queue": [],
            "calls": {},
            "approvals": {},
            "remembered": [],
            "custom": {},
        }
        events = tab.assert_dense("s_1")
        assert types(events) == [
            "message.added",
            "run.queued",
            "run.started",
            "message.started",
            "message.delta",
            "message.completed",
            "run.completed",
        ]
        assert events[0]["seq"] == 2
        assert sent["seq"] == 3
        assert events[0]["by"] == "dev"
        assert events[1]["client"] == "tab_A"
        assert events[1]["trigger"] == sent["message"]
        assert tab.text("s_1", kind="thinking") == "Let me see."
        assert tab.text("s_1") == "Hello, world!"
        parts = {(e["part"], e["kind"]) for e in events if e["type"] == "message.delta"}
        assert parts == {(0, "thinking"), (1, "text")}
        assert set(end) == {"type", "session", "seq", "time", "run"}


async def test_a_client_tool_and_two_tabs(gateway: StartGateway) -> None:
    server = await gateway(*OPTIONS)
    async with Tab(server.url) as a, Tab(server.url) as b:
        session = await a.create(tools=[tool("read_heading", idempotent=True)])
        await a.subscribe(session, detail="full", tools=["read_heading"])
        await b.subscribe(session, detail="full", tools=["read_heading"])
        ok = await a.script(session, call("read_heading", level=1), {"say": "It says {last}."})
        offered = await b.wait_for("tool_call.requested", session=session)
        assert offered["client"] == a.client
        assert offered["lease_ms"] == 15_000
        about = {"session": session, "call": offered["call"]}
        assert (await b.ask({"type": "tool.claim", **about}))["code"] == "tool.held"
        assert (await a.must({"type": "tool.claim", **about}))["lease_ms"] == 15_000
        assert (await a.must({"type": "tool.claim", **about}))["lease_ms"] == 15_000
        assert (await b.ask({"type": "tool.claim", **about}))["code"] == "tool.held"
        progress = {"text": "scrolling to the top"}
        await a.must({"type": "tool.renew", **about, "progress": progress})
        refused = await b.ask({"type": "tool.result", **about, "output": "mine"})
        assert refused["code"] == "tool.held"
        done = await a.must({"type": "tool.result", **about, "output": {"text": "Welcome"}})
        late = await a.ask({"type": "tool.result", **about, "output": "again"})
        assert late["code"] == "tool.closed"
        for tab in (a, b):
            await tab.run_end(session, ok["run"])
            assert types(tab.assert_dense(session)) == [
                "message.added",
                "run.queued",
                "run.started",
                "message.started",
                "tool_call.started",
                "message.completed",
                "tool_call.requested",
                "run.waiting",
                "tool_call.claimed",
                "tool_call.claimed",
                "tool_call.progress",
                "tool_call.completed",
                "message.started",
                "message.delta",
                "message.completed",
                "run.completed",
            ]
        completed = b.find("tool_call.completed")[0]
        assert completed["seq"] == done["seq"]
        assert completed["output"] == {"text": "Welcome"}
        assert a.text(session) == 'It says {"text":"Welcome"}.'


async def test_a_tab_that_vanishes_and_a_run_that_parked(gateway: StartGateway) -> None:
    server = await gateway(*OPTIONS, "--park-after-ms", "200")
    async with Tab(server.url) as b:
        async with Tab(server.url) as a:
            session = await a.create(tools=[tool("read", idempotent=True, lease_ms=4_000)])
            await b.subscribe(session, detail="full", tools=["read"])
            ok = await a.script(session, call("read"), {"say": "{last}"})
            offered = await b.wait_for("tool_call.requested", session=session)
            about = {"session": session, "call": offered["call"]}
            await a.must({"type": "tool.claim", **about})
            await a.cut()
        released = await b.wait_for("tool_call.released", within=20, session=session)
        assert released["reason"] == "lease_expired"
        await b.answer(offered, "Hi")
        end = await b.run_end(session, ok["run"])
        assert end["type"] == "run.completed"
        assert types(b.assert_dense(session))[8:] == [
            "tool_call.claimed",
            "tool_call.released",
            "tool_call.claimed",
            "tool_call.completed",
            "run.resumed",
            "message.started",
            "message.delta",
            "message.completed",
            "run.completed",
        ]
        assert b.find("run.resumed")[0]["attempt"] == 2
        assert b.text(session) == '"Hi"'


@pytest.mark.parametrize("decision", ["approve", "deny"])
async def test_a_tool_that_needs_approval(gateway: StartGateway, decision: str) -> None:
    server = await gateway(*OPTIONS)
    async with Tab(server.url) as tab:
        session = await tab.create(tools=[tool("rename_page", approval=True)])
        await tab.subscribe(session, detail="full", tools=["rename_page"])
        ok = await tab.script(session, call("rename_page", title="Q1"), {"say": "{last}"})
        asked = await tab.wait_for("approval.requested", session=session)
        assert asked["title"] == "rename_page"
        assert asked["arguments"] == {"title": "Q1"}
        respond = {"type": "approval.respond", "session": session, "approval": asked["approval"]}
        if decision == "approve":
            edited = {"title": "Q1 report"}
            await tab.must({**respond, "decision": "approve", "arguments": edited})
            offered = await tab.wait_for("tool_call.requested", session=session)
            assert offered["arguments"] == edited
            await tab.answer(offered, "ok")
            follows = [
                "tool_call.requested",
                "run.waiting",
                "tool_call.claimed",
                "tool_call.completed",
            ]
            said = '"ok"'
        else:
            await tab.must({**respond, "decision": "deny", "reason": "Not now."})
            follows = ["tool_call.completed"]
            said = '{"error":{"code":"tool.denied","message":"Not now."}}'
        await tab.run_end(session, ok["run"])
        assert types(tab.assert_dense(session))[3:] == [
            "message.started",
            "tool_call.started",
            "message.completed",
            "approval.requested",
            "run.waiting",
            "approval.resolved",
            *follows,
            "message.started",
            "message.delta",
            "message.completed",
            "run.completed",
        ]
        assert tab.text(session) == said
        second = await tab.ask({**respond, "decision": "approve"})
        assert second["code"] == "approval.closed"


async def test_stop_closes_what_is_open(gateway: StartGateway) -> None:
    server = await gateway(*OPTIONS)
    async with Tab(server.url) as tab:
        session = await tab.create(tools=[tool("scan_page")])
        await tab.subscribe(session, detail="full", tools=["scan_page"])
        ok = await tab.script(session, call("scan_page"))
        offered = await tab.wait_for("tool_call.requested", session=session)
        about = {"session": session, "call": offered["call"]}
        await tab.must({"type": "tool.claim", **about})
        stop = {"type": "run.interrupt", "session": session, "reason": "user pressed Stop"}
        stopped = await tab.must(stop)
        await tab.run_end(session, ok["run"])
        closing = tab.assert_dense(session)[-2:]
        assert types(closing) == ["tool_call.completed", "run.cancelled"]
        assert closing[0]["error"]["code"] == "tool.cancelled"
        assert closing[1]["seq"] == stopped["seq"]
        assert closing[1]["reason"] == "user pressed Stop"
        late = await tab.ask({"type": "tool.result", **about, "output": ["Welcome"]})
        assert late["code"] == "tool.closed"
        assert (await tab.ask(stop))["code"] == "run.not_active"


async def test_busy(gateway: StartGateway) -> None:
    server = await gateway(*OPTIONS)

    def asking(text: str) -> list[Frame]:
        return [{"say": text}, {"approve": {"title": "On?"}}, {"say": " end."}]

    async def go_on(run: str) -> None:
        asked = await tab.wait_for("approval.requested", session=session, run=run)
        answer = {"approval": asked["approval"], "decision": "approve"}
        await tab.must({"type": "approval.respond", "session": session, **answer})

    async with Tab(server.url) as tab:
        session = await tab.create()
        await tab.subscribe(session, detail="full")
        one = await tab.script(session, *asking("One"))
        await tab.wait_for("message.delta", session=session)
        busy = await tab.ask(
            {"type": "message.send", "session": session, "content": json.dumps(asking("No"))}
        )
        assert busy["code"] == "session.busy"
        assert busy["retryable"] is False
        two = await tab.script(session, *asking("Two"), if_busy="enqueue")
        queued = await tab.wait_for("run.queued", session=session, run=two["run"])
        assert queued["content"] == [{"kind": "text", "text": json.dumps(asking("Two"))}]
        assert not tab.find("message.added", message=two["message"])
        await go_on(one["run"])
        await tab.run_end(session, one["run"])
        await tab.wait_for("run.started", run=two["run"])
        six = await tab.script(session, *asking("Six"), if_busy="steer")
        assert six["run"] == two["run"]
        await go_on(two["run"])
        await tab.run_end(session, two["run"])
        third = await tab.wait_for("run.queued", trigger=six["message"])
        await tab.wait_for("run.started", run=third["run"])
        ten = await tab.script(session, {"say": "Ten"}, if_busy="interrupt")
        assert (await tab.run_end(session, third["run"]))["type"] == "run.cancelled"
        await tab.run_end(session, ten["run"])
        # one append: stopped, added, queued
        events = tab.assert_dense(session)
        ending = next(i for i, e in enumerate(events) if e["type"] == "run.cancelled")
        assert [e["type"] for e in events[ending : ending + 3]] == [
            "run.cancelled",
            "message.added",
            "run.queued",
        ]
        assert events[ending + 2]["seq"] == ten["seq"]
        added = [e["message"] for e in events if e["type"] == "message.added"]
        assert added == [one["message"], two["message"], six["message"], ten["message"]]


async def test_many_sessions_stream_over_one_socket(gateway: StartGateway) -> None:
    server = await gateway(*OPTIONS)
    async with Tab(server.url) as tab:
        sessions = [await tab.create() for _ in range(30)]
        for session in sessions:
            await tab.subscribe(session, detail="full")
        step = {"say": "tick " * 20, "chunk": 5, "interval_ms": 5}
        async with asyncio.TaskGroup() as group:
            sent = [group.create_task(tab.script(session, step)) for session in sessions]
        for session, ok in zip(sessions, sent, strict=True):
            await tab.run_end(session, ok.result()["run"])
            tab.assert_dense(session)
            assert tab.text(session) == "tick " * 20


async def test_answer_hides_what_full_shows(gateway: StartGateway) -> None:
    server = await gateway(*OPTIONS)
    async with Tab(server.url) as full, Tab(server.url) as answer:
        session = await full.create(tools=[tool("mine"), tool("theirs")])
        await full.subscribe(session, detail="full", tools=["mine", "theirs"])
        granted = await answer.subscribe(session, detail="answer", tools=["theirs"])
        assert granted["detail"] == "answer"
        ok = await full.script(
            session,
            {"think": "secret-thought"},
            {"commentary": "secret-comment"},
            {"say": "Visible."},
            call("mine", key="secret-argument"),
            {"emit": {"name": "n", "value": "secret-value"}},
            {"log": "secret-log"},
            {"output": "shown-output"},
        )
        offered = await full.wait_for("tool_call.requested", session=session)
        await full.answer(offered, "secret-result")
        await answer.run_end(session, ok["run"])
        await full.run_end(session, ok["run"])
        fresh = await answer.subscribe(session, detail="answer")
        everything = json.dumps([*answer.events(session), fresh])
        # the script itself is the user's own message
        own = json.dumps(
            json.dumps(json.loads(answer.find("message.added")[0]["parts"][0]["text"]))
        )
        assert "secret" not in everything.replace(json.dumps(json.loads(own))[1:-1], "").replace(
            own[1:-1], ""
        )
        assert "secret-result" in json.dumps(full.events(session))
        assert answer.text(session) == "Visible."
        assert "shown-output" in everything
