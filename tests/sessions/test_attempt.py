"""A worker's hold on a session: its appends happen once, and only while it holds it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.broker.base import Broker, News
from gateway.broker.memory import MemoryBroker
from gateway.broker.redis.layout import session_keys
from gateway.errors import Conflict, EpochChanged, Fenced, SessionMissing
from gateway.sessions import inputs
from gateway.sessions.attempt import Attempt
from gateway.sessions.draft import RuleBrokenError
from gateway.sessions.loading import Snapshots
from gateway.sessions.session import to_snapshot
from gateway.sessions.store import Store
from protocol import commands as cmd
from protocol.events import StreamEvent
from protocol.values import TextPart
from tests.sessions.bench import DEV, origin
from tests.sessions.conftest import DATABASE, Replicas
from tests.sessions.replicas import (
    SLOW,
    Faults,
    attempt,
    calling,
    claimed,
    created,
    delta,
    log,
    send,
    truth,
    types,
    update,
)
from tests.support.processes import Valkey
from tests.support.waiting import eventually


@pytest.fixture
def store(replicas: Replicas) -> Store:
    return replicas.a


async def started(store: Store, *, lease_s: float = 15) -> tuple[str, Attempt]:
    """A session with a run and its attempt."""
    name = await created(store, SLOW)
    await send(store, name)
    return name, await attempt(store, lease_s=lease_s)


async def stream_soon(one: Attempt, *events: StreamEvent) -> None:
    """As the keeper does it, whatever the answer is."""
    heard = asyncio.Event()
    one.stream_soon(events, heard.set)
    assert not heard.is_set()
    assert one.flying
    await heard.wait()
    assert not one.flying
    if one.unsettled:
        await one.settle()


async def assert_copy_true(one: Attempt, broker: Broker) -> None:
    """The attempt's copy is what is stored."""
    real = await truth(broker, one.session.state.session)
    assert to_snapshot(one.session) == to_snapshot(real)


async def stop(store: Store, session: str) -> None:
    await store.submit(cmd.RunInterrupt(id="k_stop", session=session), origin())


async def test_a_run_from_claim_to_end(store: Store) -> None:
    name, one = await started(store)
    await one.step(inputs.StartMessage(message="m_2"))
    await one.stream([delta(store, "m_2", "Hel"), delta(store, "m_2", "lo")])
    ended = await one.step(inputs.EndMessage(message="m_2"), [delta(store, "m_2", "!")])
    assert len(ended.events) == 1, "the stream is not part of the decision"
    await one.step(inputs.CompleteRun())
    assert await types(store.broker, name, 3) == [
        "run.started",
        "message.started",
        *["message.delta"] * 3,
        "message.completed",
        "run.completed",
    ]
    await assert_copy_true(one, store.broker)
    assert await store.broker.claim("w", ["scripted"], lease_s=15) is None


async def test_a_stream_is_folded_when_the_copy_is_looked_at(store: Store) -> None:
    _, one = await started(store)
    await one.step(inputs.StartMessage(message="m_2"))
    seq, copy = one.seq, one.session
    for text in ("a", "b", "c"):
        await one.stream([delta(store, "m_2", text)])
    assert (one.seq, copy.state.seq) == (seq + 3, seq)
    assert one.session.state.messages[-1].parts == [TextPart("abc")]
    assert one.seq == one.session.state.seq == seq + 3
    await one.stream([delta(store, "m_2", "d")])
    await one.step(inputs.EndMessage(message="m_2"), [delta(store, "m_2", "e")])
    assert one.session.state.messages[-1].parts == [TextPart("abcde")]
    await assert_copy_true(one, store.broker)


async def test_a_decision_without_events_is_not_appended(store: Store) -> None:
    _, one = await started(store)
    seq = one.session.state.seq
    late = await one.step(inputs.ServerResult(call="c_late"))
    assert late.events == []
    assert one.session.state.seq == seq
    await one.step(inputs.StartMessage(message="m_2"))
    await one.step(inputs.ServerResult(call="c_late"), [delta(store, "m_2")])
    assert one.session.state.seq == seq + 2, "the stream is"


async def test_nothing_left_to_run(store: Store) -> None:
    name = await created(store)
    await send(store, name)
    held = await claimed(store)
    one = await store.attempt(held)
    await stop(store, name)
    fresh = await store.attempt(held)
    assert (await fresh.step(inputs.ClaimRun(resume="replay", lost=False))).events == []
    with pytest.raises(Fenced):
        await one.step(inputs.ClaimRun(resume="replay", lost=False))


# --- lost replies


@pytest.mark.parametrize("fault", ["lost", "cut"])
async def test_a_lost_reply_changes_nothing_twice(store: Store, fault: str) -> None:
    faults = Faults(store.broker)
    shaky = Store(faults.broker)
    name, one = await started(shaky)
    for act in (
        lambda: one.step(inputs.StartMessage(message="m_2")),
        lambda: one.stream([delta(store, "m_2", "a"), delta(store, "m_2", "b")]),
        lambda: stream_soon(one, delta(store, "m_2", "soon")),
        lambda: one.step(inputs.EndMessage(message="m_2"), [delta(store, "m_2", "c")]),
        lambda: one.step(calling("c_1", "slow", "m_3")),
        lambda: one.step(inputs.CompleteRun()),  # it raises the fence itself
    ):
        faults.on_append += [fault, fault]
        await act()
        assert not faults.on_append
        await assert_copy_true(one, store.broker)
    seen = await types(store.broker, name)
    assert seen.count("message.delta") == 4
    assert seen.count("run.completed") == 1
    assert len(seen) == one.session.state.seq


async def test_a_lost_reply_and_then_a_stop(store: Store) -> None:
    """The append was stored, though its answer was not heard before the run was stopped."""
    faults = Faults(store.broker)
    shaky = Store(faults.broker)
    name, one = await started(shaky)
    await one.step(inputs.StartMessage(message="m_2"))
    faults.on_append += ["lost", lambda: stop(store, name)]
    await one.stream([delta(store, "m_2", "a")])
    assert (await types(store.broker, name)).count("message.delta") == 1
    with pytest.raises(Fenced):
        await one.stream([delta(store, "m_2", "b")])


# --- fences


async def test_after_a_stop_no_token_comes_through(replicas: Replicas) -> None:
    name, one = await started(replicas.a)
    await one.step(inputs.StartMessage(message="m_2"))
    await stop(replicas.b, name)
    for _ in range(2):
        with pytest.raises(Fenced):
            await one.stream([delta(replicas.a, "m_2")])
        with pytest.raises(Fenced):
            await stream_soon(one, delta(replicas.a, "m_2"))
    with pytest.raises(Fenced):
        await one.step(inputs.EndMessage(message="m_2"))
    assert (await types(replicas.a.broker, name))[-1] == "run.cancelled"


async def test_a_stop_that_the_worker_has_heard_of_breaks_its_rules(replicas: Replicas) -> None:
    name, one = await started(replicas.a)
    await stop(replicas.b, name)
    with pytest.raises(Fenced):
        await one.step(inputs.StartMessage(message="m_2"))
    await one.take(News(name, one.claimed.epoch, 0, 0, 0, ()))
    with pytest.raises(RuleBrokenError):
        await one.step(inputs.StartMessage(message="m_2"))


async def test_a_takeover_fences_the_first(replicas: Replicas) -> None:
    name, first = await started(replicas.a, lease_s=0.001)
    await first.step(inputs.StartMessage(message="m_2"))
    await first.stream([delta(replicas.a, "m_2")])
    second = await eventually(lambda: claimed_again(replicas.b))
    assert second is not None
    assert second.claimed.lost
    with pytest.raises(Fenced):
        await first.stream([delta(replicas.a, "m_2")])
    await second.step(inputs.ClaimRun(resume="replay", lost=True))
    with pytest.raises(Fenced):
        await first.step(inputs.EndMessage(message="m_2"))
    assert (await types(replicas.b.broker, name))[-2:] == ["run.retrying", "message.completed"]
    await second.step(inputs.StartMessage(message="m_3"))
    await assert_copy_true(second, replicas.b.broker)


async def test_a_deleted_session(replicas: Replicas) -> None:
    name = await created(replicas.a)
    await send(replicas.a, name)
    held = await claimed(replicas.a)
    await replicas.b.submit(cmd.SessionDelete(id="k_1", session=name), origin())
    with pytest.raises(SessionMissing):
        await replicas.a.attempt(held)


# --- epochs

NewEpoch = Callable[..., Awaitable[None]]


@pytest.fixture
def new_epoch(brokers: tuple[Broker, Broker], valkey: Valkey) -> NewEpoch:
    """Makes a session's log go on in another epoch, without its last `lost` appends."""

    async def in_memory(session: str, lost: int = 0) -> None:
        assert isinstance(brokers[0], MemoryBroker)
        kept = brokers[0]._sessions[session]
        kept.epoch += "_"
        for _ in range(lost):  # of one event each, here
            kept.seq -= 1
            kept.times.pop()
            kept.version -= b'"message.delta"' not in kept.events.pop()

    async def in_redis(session: str, lost: int = 0) -> None:
        meta, log_key, *_ = session_keys(session)
        async with Redis.from_url(f"{valkey.url.rpartition('/')[0]}/{DATABASE}") as admin:
            kept: Any = await admin.xrange(log_key)
            await admin.delete(log_key)  # anew, as on a server that never had the last ones
            for entry, fields in kept[: len(kept) - lost]:
                await admin.xadd(log_key, fields, id=entry)
            await admin.hset(meta, "replid", "another server's")

    return in_memory if isinstance(brokers[0], MemoryBroker) else in_redis


async def test_it_goes_on_in_a_new_epoch_that_has_all_of_it(
    store: Store, new_epoch: NewEpoch
) -> None:
    name, one = await started(store)
    for act in (
        lambda: one.step(inputs.StartMessage(message="m_2")),
        lambda: one.stream([delta(store, "m_2", "a"), delta(store, "m_2", "b")]),
        lambda: one.stream([delta(store, "m_2", "c")]),
        lambda: one.step(inputs.EndMessage(message="m_2"), [delta(store, "m_2", "d")]),
        lambda: one.take(News(name, "e_new", 99, 98, 9, ())),
        lambda: one.take(News(name, "", 0, 0, 0, ())),
        lambda: one.step(inputs.CompleteRun()),
    ):
        epoch, reloads = one.claimed.epoch, one.reloads
        await new_epoch(name)
        await act()
        assert one.claimed.epoch != epoch
        assert one.reloads > reloads
        await assert_copy_true(one, store.broker)
    assert await types(store.broker, name, 4) == [
        "message.started",
        *["message.delta"] * 4,
        "message.completed",
        "run.completed",
    ]


async def test_it_ends_when_something_acknowledged_is_lost(
    store: Store, new_epoch: NewEpoch
) -> None:
    name, one = await started(store)
    await one.step(inputs.StartMessage(message="m_2"))
    await one.stream([delta(store, "m_2", "a")])
    await new_epoch(name, lost=1)
    for act in (
        lambda: one.stream([delta(store, "m_2", "b")]),
        lambda: one.step(inputs.EndMessage(message="m_2")),
        lambda: one.take(News(name, "e_new", 99, 98, 9, ())),
        lambda: one.take(News(name, "", 0, 0, 0, ())),
    ):
        with pytest.raises(EpochChanged):
            await act()
    assert (await types(store.broker, name))[-1] == "message.started"


async def test_it_ends_when_others_have_written_in_the_place_of_its_last(
    replicas: Replicas, new_epoch: NewEpoch
) -> None:
    name, one = await started(replicas.a)
    await one.step(inputs.StartMessage(message="m_2"))
    await new_epoch(name, lost=1)
    await update(replicas.b, name, a=1)  # at the same seq
    with pytest.raises(EpochChanged):
        await one.stream([delta(replicas.a, "m_2", "b")])


async def test_a_stop_in_the_new_epoch_ends_it(replicas: Replicas, new_epoch: NewEpoch) -> None:
    name, one = await started(replicas.a)
    await one.step(inputs.StartMessage(message="m_2"))
    await new_epoch(name)
    await stop(replicas.b, name)
    with pytest.raises(Fenced):
        await one.stream([delta(replicas.a, "m_2", "b")])


@pytest.mark.parametrize("fault", ["lost", "cut"])
async def test_what_was_in_flight_when_the_epoch_changed_is_stored_once(
    replicas: Replicas, new_epoch: NewEpoch, fault: str
) -> None:
    faults = Faults(replicas.a.broker)
    name, one = await started(Store(faults.broker))

    async def other() -> None:
        await update(replicas.b, name, a=1)
        await new_epoch(name)

    for act in (
        lambda: one.step(inputs.StartMessage(message="m_2")),
        lambda: one.stream([delta(replicas.a, "m_2", "a"), delta(replicas.a, "m_2", "b")]),
        lambda: stream_soon(one, delta(replicas.a, "m_2", "soon")),
        lambda: one.step(inputs.EndMessage(message="m_2"), [delta(replicas.a, "m_2", "c")]),
        lambda: one.step(calling("c_1", "slow", "m_3")),
    ):
        epoch = one.claimed.epoch
        faults.on_append += [fault, other, fault]
        await act()
        faults.on_append.clear()
        assert one.claimed.epoch != epoch
        await assert_copy_true(one, replicas.b.broker)
    seen = await types(replicas.b.broker, name, 4)
    assert [t for t in seen if t != "session.updated"] == [
        "message.started",
        *["message.delta"] * 4,
        "message.completed",
        "message.started",
        "tool_call.started",
        "message.completed",
        "tool_call.requested",
        "run.waiting",
    ]


# --- conflicts


async def test_a_step_is_decided_again_on_what_came_first(replicas: Replicas) -> None:
    name, one = await started(replicas.a)
    await one.step(calling("c_1", "slow", "m_2"))
    await send(replicas.b, name, "steer", if_busy="steer", message="m_steer")
    result = cmd.ToolResult(id="k_1", session=name, call="c_1", output=1)
    await replicas.b.submit(result, origin())
    message = inputs.StartMessage(message="m_3", read=["m_steer"])
    decision = await one.step(message)
    assert getattr(decision.events[0], "read", None) == ["m_steer"]
    await assert_copy_true(one, replicas.b.broker)
    await one.step(inputs.CompleteRun())
    assert (await types(replicas.b.broker, name))[-1] == "run.completed", "it was read"


async def test_a_conflict_keeps_the_stream_before_its_step(replicas: Replicas) -> None:
    name, one = await started(replicas.a)
    await one.step(inputs.StartMessage(message="m_2"))
    await update(replicas.b, name, a=1)
    await one.step(inputs.EndMessage(message="m_2"), [delta(replicas.a, "m_2", "once")])
    assert await types(replicas.b.broker, name, 5) == [
        "session.updated",
        "message.delta",
        "message.completed",
    ]
    await assert_copy_true(one, replicas.a.broker)


async def test_what_came_between_stream_events_is_folded(replicas: Replicas) -> None:
    name, one = await started(replicas.a)
    await one.step(inputs.StartMessage(message="m_2"))
    await update(replicas.b, name, a=1)
    await one.stream([delta(replicas.a, "m_2", "x")])
    assert one.session.state.metadata == {"a": 1}
    await update(replicas.b, name, a=2)
    await stream_soon(one, delta(replicas.a, "m_2", "y"))
    assert one.session.state.metadata == {"a": 2}
    await assert_copy_true(one, replicas.a.broker)


async def test_a_broken_rule_leaves_no_trace(store: Store) -> None:
    name, one = await started(store)
    head = one.session.state.seq
    request = inputs.CallRequest(call="c_1", name="slow", arguments={}, target="client")
    twice = inputs.RequestCalls(message="m_2", calls=[request, request])
    with pytest.raises(RuleBrokenError):
        await one.step(twice)
    await assert_copy_true(one, store.broker)
    with pytest.raises(RuleBrokenError):
        await one.step(inputs.EndMessage(message="m_none"), [delta(store, "m_none")])
    assert one.session.state.seq == head
    await one.step(inputs.StartMessage(message="m_2"))
    assert (await types(store.broker, name))[-1] == "message.started"


async def test_a_reload_waits_for_the_broker(replicas: Replicas) -> None:
    faults = Faults(replicas.a.broker)
    name, one = await started(Store(faults.broker))
    await update(replicas.b, name, a=1)
    faults.unheard_loads = 2
    await one.step(inputs.StartMessage(message="m_2"))
    assert faults.unheard_loads == 0
    await assert_copy_true(one, replicas.a.broker)


async def test_a_deletion_is_heard_of(replicas: Replicas) -> None:
    name, one = await started(replicas.a)
    await replicas.b.submit(cmd.SessionDelete(id="k_1", session=name), origin())
    assert await one.take(News(name, "", 0, 0, 0, ()))
    assert one.session.ledger.deleted
    assert one.session.state.live_run is None


async def test_a_deletion_after_a_gap(replicas: Replicas) -> None:
    name, one = await started(replicas.a)
    await update(replicas.b, name, a=1)
    await replicas.b.submit(cmd.SessionDelete(id="k_1", session=name), origin())
    with pytest.raises(SessionMissing):
        await one.take(News(name, "", 0, 0, 0, ()))


# --- news


async def test_news_are_folded_once_and_in_order(replicas: Replicas) -> None:
    name, one = await started(replicas.a)
    heard: list[News] = []
    await replicas.a.broker.follow(name, heard.append)
    for i in range(3):
        await update(replicas.b, name, n=i)
    await eventually(lambda: heard and heard[-1].last == 7)
    assert await one.take(heard[0])
    assert one.session.state.metadata == {"n": 0}
    assert not await one.take(heard[0]), "again"
    assert await one.take(heard[2]), "with a hole before it"
    assert not await one.take(heard[1]), "late"
    await assert_copy_true(one, replicas.a.broker)
    replicas.a.broker.unfollow(name, heard.append)


async def test_its_own_appends_come_back_and_change_nothing(store: Store) -> None:
    name, one = await started(store)
    heard: list[News] = []
    await store.broker.follow(name, heard.append)
    await one.step(inputs.StartMessage(message="m_2"))
    await one.stream([delta(store, "m_2")])
    await eventually(lambda: heard and heard[-1].last == 6)
    for news in heard:
        assert not await one.take(news)
    await assert_copy_true(one, store.broker)
    store.broker.unfollow(name, heard.append)


async def test_news_that_overlap_and_news_of_a_gap(replicas: Replicas) -> None:
    name, one = await started(replicas.a)
    epoch = one.claimed.epoch
    for i in range(4):
        await update(replicas.b, name, n=i)
    stored = await replicas.b.broker.read(name, 0, 100)
    bodies = [body for _, body in stored]
    assert await one.take(News(name, epoch, 4, 6, 6, bodies[3:6]))
    assert one.session.state.seq == 6
    assert await one.take(News(name, "", 0, 0, 0, ()))
    assert one.session.state.seq == 8
    assert not await one.take(News(name, epoch, 8, 8, 8, ()))
    await assert_copy_true(one, replicas.a.broker)


async def test_a_gap_that_the_log_no_longer_reaches(replicas: Replicas) -> None:
    name, one = await started(replicas.a)
    trimming = Store(
        replicas.b.broker, snapshots=Snapshots(replicas.b.broker, every=1, keep_events=0)
    )
    for i in range(3):
        await update(trimming, name, n=i)
    assert await one.take(News(name, "", 0, 0, 0, ()))
    await assert_copy_true(one, replicas.a.broker)
    assert one.session.state.metadata == {"n": 2}


async def test_news_wait_while_an_append_is_in_flight(store: Store) -> None:
    faults = Faults(store.broker)
    name, one = await started(Store(faults.broker))
    gate = asyncio.Event()
    faults.on_append.append(gate.wait)
    async with asyncio.TaskGroup() as group:
        group.create_task(one.step(inputs.StartMessage(message="m_2")))
        await eventually(lambda: not faults.on_append)
        with pytest.raises(AssertionError):
            await one.take(News(name, "", 0, 0, 0, ()))
        with pytest.raises(AssertionError):
            await one.stream([delta(store, "m_2")])
        gate.set()


# --- parking


async def test_a_parked_run_is_claimable_by_its_result(replicas: Replicas) -> None:
    name, one = await started(replicas.a)
    await one.step(calling("c_1", "slow", "m_2"))
    await replicas.a.broker.release(
        name, one.claimed.fence, claimable_at=None, expect_version=one.session.version
    )
    assert await replicas.b.broker.claim("w", ["scripted"], lease_s=15) is None
    result = cmd.ToolResult(id="k_1", session=name, call="c_1", output=1)
    await replicas.b.submit(result, origin())
    held = await claimed(replicas.b)
    assert (held.session, held.lost) == (name, False)
    again = await replicas.b.attempt(held)
    await again.step(inputs.ClaimRun(resume="replay", lost=False))
    assert (await types(replicas.a.broker, name))[-1] == "run.resumed"


async def test_a_result_that_came_first_prevents_the_park(replicas: Replicas) -> None:
    name, one = await started(replicas.a)
    await one.step(calling("c_1", "slow", "m_2"))
    result = cmd.ToolResult(id="k_1", session=name, call="c_1", output=1)
    await replicas.b.submit(result, origin())
    with pytest.raises(Conflict):
        await replicas.a.broker.release(
            name, one.claimed.fence, claimable_at=None, expect_version=one.session.version
        )


# --- snapshots


async def test_snapshots_come_every_so_many_events_and_at_the_end(store: Store) -> None:
    snapshots = Snapshots(store.broker, every=10, keep_events=0)
    busy = Store(store.broker, snapshots=snapshots)
    name, one = await started(busy)
    await one.step(inputs.StartMessage(message="m_2"))
    assert (await store.broker.load(name)).snapshot is None
    for i in range(12):
        await one.stream([delta(store, "m_2", str(i))])
    loaded = await store.broker.load(name)
    assert loaded.snapshot_seq == 10
    assert len(loaded.events) == loaded.head.seq - 10
    await assert_copy_true(one, store.broker)
    await one.step(inputs.EndMessage(message="m_2"))
    await one.step(inputs.CompleteRun())
    loaded = await store.broker.load(name)
    assert loaded.snapshot_seq == loaded.head.seq
    await assert_copy_true(one, store.broker)
    assert (await Store(store.broker).load(name, DEV)).state == one.session.state


async def test_snapshots_of_what_was_streamed_without_a_task(store: Store) -> None:
    snapshots = Snapshots(store.broker, every=10, keep_events=0)
    name, one = await started(Store(store.broker, snapshots=snapshots))
    await one.step(inputs.StartMessage(message="m_2"))
    for i in range(12):
        await stream_soon(one, delta(store, "m_2", str(i)))
    assert (await store.broker.load(name)).snapshot_seq == 10
    await assert_copy_true(one, store.broker)


async def test_an_attempt_continues_from_a_snapshot(store: Store) -> None:
    snapshots = Snapshots(store.broker, every=1, keep_events=0)
    busy = Store(store.broker, snapshots=snapshots)
    _, one = await started(busy, lease_s=0.001)
    await one.step(calling("c_1", "slow", "m_2"))
    second = await eventually(lambda: claimed_again(store))
    assert second is not None
    await second.step(inputs.ClaimRun(resume="replay", lost=True))
    assert second.session.state.calls["c_1"].status == "requested"
    await assert_copy_true(second, store.broker)


async def claimed_again(store: Store) -> Attempt | None:
    held = await store.broker.claim("other", ["scripted"], lease_s=15)
    return None if held is None else await store.attempt(held)


async def test_the_log_has_each_append_of_a_shaky_attempt_once(store: Store) -> None:
    faults = Faults(store.broker)
    name, one = await started(Store(faults.broker))
    await one.step(inputs.StartMessage(message="m_2"))
    for i in range(30):
        faults.on_append.append(["lost", "cut", None][i % 3])
        if i % 2:
            await one.stream([delta(store, "m_2", f"{i},")])
        else:
            await stream_soon(one, delta(store, "m_2", f"{i},"))
    text = "".join(getattr(e, "delta", "") for e in await log(store.broker, name))
    assert text == "".join(f"{i}," for i in range(30))
