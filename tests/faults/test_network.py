"""Faults, Network: connections that break, stall, lie and come back."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.faults.conftest import Replica, Replicate
from tests.faults.producer import Story, script
from tests.faults.proxy import FaultProxy
from tests.faults.trial import Trial, trial
from tests.support.waiting import eventually
from tests.support.wire import Frame, Tab, new_id

Proxied = Callable[[int], Awaitable[FaultProxy]]
PAGE = 256
PIECE = 30_000
SILENCE_S = 3.0


@pytest.fixture
async def proxy(replica: Replica, proxied: Proxied) -> FaultProxy:
    return await proxied(replica.port)


async def test_N1_reset_in_mid_stream(replica: Replica, proxy: FaultProxy) -> None:
    story = Story(400)  # on a busy machine many of its words come in one delta
    async with trial(replica.gateway.broker) as t:
        client = await t.client(proxy.url)
        watcher = await t.client(replica.url)
        session = await client.create()
        await watcher.follow(session)
        run = (await client.send(session, script(story)))["run"]
        for _ in range(4):
            await client.deltas(5)
            mark = client.connections
            assert proxy.cut() == 1
            await client.back(mark)
        for each in (client, watcher):
            assert (await each.run_end(run))["type"] == "run.completed"
            story.assert_told(each.text(session))
        assert client.connections == 5


async def test_N2_a_client_that_freezes_for_a_while(replica: Replica, proxy: FaultProxy) -> None:
    """Not a lost connection: what piled up comes merged, in order, on the same socket."""
    story = Story(400, interval_ms=1)
    async with trial(replica.gateway.broker) as t:
        client = await t.client(proxy.url)
        watcher = await t.client(replica.url)
        session = await client.create()
        await watcher.follow(session)
        run = (await client.send(session, script(story)))["run"]
        await client.event("message.delta")
        proxy.pause()
        await watcher.run_end(run)
        proxy.heal()
        await client.run_end(run)
        story.assert_told(client.text(session))
        assert client.close_codes == [None]


async def test_N3_a_client_that_freezes_for_ever(replicate: Replicate, proxied: Proxied) -> None:
    """Its socket takes nothing any more: it is freed, and the run and the others feel nothing."""
    replica = await replicate(write_timeout_ms=500)
    proxy = await proxied(replica.port)
    flood: Frame = {"repeat": 100, "steps": [{"log": "x" * 100_000}]}
    story = Story(50, 1)
    async with trial(replica.gateway.broker) as t, Tab(proxy.url) as frozen:
        client = await t.client(replica.url)
        session = await client.create()
        await frozen.subscribe(session, detail="full")
        proxy.pause()
        run = (await client.send(session, script(flood, story)))["run"]
        assert (await client.run_end(run))["type"] == "run.completed"
        story.assert_told(client.text(session))
        await eventually(lambda: len(replica.gateway.roster) == 1, what="it is freed")
        proxy.heal()
        proxy.cut()
        await frozen.wait_closed()


async def test_N4_a_black_hole_in_both_directions(replica: Replica, proxy: FaultProxy) -> None:
    story = Story(800)
    async with trial(replica.gateway.broker) as t:
        client = await t.client(proxy.url, silence_s=SILENCE_S)
        session = await client.create()
        run = (await client.send(session, script(story)))["run"]
        await client.deltas(5)
        proxy.swallow()
        await client.until(lambda: not client.connected, what="the silence is noticed")
        proxy.heal()
        await client.run_end(run)
        story.assert_told(client.text(session))
        await eventually(lambda: len(replica.gateway.roster) == 1, what="the old socket is freed")


async def test_N5_answers_are_lost_but_commands_arrive(replica: Replica, proxy: FaultProxy) -> None:
    story = Story(20, interval_ms=1)
    async with trial(replica.gateway.broker) as t:
        client = await t.client(proxy.url, silence_s=SILENCE_S)
        watcher = await t.client(replica.url)
        session = await client.create()
        await watcher.follow(session)
        proxy.swallow("down")
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(client.send(session, script(story)))
            await watcher.event("run.queued")  # it did arrive
            await client.until(lambda: not client.connected, what="the silence is noticed")
            proxy.heal()
        await client.run_end(sending.result()["run"])
        story.assert_told(client.text(session))
        assert len(watcher.seen("run.queued")) == 1


async def test_N6_two_quick_drops_with_no_new_event(replica: Replica, t: Trial) -> None:
    client = await t.client(replica.url)
    session = await client.create()
    run = (await client.send(session, script(Story(20, 0))))["run"]
    end = await client.run_end(run)
    for _ in range(2):
        await client.back(await client.cut())
        await client.until(
            lambda: any('"cursor"' in line for line in client.record.connections[-1]),
            what="the replay has ended",
        )
    for lines in client.record.connections[1:]:
        assert not [line for line in lines if '"time"' in line]
        assert [line for line in lines if '"recovered":true' in line]
    assert client.cursor(session)[1] == end["seq"]


async def test_N6_a_drop_right_after_a_resume(replica: Replica, t: Trial) -> None:
    story = Story(200)
    client = await t.client(replica.url)
    session = await client.create()
    run = (await client.send(session, script(story)))["run"]
    for _ in range(5):
        await client.back(await client.cut())
    await client.run_end(run)
    story.assert_told(client.text(session))


async def test_N7_a_drop_before_the_first_event(replica: Replica, proxy: FaultProxy) -> None:
    story = Story(30, 1)
    async with trial(replica.gateway.broker) as t:
        asking = await t.client(replica.url)
        session = await asking.create()
        late = await t.client(proxy.url)
        proxy.swallow("down")
        async with asyncio.TaskGroup() as group:
            following = group.create_task(late.follow(session, after=0))
            run = (await asking.send(session, script(story)))["run"]
            await asking.run_end(run)
            proxy.heal()
            proxy.cut()
        subscribed = following.result()
        assert (subscribed["recovered"], subscribed["seq"]) == (True, 0)
        await late.run_end(run)
        assert late.events[0]["seq"] == 1
        story.assert_told(late.text(session))


async def test_N8_back_before_the_old_socket_is_known_to_be_dead(
    replica: Replica, proxy: FaultProxy
) -> None:
    story = Story(800)
    async with trial(replica.gateway.broker) as t:
        client = await t.client(proxy.url, replica.url, silence_s=SILENCE_S)
        session = await client.create()
        run = (await client.send(session, script(story)))["run"]
        await client.deltas(5)
        proxy.swallow()
        await client.until(lambda: client.connections >= 2, what="it came back")
        await client.run_end(run)
        story.assert_told(client.text(session))
        await eventually(lambda: len(replica.gateway.roster) == 1, what="the old one is closed")


async def test_N8_the_old_socket_is_closed_4409(replica: Replica) -> None:
    name = new_id("tab")
    async with Tab(replica.url, client=name) as old:
        session = await old.create()
        await old.subscribe(session)
        async with Tab(replica.url, client=name, sessions=[old.position(session)]) as new:
            await new.wait_for("subscribed")
            assert await old.wait_closed() == 4409
            ok = await new.script(session, {"say": "Hi"})
            await new.run_end(session, ok["run"])
            new.assert_dense(session)


async def test_N10_drops_in_the_middle_of_a_replay(replica: Replica, proxy: FaultProxy) -> None:
    """The connection breaks again and again, between two frames or within one."""
    steps: list[Frame] = [{"repeat": 4 * PAGE, "steps": [{"log": "line"}]}]
    async with trial(replica.gateway.broker) as t:
        asking = await t.client(replica.url)
        session = await asking.create()
        run = (await asking.send(session, script(*steps)))["run"]
        await asking.run_end(run)
        late = await t.client(proxy.url)
        proxy.cut_after("down", PIECE, PIECE + 1, PIECE + 77)
        await late.follow(session, after=0)
        await late.run_end(run)
        assert late.connections == 4


async def test_N11_a_handshake_byte_by_byte(replica: Replica, proxy: FaultProxy) -> None:
    """A slow but living peer gets in; what it sends and sees is whole."""
    proxy.trickle()
    async with trial(replica.gateway.broker) as t:
        client = await t.client(proxy.url)
        session = await client.create()
        run = (await client.send(session, script(Story(10, 0))))["run"]
        await client.run_end(run)


async def test_N15_the_same_client_from_another_address(replica: Replica, t: Trial) -> None:
    story = Story(100)
    client = await t.client(replica.url)
    session = await client.create()
    run = (await client.send(session, script(story)))["run"]
    await client.deltas(5)
    client.local_address = "127.0.0.2"
    await client.back(await client.cut())
    await client.until(
        lambda: '"subscribed"' in "".join(client.record.connections[-1]), what="subscribed again"
    )
    await client.run_end(run)
    story.assert_told(client.text(session))
    assert all('"recovered":true' in "".join(c) for c in client.record.connections[1:])
