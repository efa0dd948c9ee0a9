"""Faults, Redis: down, frozen, restarted, emptied, deaf, full, and with replies that get lost."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.broker.redis import layout
from gateway.broker.redis.scripts import load_scripts
from gateway.errors import Trimmed
from tests.broker.redis.opening import asking, opened
from tests.faults.clients import Client
from tests.faults.conftest import SCALE, Replica, Replicate
from tests.faults.producer import Story, script
from tests.faults.proxy import FaultProxy, Match
from tests.faults.trial import Trial, trial
from tests.support.processes import Valkey
from tests.support.waiting import eventually
from tests.support.wire import Frame, Tab

Proxied = Callable[[int], Awaitable[FaultProxy]]
READ: Frame = {
    "name": "read_heading",
    "description": "Reads a heading",
    "parameters": {"type": "object"},
}
CALL: Frame = {"call_tool": {"name": "read_heading", "arguments": {}}}
ANSWER_SECONDS = 15  # 2 s are promised; a busy machine takes its part


async def streaming(
    t: Trial, replica: Replica, story: Story, deltas: int = 5
) -> tuple[Client, str, str]:
    """A client that watches a run tell its story: client, session, run."""
    client = await t.client(replica.url)
    session = await client.create()
    run = (await client.send(session, script(story)))["run"]
    await client.deltas(deltas)
    return client, session, run


async def refused_in_time(replica: Replica, session: str) -> None:
    """A command is answered `broker.unavailable`, soon."""
    async with Tab(replica.url) as tab:
        frame = {"type": "session.update", "session": session, "metadata": {"a": 1}}
        answer = await tab.ask(frame, within=ANSWER_SECONDS)
        assert (answer["code"], answer["retryable"]) == ("broker.unavailable", True)


async def told_in_the_end(client: Client, session: str, run: str, story: Story) -> None:
    assert (await client.run_end(run))["type"] == "run.completed"
    await client.until(lambda: client.text(session) == story.text, what="the whole story")


@pytest.mark.parametrize(
    "seconds", [0.0, 2.0, pytest.param(10.0, marks=SCALE), pytest.param(60.0, marks=SCALE)]
)
async def test_R1_down_in_mid_stream(replicate: Replicate, own: Valkey, seconds: float) -> None:
    story = Story(200, 10)
    replica = await replicate(own.url)
    async with opened(own.url) as reader, trial(reader) as t:
        t.durable = True
        client, session, run = await streaming(t, replica, story)
        await own.terminate()
        await refused_in_time(replica, session)
        async with asyncio.TaskGroup() as group:
            frame = {"type": "message.send", "session": session, "content": script(Story(2, 0))}
            frame |= {"if_busy": "enqueue"}
            group.create_task(client.must(frame, within=seconds + 20))
            await asyncio.sleep(seconds)  # the fault itself: so long it is away
            await own.start()
        assert client.close_codes == [None], "the socket stays open"
        # by events, or by the state of a new epoch if it was back late
        await client.until(
            lambda: client.text(session) == story.text + Story(2).text,
            within=30,
            what="both answers",
        )
        ended = [
            e["run"] for _, e in (await t.log(session)).events() if e["type"] == "run.completed"
        ]
        assert ended[0] == run


async def test_R2_restarted_with_its_data(replicate: Replicate, own: Valkey) -> None:
    story = Story(200, 10)
    replica = await replicate(own.url)
    async with opened(own.url) as reader, trial(reader) as t:
        t.durable = True
        client, session, run = await streaming(t, replica, story)
        epoch, _ = client.cursor(session)
        await own.restart()
        await told_in_the_end(client, session, run, story)
        await client.until(lambda: client.cursor(session)[0] != epoch, what="the new epoch")


async def test_R2_restarted_empty(replicate: Replicate, tmp_path: Path) -> None:
    server = Valkey(tmp_path / "forgetful")
    await server.start()
    try:
        replica = await replicate(server.url)
        async with opened(server.url) as reader, trial(reader) as t:
            client = await t.client(replica.url)
            session = await client.create()
            await client.run_end((await client.send(session, script(Story(3, 0))))["run"])
            await t.settle()
            await t.remember(session)
            await server.restart()
            send = {"type": "message.send", "session": session, "content": "[]"}
            assert (await client.command(send))["code"] == "session.not_found"
            other = await client.create()
            await client.run_end((await client.send(other, script(Story(3, 0))))["run"])
            assert client.close_codes == [None]
    finally:
        await server.kill()


async def test_R3_frozen_in_mid_stream(replicate: Replicate, own: Valkey) -> None:
    story = Story(200, 10)
    replica = await replicate(own.url)
    async with opened(own.url) as reader, trial(reader) as t:
        client, session, run = await streaming(t, replica, story)
        own.pause()
        try:
            await refused_in_time(replica, session)
            await eventually(lambda: replica.gateway.unready() is not None, what="not ready")
        finally:
            own.resume()
        await told_in_the_end(client, session, run, story)
        await eventually(lambda: replica.gateway.unready() is None, what="ready again")
        assert not client.seen("run.retrying")


SHAS = {script_.name: script_.sha.encode() for script_ in load_scripts().values()}


def asks(name: str, *words: bytes) -> Match:
    """Whether a piece calls a script with these words among its arguments."""
    return lambda data: SHAS[name] in data and all(word in data for word in words)


@pytest.mark.parametrize(
    "match",
    [
        pytest.param(asks("create", b"session.created"), id="create"),
        pytest.param(asks("append", b"message.added"), id="command"),
        pytest.param(asks("claim"), id="claim"),
        pytest.param(asks("append", b"run.started"), id="start"),
        pytest.param(asks("append", b"message.delta"), id="delta"),
        pytest.param(asks("append", b"tool_call.requested"), id="call"),
        pytest.param(asks("append", b"tool_call.claimed"), id="tool-claim"),
        pytest.param(asks("append", b"tool_call.completed"), id="result"),
        pytest.param(asks("renew"), id="renew"),
        pytest.param(asks("load"), id="load"),
        pytest.param(asks("append", b"run.completed"), id="end"),
    ],
)
async def test_R4_one_reply_is_lost(
    replicate: Replicate, valkey: Valkey, proxied: Proxied, match: Match
) -> None:
    story = Story(80, 10)
    proxy = await proxied(valkey.port)
    replica = await replicate(
        proxy.redis_url, lease_ms=3_000, lease_renew_ms=200, lease_stop_ms=2_000
    )
    async with opened(valkey.url) as reader, trial(reader) as t:
        client = await t.client(replica.url)
        proxy.lose_reply(match)
        session = await client.create(tools=[READ])
        run = (await client.send(session, script(CALL, story)))["run"]
        call = await client.event("tool_call.requested")
        assert (await client.tool_result(call, 1))["type"] == "ok"
        await told_in_the_end(client, session, run, story)
        assert proxy.caught.is_set()
        for kind in ("run.queued", "run.started", "tool_call.requested", "run.completed"):
            assert len(client.seen(kind)) == 1, kind


async def test_R5_the_listener_is_killed(replicate: Replicate, own: Valkey) -> None:
    story = Story(200, 10)
    replica = await replicate(own.url)
    async with opened(own.url) as reader, trial(reader) as t:
        client, session, run = await streaming(t, replica, story)
        for _ in range(3):
            async with asking(own) as admin:
                assert await admin.execute_command("CLIENT KILL TYPE pubsub") >= 1
            await client.deltas(10)
        await told_in_the_end(client, session, run, story)


@pytest.mark.parametrize("seconds", [0, pytest.param(30, marks=SCALE)])
async def test_R5_the_listener_is_deaf(
    replicate: Replicate, own: Valkey, proxied: Proxied, seconds: int
) -> None:
    """Its connection stays open and brings nothing; commands and appends work."""
    story = Story(100, 10)
    proxy = await proxied(own.port)
    proxy.only(lambda data: b"SSUBSCRIBE" in data)
    replica = await replicate(proxy.redis_url)
    async with opened(own.url) as reader, trial(reader) as t:
        client, session, run = await streaming(t, replica, story)
        proxy.swallow("down")
        await eventually(lambda: replica.gateway.unready() is not None, what="not ready")
        await asyncio.sleep(seconds)  # the fault itself: so long nothing comes
        assert replica.gateway.unready() is not None
        proxy.heal()
        await told_in_the_end(client, session, run, story)
        await eventually(lambda: replica.gateway.unready() is None, what="ready again")


async def test_R5_deaf_for_the_last_events(
    replicate: Replicate, own: Valkey, proxied: Proxied
) -> None:
    """No later event shows the hole: only looking at the head does."""
    story = Story(5, 0)
    proxy = await proxied(own.port)
    proxy.only(lambda data: b"SSUBSCRIBE" in data)
    front = await replicate(proxy.redis_url, runs=False)
    await replicate(own.url)  # executes the run
    async with opened(own.url) as reader, trial(reader) as t:
        client = await t.client(front.url)
        session = await client.create()
        await t.settle()
        proxy.swallow("down")
        ok = await client.send(session, script(story))

        async def ended() -> bool:
            return (await t.log(session)).events()[-1][1]["type"] == "run.completed"

        await eventually(ended, what="the run has ended")
        assert not client.seen("run.completed")
        await eventually(lambda: front.gateway.unready() is not None, what="not ready")
        proxy.heal()
        await told_in_the_end(client, session, ok["run"], story)


@pytest.mark.parametrize("what", ["FLUSHALL", "meta", "log"])
async def test_R7_keys_vanish_between_runs(replicate: Replicate, own: Valkey, what: str) -> None:
    """Either the session goes on under a new epoch with its state, or it is not found."""
    replica = await replicate(own.url)
    async with opened(own.url) as reader, trial(reader) as t:
        client = await t.client(replica.url)
        session = await client.create()
        await client.run_end((await client.send(session, script(Story(3, 0))))["run"])
        await t.settle()
        before = await t.remember(session)
        async with asking(own) as admin:
            if what == "FLUSHALL":
                await admin.flushall()
            else:
                meta = layout.meta(session)
                assert await admin.delete(meta if what == "meta" else f"{meta[:-4]}log") == 1
        send = {"type": "message.send", "session": session, "content": script(Story(4, 0))}
        answer = await client.command(send)
        if what != "log":
            assert answer["code"] == "session.not_found"
            return
        await client.run_end(answer["run"])
        await client.until(
            lambda: client.text(session) == Story(3).text + Story(4).text, what="both answers"
        )
        assert client.cursor(session)[0] != before.epoch


async def test_R8_trimmed_behind_a_snapshot(replicate: Replicate, valkey: Valkey) -> None:
    """Who is connected does not notice; who comes back too late gets the state."""
    keep = {"keep_events": 5, "snapshot_events": 50}
    replica = await replicate(valkey.url, **keep)
    other = await replicate(valkey.url, runs=False, **keep)  # whose feeds know nothing of it
    story = Story(20, 1)
    lines: Frame = {"repeat": 300, "steps": [{"log": "line"}]}
    async with trial(replica.gateway.broker) as t:
        connected, late = await t.client(replica.url), await t.client(replica.url)
        session = await connected.create()
        await late.follow(session)
        mark = late.connections
        await late.go_offline()
        run = (await connected.send(session, script(lines, story)))["run"]
        await connected.run_end(run)

        async def trimmed() -> bool:
            with suppress(Trimmed):  # while it was read
                return (await t.log(session)).first > late.cursor(session)[1] + 1
            return False

        await eventually(trimmed, what="the log is trimmed")
        late.urls = [other.url]
        late.go_online()
        await late.back(mark)
        await t.settle()
        assert '"recovered":false' in "".join(late.record.connections[-1])
        for client in (connected, late):
            story.assert_told(client.text(session))
        assert connected.connections == 1
        assert len(connected.seen("run.log")) == 300


async def test_R8_trimmed_by_somebody_else(replicate: Replicate, own: Valkey) -> None:
    replica = await replicate(own.url)
    story = Story(50, 1)
    async with opened(own.url) as reader, trial(reader) as t:
        connected, late = await t.client(replica.url), await t.client(replica.url)
        session = await connected.create()
        await late.follow(session)
        mark = late.connections
        await late.go_offline()
        await connected.run_end((await connected.send(session, script(story)))["run"])
        await t.remember(session)
        async with asking(own) as admin:
            assert await admin.xtrim(f"{layout.meta(session)[:-4]}log", maxlen=2, approximate=False)
        late.go_online()
        await late.back(mark)
        await t.settle()
        assert '"recovered":false' in "".join(late.record.connections[-1])
        after = (await connected.send(session, script(Story(3, 0))))["run"]
        await late.run_end(after)
        assert late.text(session) == story.text + Story(3).text


async def test_R12_forgotten_scripts(replicate: Replicate, own: Valkey) -> None:
    story = Story(150, 10)
    replica = await replicate(own.url)
    async with opened(own.url) as reader, trial(reader) as t:
        client, session, run = await streaming(t, replica, story)
        for _ in range(3):
            assert await own.command("SCRIPT FLUSH") == "+OK"
            await client.deltas(5)
        await told_in_the_end(client, session, run, story)


async def test_R13_out_of_memory_in_mid_stream(replicate: Replicate, own: Valkey) -> None:
    story = Story(150, 10)
    replica = await replicate(own.url)
    async with opened(own.url) as reader, trial(reader) as t:
        client, session, run = await streaming(t, replica, story)
        assert await own.command("CONFIG SET maxmemory 1") == "+OK"
        await refused_in_time(replica, session)
        assert await own.command("CONFIG SET maxmemory 0") == "+OK"
        await told_in_the_end(client, session, run, story)


async def test_R14_a_replica_for_a_while(replicate: Replicate, own: Valkey) -> None:
    """READONLY for a while; promoted again it has another replication id, so another epoch."""
    story = Story(150, 10)
    replica = await replicate(own.url)
    async with opened(own.url) as reader, trial(reader) as t:
        t.durable = True
        client, session, run = await streaming(t, replica, story)
        assert await own.command("REPLICAOF 127.0.0.1 1") == "+OK"
        await refused_in_time(replica, session)
        assert await own.command("REPLICAOF NO ONE") == "+OK"
        await told_in_the_end(client, session, run, story)


async def test_R15_a_slow_redis(replicate: Replicate, valkey: Valkey, proxied: Proxied) -> None:
    story = Story(100, 10)
    proxy = await proxied(valkey.port)
    replica = await replicate(proxy.redis_url)
    proxy.delay(0.1)
    async with opened(valkey.url) as reader, trial(reader) as t:
        client, session, run = await streaming(t, replica, story, deltas=1)
        await told_in_the_end(client, session, run, story)
        assert not client.seen("run.retrying")
