"""Faults, Client misbehaviour: repeats, races, lies about cursors, floods of subscriptions."""

import asyncio
import itertools
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.faults.clients import Client
from tests.faults.conftest import Replica, Replicate
from tests.faults.producer import Story, script
from tests.faults.trial import Trial, trial
from tests.support.http import http_client
from tests.support.processes import Valkey
from tests.support.waiting import eventually
from tests.support.wire import Frame, Tab, new_id

Two = tuple[Replica, Replica]
READ: Frame = {
    "name": "read_heading",
    "description": "Reads a heading",
    "parameters": {"type": "object"},
}
CALL: Frame = {"call_tool": {"name": "read_heading", "arguments": {}}}
APPROVE: Frame = {"approve": {"title": "Really?"}}
LINES: Frame = {"repeat": 20, "steps": [{"log": "line"}]}
ENDLESS = Story(20_000, interval_ms=10)
OPEN_FILES = Path("/proc/self/fd")


def codes(answers: list[Frame]) -> list[str]:
    return [answer.get("code", "ok") for answer in answers]


async def both(two: Two, t: Trial, **fields: Any) -> tuple[Client, Client, str]:
    """A client on each replica, both in one session."""
    one, other = await t.client(two[0].url), await t.client(two[1].url)
    session = await one.create(**fields)
    tools = {"tools": [tool["name"] for tool in fields["tools"]]} if "tools" in fields else {}
    await other.follow(session, **tools)
    return one, other, session


# --- beginnings


async def test_C1_never_says_hello(replicate: Replicate) -> None:
    replica = await replicate(hello_ms=200)
    async with Tab(replica.url, hello=False) as tab:
        assert await tab.wait_closed() == 4454


async def test_C2_commands_before_hello_and_a_second_hello(replica: Replica) -> None:
    async with trial(replica.gateway.broker) as t, Tab(replica.url, hello=False) as tab:
        await tab.send({"type": "session.list", "id": "k_early"})
        early = await tab.wait_for("error")
        assert (early["code"], early["id"]) == ("frame.malformed", "k_early")
        await tab.send({"type": "hello", "client": tab.client})
        await tab.wait_for("welcome")
        await tab.send({"type": "hello", "client": tab.client})
        assert (await tab.wait_for("error", since=2))["code"] == "frame.malformed"
        client = await t.client(replica.url)
        session = await client.create()
        await tab.subscribe(session)
        await tab.run_end(session, (await client.send(session, script(Story(2, 0))))["run"])


# --- cursors


async def test_C6_never_acknowledges(replicate: Replicate) -> None:
    """Nothing is pushed beyond its window; in the end it is closed, and resumes where it was."""
    replica = await replicate(ack_timeout_ms=300)
    steps: Frame = {"repeat": 200, "steps": [{"log": "line"}]}
    async with trial(replica.gateway.broker) as t:
        client = await t.client(replica.url)
        silent = await t.client(replica.url, window=16)
        silent.acknowledges = False
        session = await client.create()
        await silent.follow(session)
        run = (await client.send(session, script(steps)))["run"]
        await client.run_end(run)
        await silent.back(1)
        assert silent.close_codes[0] == 4458
        assert len(silent.events) <= 32
        silent.acknowledges = True
        await silent.catch_up()
        await silent.run_end(run)


async def test_C7_acks_of_what_was_never_sent(replica: Replica) -> None:
    async with trial(replica.gateway.broker) as t, Tab(replica.url) as tab:
        client = await t.client(replica.url, window=64)
        session = await client.create()
        await tab.subscribe(session, window=64)
        run = (await client.send(session, script(Story(20, 0))))["run"]
        end = await tab.run_end(session, run)
        ack = {"type": "ack", "session": session}
        await tab.send({**ack, "seq": end["seq"]})
        for seq in (end["seq"] + 1, 2**53 - 1):
            since = tab.mark()
            await tab.send({**ack, "seq": seq})
            assert (await tab.wait_for("error", since=since))["code"] == "cursor.invalid"
        since = tab.mark()
        await tab.send({**ack, "session": "s_of_nobody", "seq": 1})
        assert (await tab.wait_for("error", since=since))["code"] == "cursor.invalid"
        # it harmed nobody, itself included
        run = (await client.send(session, script(Story(100, 0))))["run"]
        await tab.run_end(session, run)
        await client.run_end(run)
        tab.assert_dense(session)


async def test_C7_an_ack_that_goes_backwards(replica: Replica) -> None:
    async with Tab(replica.url) as tab:
        session = await tab.create()
        await tab.subscribe(session, window=64)
        ok = await tab.message(session, script(Story(20, 0)))
        end = await tab.run_end(session, ok["run"])
        ack = {"type": "ack", "session": session}
        await tab.send({**ack, "seq": end["seq"]})
        for seq in (end["seq"] - 1, 0):
            since = tab.mark()
            await tab.send({**ack, "seq": seq})
            assert (await tab.wait_for("error", since=since))["code"] == "cursor.invalid"


async def test_C8_resumes_that_cannot_be(two: Two) -> None:
    async with trial(two[0].gateway.broker) as t:
        client = await t.client(two[0].url)
        session = await client.create()
        end = await client.run_end((await client.send(session, script(Story(9, 0))))["run"])
        epoch, _ = client.cursor(session)
        for replica in two:
            wanted: Frame = {"type": "session.subscribe", "session": session}
            async with Tab(replica.url) as tab:
                for cursor in (
                    {"after": end["seq"] + 1, "epoch": epoch},
                    {"after": 2**53 - 1, "epoch": epoch},
                    {"after": 3, "epoch": "e_other"},
                    {"after": 3},
                ):
                    answer = await tab.must({**wanted, **cursor})
                    assert (answer["recovered"], answer["seq"]) == (False, end["seq"]), cursor
                    assert answer["state"]["seq"] == end["seq"]
                for after in (-1, 2**53, 2**63, 2**64, 1.5, "3", True):
                    answer = await tab.ask({**wanted, "after": after, "epoch": epoch})
                    assert answer.get("code") == "frame.malformed", after
                answer = await tab.must({**wanted, "after": 0})
                assert (answer["recovered"], answer["seq"]) == (True, 0)
                await tab.wait_for("cursor", seq=end["seq"])


# --- one command, many times


async def over_http(http: httpx2.AsyncClient, url: str, body: Frame) -> Frame:
    """The answer to a command of the same client by another way: only one socket may be its."""
    async with asyncio.timeout(40):
        while True:
            answer = (await http.post(url, json=body)).json()
            if not answer.get("retryable"):
                return answer
            await asyncio.sleep(0.05)


async def test_C9_one_id_a_hundred_times_by_two_ways(two: Two) -> None:
    async with trial(two[0].gateway.broker) as t:
        name = new_id("tab")
        one = await t.client(two[0].url, client=name)
        session = await one.create()
        frame = {
            "type": "message.send",
            "id": new_id("k"),
            "session": session,
            "content": script(Story(5, 0)),
        }
        route = f"/v1/sessions/{session}/commands"
        async with (  # each request has a socket of its own, and all have the same certificates
            http_client(limits=httpx2.Limits(max_connections=None)) as http,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(one.fire(*[frame] * 50))
            body = {**frame, "client": name}
            asked = [
                group.create_task(over_http(http, f"http://{replica.place}{route}", body))
                for replica in two
                for _ in range(25)
            ]
        answers = [*await one.answers(frame["id"], 50), *(each.result() for each in asked)]
        assert len(answers) == 100
        answers = [answer for answer in answers if not answer.get("retryable")]
        told = {(a["message"], a["run"], a["seq"]) for a in answers}
        assert len(told) == 1
        await one.run_end(answers[0]["run"])
        mark = one.connections
        one.urls = [two[1].url]
        await one.cut()
        await one.back(mark)
        assert await one.command(frame) == answers[0]
        assert len(one.seen("message.added")) == 1


@pytest.mark.parametrize("drops", range(3))
async def test_C9_drops_between_a_command_and_its_answer(replica: Replica, drops: int) -> None:
    async with trial(replica.gateway.broker) as t:
        client = await t.client(replica.url)
        session = await client.create()
        for at in range(5):
            frame = {
                "type": "message.send",
                "id": new_id("k"),
                "session": session,
                "content": script(Story(3, 0, name="abcde"[at])),
            }
            async with asyncio.TaskGroup() as group:
                asking = group.create_task(client.must(frame))
                for _ in range(drops):
                    await client.back(await client.cut())
            await client.run_end(asking.result()["run"])
        assert len(client.seen("message.added", role="user")) == 5


async def test_C9_one_create_on_both_replicas(two: Two) -> None:
    async with trial(two[0].gateway.broker) as t:
        name = new_id("tab")
        one = await t.client(two[0].url, client=name)
        frame = {"type": "session.create", "id": new_id("k"), "agent": "echo"}
        url = f"http://{two[1].place}/v1/sessions"
        async with (
            http_client() as http,
            asyncio.TaskGroup() as group,
        ):
            here = group.create_task(one.must(frame))
            there = group.create_task(over_http(http, url, {**frame, "client": name}))
        session = here.result()["session"]
        assert there.result()["session"] == session
        await one.follow(session, after=0)
        await one.event("session.created")


async def test_C10_the_same_id_with_another_body(two: Two) -> None:
    async with trial(two[0].gateway.broker) as t:
        one = await t.client(two[0].url)
        session = await one.create()
        frame = {"type": "message.send", "id": new_id("k"), "session": session}
        await one.run_end((await one.must({**frame, "content": script(Story(3, 0))}))["run"])
        for replica in two:
            mark = one.connections
            one.urls = [replica.url]
            await one.cut()
            await one.back(mark)
            answer = await one.command({**frame, "content": script(Story(4, 0))})
            assert answer["code"] == "command.conflict"
        assert len(one.seen("message.added", role="user")) == 1


# --- races for what can be had once


@pytest.mark.parametrize("round_", range(3))
async def test_C11_two_tabs_answer_one_approval(two: Two, round_: int) -> None:
    del round_
    async with trial(two[0].gateway.broker) as t:
        one, other, session = await both(two, t)
        run = (await one.send(session, script(APPROVE, {"say": "{last}"})))["run"]
        asked = await one.event("approval.requested")
        await other.event("approval.requested")
        respond = {"type": "approval.respond", "session": session, "approval": asked["approval"]}
        async with asyncio.TaskGroup() as group:
            yes = group.create_task(one.command({**respond, "decision": "approve"}))
            no = group.create_task(other.command({**respond, "decision": "deny"}))
        answers = [yes.result(), no.result()]
        assert sorted(codes(answers)) == ["approval.closed", "ok"]
        winner = "approve" if answers[0]["type"] == "ok" else "deny"
        assert (await other.event("approval.resolved"))["decision"] == winner
        await one.run_end(run)
        assert f'"decision":"{winner}"' in one.text(session)


async def test_C11_two_tabs_and_one_tool(two: Two) -> None:
    async with trial(two[0].gateway.broker) as t:
        one, other, session = await both(two, t, tools=[READ])
        run = (await one.send(session, script(CALL, {"say": "{last}"})))["run"]
        call = await one.event("tool_call.requested")
        await other.event("tool_call.requested")
        async with asyncio.TaskGroup() as group:
            mine = group.create_task(one.tool_result(call, "mine"))
            claim = {"type": "tool.claim", "session": session, "call": call["call"]}
            theirs = group.create_task(other.command(claim))
        assert mine.result()["type"] == "ok"
        assert theirs.result()["code"] in ("tool.held", "tool.closed")
        await one.run_end(run)
        assert one.text(session) == '"mine"'


async def test_C12_results_nobody_waits_for(two: Two) -> None:
    async with trial(two[0].gateway.broker) as t:
        one, other, session = await both(two, t, tools=[READ])
        first = (await one.send(session, script(CALL, {"say": "{last}"})))["run"]
        call = await one.event("tool_call.requested")
        assert (await one.tool_result(call, 1))["type"] == "ok"
        await one.run_end(first)
        for client in (one, other):
            assert (await client.tool_result(call, 2, claim=False))["code"] == "tool.closed"
            stranger = {**call, "call": "c_of_nobody"}
            answer = await client.tool_result(stranger, 3, claim=False)
            assert answer["code"] == "tool.unknown"
        # the call of a run that was stopped, while another run waits for one of its own
        stopped = (await one.send(session, script(CALL)))["run"]
        late = await one.event("tool_call.requested", run=stopped)
        await one.must({"type": "run.interrupt", "session": session, "run": stopped})
        run = (await one.send(session, script(CALL, {"say": "{last}"})))["run"]
        live = await one.event("tool_call.requested", run=run)
        assert (await one.tool_result(late, 4, claim=False))["code"] == "tool.closed"
        assert (await one.tool_result(live, 5))["type"] == "ok"
        await one.run_end(run)
        assert one.text(session) == "15"


async def test_C13_an_interrupt_that_comes_too_late(two: Two) -> None:
    async with trial(two[0].gateway.broker) as t:
        one, other, session = await both(two, t)
        old = (await one.send(session, script(Story(3, 0))))["run"]
        await one.run_end(old)
        run = (await one.send(session, script(Story(40, 2))))["run"]
        await one.event("run.started", run=run)
        for client in (one, other):
            stop = {"type": "run.interrupt", "session": session, "run": old}
            assert (await client.command(stop))["code"] == "run.not_active"
        assert (await one.run_end(run))["type"] == "run.completed"
        stop = {"type": "run.interrupt", "session": session}
        assert (await other.command(stop))["code"] == "run.not_active"


async def test_C14_an_interrupt_storm(two: Two) -> None:
    async with trial(two[0].gateway.broker) as t:
        one, other, session = await both(two, t)
        run = (await one.send(session, script(ENDLESS)))["run"]
        await other.event("message.delta")
        stop = {"type": "run.interrupt", "session": session, "run": run}
        async with asyncio.TaskGroup() as group:
            storm = [group.create_task(c.command(stop)) for c in (one, other) for _ in range(50)]
        answers = [each.result() for each in storm]
        assert sorted(codes(answers)) == ["ok"] + ["run.not_active"] * 99
        assert (await other.run_end(run))["type"] == "run.cancelled"
        after = (await one.send(session, script(Story(3, 0))))["run"]
        assert (await one.run_end(after))["type"] == "run.completed"


@pytest.mark.parametrize("steps", [[ENDLESS], [APPROVE], [{"sleep_ms": 60_000}], [CALL]])
async def test_C14_a_stop_in_every_state(two: Two, steps: list[Any]) -> None:
    """Started, streaming, waiting: one end; and the queue behind it goes on."""
    async with trial(two[0].gateway.broker) as t:
        one, other, session = await both(two, t, tools=[READ])
        run = (await one.send(session, script(*steps)))["run"]
        queued = await one.send(session, script(Story(2, 0)), if_busy="enqueue")
        dropped = await one.send(session, script(Story(4, 0)), if_busy="enqueue")
        await one.event("run.started", run=run)
        stop = {"type": "run.interrupt", "session": session}
        await other.must({**stop, "run": dropped["run"]})
        await other.must({**stop, "run": run})
        assert (await one.run_end(run))["type"] == "run.cancelled"
        assert (await one.run_end(queued["run"]))["type"] == "run.completed"
        assert (await one.run_end(dropped["run"]))["type"] == "run.cancelled"
        assert one.text(session).endswith(Story(2).text)


# --- subscriptions


async def shard_channels(valkey: Valkey, session: str) -> int:
    """How many processes listen to a session's channel."""
    reader, writer = await asyncio.open_connection("127.0.0.1", valkey.port)
    try:
        writer.write(b"PUBSUB SHARDCHANNELS agw:*s:%b\r\n" % session.encode())
        return int((await reader.readline()).decode().strip().removeprefix("*"))
    finally:
        writer.close()


async def test_C15_more_subscriptions_than_are_allowed(two: Two) -> None:
    async with trial(two[0].gateway.broker) as t, Tab(two[0].url) as tab:
        client = await t.client(two[0].url)
        session = await client.create()
        for at in range(80):
            await tab.create("echo", session=f"{session}-{at}")
        frames = [
            {"type": "session.subscribe", "id": f"k_{at}", "session": f"{session}-{at}"}
            for at in range(80)
        ]
        await tab.send(*frames)
        answers = [await tab.wait_for(("subscribed", "error"), id=frame["id"]) for frame in frames]
        for at, frame in enumerate(frames):
            while answers[at].get("retryable"):  # so many at once may wait too long for Redis
                answers[at] = await tab.ask({**frame, "id": new_id("k")})
        refused = [a["code"] for a in answers if a["type"] == "error"]
        assert refused == ["limit.exceeded"] * 16
        run = (await client.send(session, script(Story(3, 0))))["run"]
        await client.run_end(run)


async def test_C15_churn_leaves_no_subscription_behind(
    replicate: Replicate, valkey: Valkey
) -> None:
    replica = await replicate(valkey.url)
    async with trial(replica.gateway.broker) as t:
        client = await t.client(replica.url)
        session = await client.create()
        others = [f"{session}-{at}" for at in range(20)]
        async with Tab(replica.url) as tab:
            for other in others:
                await tab.create("echo", session=other)
            for _ in range(10):
                churn = itertools.chain.from_iterable(
                    (
                        {"type": "session.subscribe", "id": new_id("k"), "session": other},
                        {"type": "session.unsubscribe", "id": new_id("k"), "session": other},
                    )
                    for other in others
                )
                last = list(churn)
                await tab.send(*last)
                await tab.wait_for("ok", id=last[-1]["id"])

        async def nobody_listens() -> bool:
            return not sum([await shard_channels(valkey, other) for other in others])

        await eventually(nobody_listens, within=15, what="nobody listens to what nobody reads")

        async def one_listens() -> bool:
            return await shard_channels(valkey, session) == 1

        await eventually(one_listens, what="what is still read is listened to")
        run = (await client.send(session, script(Story(3, 0))))["run"]
        await client.run_end(run)


async def test_C17_churn_leaves_nothing_behind(replica: Replica) -> None:
    """I7: after many connections that broke, as many tasks, files and members as before."""
    async with trial(replica.gateway.broker) as t:
        client = await t.client(replica.url)
        session = await client.create()
        files = len(list(OPEN_FILES.iterdir()))
        tasks = len(asyncio.all_tasks())
        for _ in range(100):
            tab = await Tab(replica.url, sessions=[{"session": session}]).open()
            await tab.wait_for("subscribed")
            await tab.cut()
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks, what="the tasks have ended")
        await eventually(lambda: len(list(OPEN_FILES.iterdir())) <= files, what="files are closed")
        assert len(replica.gateway.roster) == 1
        await client.run_end((await client.send(session, script(Story(2, 0))))["run"])


async def test_C18_one_slow_tab_of_five(replica: Replica) -> None:
    """A tab that reads nothing holds nobody up: its own backlog comes merged when it reads."""
    story = Story(300, 5)
    async with trial(replica.gateway.broker) as t:
        tabs = [await t.client(replica.url) for _ in range(4)]
        slow = await t.client(replica.url, window=16)
        slow.acknowledges = False
        session = await tabs[0].create()
        for client in (*tabs[1:], slow):
            await client.follow(session)
        run = (await tabs[0].send(session, script(LINES, story)))["run"]
        for client in tabs:
            await client.run_end(run)
            story.assert_told(client.text(session))
        assert not slow.seen("run.completed")
        assert len(slow.events) <= 16
        await slow.catch_up()
        await slow.run_end(run)
        story.assert_told(slow.text(session))
        assert len(slow.seen("message.delta")) == 1
