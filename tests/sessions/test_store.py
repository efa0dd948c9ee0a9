"""Commands on one replica: created, found, answered once, listed, ticked, deleted."""

import pytest

from gateway.auth import Grant
from gateway.broker.memory import MemoryBroker
from gateway.errors import BrokerUnavailable, Conflict, SessionMissing
from gateway.sessions import inputs
from gateway.sessions.access import not_found, owner_key
from gateway.sessions.draft import Origin, Rules
from gateway.sessions.ids import derived_id
from gateway.sessions.loading import Snapshots
from gateway.sessions.store import MAX_TRIES, PAGE_BYTES, Store
from protocol import commands as cmd
from protocol import events as ev
from protocol.errors import ProtocolError
from protocol.frames import Ok
from protocol.values import Principal
from tests.sessions.bench import DEV, ManualClock, origin
from tests.sessions.conftest import Replicas
from tests.sessions.replicas import (
    ASK,
    QUICK,
    SLOW,
    Faults,
    assert_true,
    attempt,
    calling,
    claimed,
    command_id,
    created,
    delta,
    log,
    refused,
    send,
    truth,
    types,
    update,
)
from tests.support.waiting import eventually


@pytest.fixture
def store(replicas: Replicas) -> Store:
    return replicas.a


def grant(tenant: str, subject: str) -> Grant:
    return Grant(Principal(tenant, subject), "full")


# --- session.create


async def test_a_session_is_created(store: Store) -> None:
    create = cmd.SessionCreate(
        id="k_1", agent="scripted", session="s_new", metadata={"a": 1}, tools=[SLOW]
    )
    assert await store.submit(create, origin()) == Ok(id="k_1", session="s_new")
    session = await store.load("s_new", DEV)
    assert (session.state.seq, session.version, session.state.agent) == (1, 1, "scripted")
    assert (session.state.metadata, session.state.tools) == ({"a": 1}, [SLOW])
    assert session.owner == "local:dev"
    assert session.state.epoch


async def test_without_a_name_it_is_derived_and_found_again(store: Store) -> None:
    command = command_id()
    create = cmd.SessionCreate(id=command, agent="scripted")
    first = await store.submit(create, origin())
    assert first.session == derived_id("s", "local:dev", "tab_A", command)
    assert await store.submit(create, origin()) == first
    others = [
        await store.submit(create, origin("tab_B")),
        await store.submit(create, origin(subject="eve")),
    ]
    assert len({first.session, *(ok.session for ok in others)}) == 3


async def test_a_repeat_of_the_creation(store: Store) -> None:
    create = cmd.SessionCreate(id="k_1", agent="scripted", session="s_again")
    first = await store.submit(create, origin())
    await send(store, "s_again")
    assert await store.submit(create, origin()) == first
    other = cmd.SessionCreate(id="k_1", agent="scripted", session="s_again", metadata={})
    assert await refused(store, other) == "command.conflict"
    stop = cmd.SessionDelete(id="k_2", session="s_again")
    await store.submit(stop, origin())
    assert await store.submit(create, origin()) == first, "a repeat, whatever happened since"


async def test_ones_own_session_exists(store: Store) -> None:
    name = await created(store)
    again = cmd.SessionCreate(id=command_id(), agent="scripted", session=name)
    assert await store.submit(again, origin()) == Ok(id=again.id, session=name, existing=True)
    other_agent = cmd.SessionCreate(id=command_id(), agent="echo", session=name)
    assert await refused(store, other_agent) == "session.exists"
    assert await refused(store, again, subject="eve") == "session.exists"
    await store.submit(cmd.SessionDelete(id=command_id(), session=name), origin())
    third = cmd.SessionCreate(id=command_id(), agent="scripted", session=name)
    assert await refused(store, third) == "session.exists", "the id is not taken again"


# --- whose it is


def foreign(session: str) -> list[cmd.DecidedCommand]:
    return [
        cmd.SessionUpdate(id="k", session=session),
        cmd.SessionDelete(id="k", session=session),
        cmd.MessageSend(id="k", session=session, content="x"),
        cmd.RunStart(id="k", session=session),
        cmd.RunInterrupt(id="k", session=session),
        cmd.ToolClaim(id="k", session=session, call="c_1"),
        cmd.ToolRenew(id="k", session=session, call="c_1"),
        cmd.ToolResult(id="k", session=session, call="c_1"),
        cmd.ApprovalRespond(id="k", session=session, approval="ap_1", decision="approve"),
    ]


async def test_a_foreign_session_looks_as_if_it_never_existed(store: Store) -> None:
    name = await created(store, ASK)
    await send(store, name, id="k")
    for session in (name, "s_never"):
        for command in foreign(session):
            with pytest.raises(ProtocolError) as error:
                await store.submit(command, origin(subject="eve"))
            assert str(error.value) == str(not_found(session))
            assert error.value.session == session
    for reading in (
        store.load(name, grant("local", "eve")),
        store.messages(name, grant("other", "dev"), None, 10),
        store.load(name, grant("", "local:dev")),
    ):
        with pytest.raises(ProtocolError) as error:
            await reading
        assert str(error.value) == str(not_found(name))
    await assert_true(store, name)


def test_owners_cannot_be_confused() -> None:
    pairs = [("a", "b:c"), ("a:b", "c"), ("a", "b%3Ac"), ("", "a"), ("a", ""), ("ä/ ", "b")]
    keys = {owner_key(Principal(*p)) for p in pairs}
    assert len(keys) == len(pairs)
    assert all(key.count(":") == 1 and key.isascii() for key in keys)


# --- once


async def test_a_repeat_gets_the_same_answer_whatever_has_happened(store: Store) -> None:
    name = await created(store)
    command = cmd.MessageSend(id="k_1", session=name, content="Hi")
    first = await store.submit(command, origin())
    assert (first.seq, first.run is None, first.message is None) == (3, False, False)
    one = await attempt(store)
    await one.step(inputs.CompleteRun())
    await send(store, name, "Next")
    head = (await store.load(name, DEV)).state.seq
    assert await store.submit(command, origin()) == first
    assert (await store.load(name, DEV)).state.seq == head


async def test_the_same_id_with_another_body(store: Store) -> None:
    name = await created(store)
    await send(store, name, "Hi", id="k_1")
    for other in (
        cmd.MessageSend(id="k_1", session=name, content="Ho"),
        cmd.MessageSend(id="k_1", session=name, content="Hi", if_busy="steer"),
        cmd.RunStart(id="k_1", session=name),
    ):
        assert await refused(store, other) == "command.conflict"


async def test_an_id_is_scoped_by_client_and_session(store: Store) -> None:
    name, other = await created(store), await created(store)
    update_ = cmd.SessionUpdate(id="k_1", session=name, metadata={"a": 1})
    await store.submit(update_, origin())
    for client in ("tab_B", "", "http"):
        change = cmd.SessionUpdate(id="k_1", session=name, metadata={"by": client or "none"})
        if client == "http":
            assert await refused(store, change, client) == "command.conflict", "one of HTTP's"
        else:
            await store.submit(change, origin(client))
    await store.submit(cmd.SessionUpdate(id="k_1", session=other, metadata={"b": 1}), origin())
    assert (await store.load(name, DEV)).state.metadata == {"a": 1, "by": "none"}
    assert (await store.load(other, DEV)).state.metadata == {"b": 1}


async def test_a_refused_command_may_be_sent_again(store: Store) -> None:
    name = await created(store)
    stop = cmd.RunInterrupt(id="k_1", session=name)
    assert await refused(store, stop) == "run.not_active"
    await send(store, name)
    assert (await store.submit(stop, origin())).seq == 4
    assert (await store.submit(stop, origin())).seq == 4


async def test_an_ok_that_stored_nothing_is_not_kept(store: Store) -> None:
    name = await created(store)
    nothing = cmd.SessionUpdate(id="k_1", session=name, metadata={})
    assert await store.submit(nothing, origin()) == Ok(id="k_1")
    something = cmd.SessionUpdate(id="k_1", session=name, metadata={"a": 1})
    assert await store.submit(something, origin()) == Ok(id="k_1")
    assert (await store.load(name, DEV)).state.metadata == {"a": 1}


async def test_claims_are_decided_anew(store: Store) -> None:
    name = await created(store, SLOW)
    await send(store, name)
    one = await attempt(store)
    await one.step(calling("c_1", "slow", "m_call"))
    claim = cmd.ToolClaim(id="k_1", session=name, call="c_1")
    renew = cmd.ToolRenew(id="k_1", session=name, call="c_1")
    result = cmd.ToolResult(id="k_1", session=name, call="c_1", output=1)
    granted = Ok(id="k_1", lease_ms=600_000)
    assert await store.submit(claim, origin()) == granted
    assert await store.submit(claim, origin()) == granted
    assert await store.submit(renew, origin()) == granted
    assert await refused(store, claim, "tab_B") == "tool.held"
    done = await store.submit(result, origin())
    assert await store.submit(result, origin()) == done
    assert await refused(store, claim) == "tool.closed"
    assert await refused(store, renew) == "tool.closed"
    assert (await types(store.broker, name)).count("tool_call.completed") == 1


async def test_an_answer_whose_reply_was_lost_is_found(store: Store) -> None:
    faults = Faults(store.broker)
    shaky = Store(faults.broker)
    name = await created(store)
    faults.on_append.append("lost")
    with pytest.raises(BrokerUnavailable):
        await send(shaky, name, id="k_1")
    assert await send(shaky, name, id="k_1") == await send(store, name, id="k_1")
    assert await types(store.broker, name, 1) == ["message.added", "run.queued"]
    await assert_true(shaky, name)


async def test_a_request_that_was_lost_changes_nothing(store: Store) -> None:
    faults = Faults(store.broker)
    shaky = Store(faults.broker)
    name = await created(store)
    await update(shaky, name, a=1)
    faults.on_append.append("cut")
    with pytest.raises(BrokerUnavailable):
        await send(shaky, name, id="k_1")
    await assert_true(shaky, name)
    assert (await send(shaky, name, id="k_1")).seq == 4


# --- conflicts


async def test_a_conflict_is_decided_again(replicas: Replicas) -> None:
    name = await created(replicas.b)
    faults = Faults(replicas.a.broker)
    store = Store(faults.broker)
    faults.on_append += [lambda: update(replicas.b, name, b=1), lambda: send(replicas.b, name)]
    assert await send_refused(store, name) == "session.busy", "the other one was first"
    assert len(faults.appends) == 2
    await assert_true(store, name)


async def send_refused(store: Store, session: str) -> str:
    return await refused(store, cmd.MessageSend(id=command_id(), session=session, content="x"))


async def test_after_too_many_conflicts_it_may_be_sent_again() -> None:
    faults = Faults(MemoryBroker())
    store = Store(faults.broker)
    name = await created(store)

    async def conflict() -> None:
        raise Conflict

    faults.on_append += [conflict] * MAX_TRIES
    with pytest.raises(ProtocolError) as error:
        await send(store, name)
    assert error.value.code == "internal"
    assert error.value.retryable
    await send(store, name)


async def test_a_session_deleted_in_between_is_not_found(replicas: Replicas) -> None:
    name = await created(replicas.b)
    faults = Faults(replicas.a.broker)
    store = Store(faults.broker)
    stop = cmd.SessionDelete(id="k_1", session=name)
    faults.on_append.append(lambda: replicas.b.submit(stop, origin()))
    assert await send_refused(store, name) == "session.not_found"


async def test_an_epoch_that_changes_under_the_append() -> None:
    broker = MemoryBroker()
    faults = Faults(broker)
    store = Store(faults.broker)
    name = await created(store)

    async def fail_over() -> None:
        broker._sessions[name].epoch = "e_other"

    faults.on_append.append(fail_over)
    assert (await send(store, name)).seq == 3
    await assert_true(store, name)


# --- reading


async def test_messages_are_paged_backwards(store: Store) -> None:
    name = await created(store)
    sent = [await send(store, name, str(i), start=False) for i in range(5)]
    ids = [ok.message for ok in sent]
    page, calls, more = await store.messages(name, DEV, None, 2)
    assert ([m.id for m in page], calls, more) == (ids[3:], {}, True)
    page, _, more = await store.messages(name, DEV, ids[3], 3)
    assert ([m.id for m in page], more) == (ids[:3], False)
    assert (await store.messages(name, DEV, ids[0], 3))[0] == []
    with pytest.raises(ProtocolError) as error:
        await store.messages(name, DEV, "m_none", 3)
    assert error.value.code == "message.unknown"


async def test_a_page_of_large_messages_is_shorter(store: Store) -> None:
    name = await created(store)
    sizes = (10, PAGE_BYTES, PAGE_BYTES // 2, PAGE_BYTES // 4)
    ids = [(await send(store, name, "x" * size, start=False)).message for size in sizes]
    pages = list[tuple[list[str], bool]]()
    before = None
    while not pages or pages[-1][1]:
        page, _, more = await store.messages(name, DEV, before, 50)
        pages.append(([m.id for m in page], more))
        before = page[0].id
    assert pages == [(ids[2:], True), (ids[1:2], True), (ids[:1], False)]


async def test_a_page_of_large_sessions_is_shorter(store: Store) -> None:
    who = origin(subject=command_id())
    names = [await created(store, subject=who.principal.subject) for _ in range(6)]
    for name in names:
        update = cmd.SessionUpdate(id="k_1", session=name, metadata={"x": "x" * 60_000})
        await store.submit(update, who)
    page, more = await store.sessions(who.grant, 50, None)
    rest, end = await store.sessions(who.grant, 50, page[-1].session)
    assert {r.session for r in page + rest} == set(names)
    assert (len(page), more, len(rest), end) == (4, True, 2, False)


async def test_sessions_are_listed_with_what_they_do(store: Store) -> None:
    who = origin(subject=command_id())
    names = [await created(store, subject=who.principal.subject) for _ in range(4)]
    for name in names[1:]:
        await store.submit(cmd.MessageSend(id="k_1", session=name, content="x"), who)
    for state in ("running", "completed"):
        one = await attempt(store)
        if state == "completed":
            await one.step(inputs.CompleteRun())
    rows, more = await store.sessions(who.grant, 10, None)
    assert [row.session for row in rows] == names[::-1]
    assert not more
    status = {row.session: row.status for row in rows}
    assert status[names[0]] == "idle"
    assert sorted(status[name] for name in names[1:]) == ["completed", "queued", "running"]
    assert all(row.agent == "scripted" and row.updated for row in rows)
    assert rows[-1].seq == 1
    rows, more = await store.sessions(who.grant, 2, names[3])
    assert ([row.session for row in rows], more) == (names[2:0:-1], True)
    await store.submit(cmd.SessionDelete(id="k_2", session=names[2]), who)
    assert len((await store.sessions(who.grant, 10, None))[0]) == 3
    assert await store.sessions(grant("local", "nobody"), 10, None) == ([], False)


# --- deleting


async def test_delete_is_answered_again_and_then_nothing_is_there(store: Store) -> None:
    name = await created(store)
    await send(store, name)
    stop = cmd.SessionDelete(id="k_1", session=name)
    first = await store.submit(stop, origin())
    assert first == Ok(id="k_1")
    assert await store.submit(stop, origin()) == first, "a repeat is answered before all else"
    assert await Store(store.broker).submit(stop, origin()) == first
    assert await refused(store, stop, subject="eve") == "session.not_found"
    assert await refused(store, stop, "tab_B") == "session.not_found"
    assert await send_refused(store, name) == "session.not_found"
    other = cmd.SessionDelete(id="k_2", session=name)
    assert await refused(store, other) == "session.not_found"
    with pytest.raises(ProtocolError):
        await store.load(name, DEV)
    await store.tick(name)


async def test_deleting_fences_the_worker_off(store: Store) -> None:
    name = await created(store)
    await send(store, name)
    one = await attempt(store)
    await one.step(inputs.StartMessage(message="m_2"))
    await store.submit(cmd.SessionDelete(id="k_1", session=name), origin())
    with pytest.raises(SessionMissing):
        await one.stream([delta(store, "m_2")])
    with pytest.raises(SessionMissing):
        await one.step(inputs.CompleteRun())


# --- time


async def test_a_lease_ends_through_the_timer(store: Store) -> None:
    name = await created(store, QUICK)
    await send(store, name)
    one = await attempt(store)
    await one.step(calling("c_1", "quick", "m_call"))
    await store.submit(cmd.ToolClaim(id="k_1", session=name, call="c_1"), origin())

    async def released() -> bool:
        for due in await store.broker.due_timers(10):
            await store.tick(due)
        return (await types(store.broker, name))[-1] == "tool_call.released"

    await eventually(released)
    claim = cmd.ToolClaim(id="k_1", session=name, call="c_1")
    await store.submit(claim, origin("tab_B"))
    assert (await truth(store.broker, name)).state.calls["c_1"].client == "tab_B"


async def test_a_tick_with_nothing_due_sets_the_timer_right() -> None:
    clock = ManualClock()
    broker = MemoryBroker(clock)
    store = Store(broker, rules=Rules(run_ttl_s=100))
    name = await created(store)
    await send(store, name)
    one = await attempt(store)
    await broker.set_timer(name, clock(), expect_version=one.session.version)
    assert await broker.due_timers(10) == [name]
    head = (await broker.load(name)).head
    await store.tick(name)
    assert (await broker.load(name)).head == head
    clock.pass_(99)
    assert await broker.due_timers(10) == []
    clock.pass_(1)
    assert await broker.due_timers(10) == [name]
    await store.tick(name)
    assert (await types(broker, name))[-1] == "run.failed"
    clock.pass_(1000)
    assert await broker.due_timers(10) == [], "nothing is due any more"


async def test_a_tick_of_nothing() -> None:
    await Store(MemoryBroker()).tick("s_never")


async def test_a_tick_that_loses_a_race_is_harmless() -> None:
    clock = ManualClock()
    broker = MemoryBroker(clock)
    faults = Faults(broker)
    store, other = Store(faults.broker), Store(broker)
    name = await created(store)
    await send(store, name)
    clock.pass_(5)
    faults.on_append.append(lambda: other.submit(interrupt(name), origin()))
    await store.tick(name)
    assert (await types(broker, name))[-1] == "run.cancelled"

    async def conflict() -> None:
        raise Conflict

    await send(store, name)
    clock.pass_(5)
    faults.on_append += [conflict] * MAX_TRIES
    await store.tick(name)
    await store.tick(name)
    assert (await types(broker, name))[-1] == "run.activity"


def interrupt(session: str) -> cmd.RunInterrupt:
    return cmd.RunInterrupt(id=command_id(), session=session)


# --- children


async def parent_and_child(store: Store) -> tuple[str, str, str]:
    parent = await created(store)
    await send(store, parent)
    one = await attempt(store)
    child = f"{parent}_child"
    session, run = await store.start_child(one.session, "echo", {"q": 1}, child)
    assert session == child
    assert await store.start_child(one.session, "echo", {"q": 1}, child) == (session, run)
    step = inputs.ChildStep(child_session=child, child_run=run, agent="echo", status="started")
    await one.step(step)
    return parent, child, run


async def test_a_child_is_a_session_of_the_same_owner_with_a_run(store: Store) -> None:
    parent, child, run = await parent_and_child(store)
    session = await store.load(child, DEV)
    assert session.state.metadata == {"parent": parent}
    assert [(r.id, r.input, r.client) for r in session.state.queue] == [(run, {"q": 1}, None)]
    assert await types(store.broker, child) == ["session.created", "run.queued"]
    held = await claimed(store, agent="echo")
    assert held.session == child


async def test_an_owner_with_odd_names_has_children(store: Store) -> None:
    who = Origin(grant("a:b", "c d/%"), "")
    create = cmd.SessionCreate(id="k_1", agent="scripted", session=command_id())
    name = (await store.submit(create, who)).session
    assert name is not None
    session = await store.load(name, who.grant)
    child, _ = await store.start_child(session, "echo", None, f"{name}_child")
    assert (await store.load(child, who.grant)).owner == session.owner


async def test_the_children_of_a_stopped_run_are_stopped(store: Store) -> None:
    parent, child, _ = await parent_and_child(store)
    await store.submit(interrupt(parent), origin())
    assert (await types(store.broker, child))[-1] == "run.queued"

    async def stopped() -> bool:
        for due in await store.broker.due_timers(10):
            await store.tick(due)
        return (await types(store.broker, child))[-1] == "run.cancelled"

    await eventually(stopped)
    await store.tick(parent)
    assert (await types(store.broker, child)).count("run.cancelled") == 1


async def test_the_children_of_a_deleted_session_are_stopped(store: Store) -> None:
    parent, child, _ = await parent_and_child(store)
    await store.submit(cmd.SessionDelete(id="k_1", session=parent), origin())
    assert (await types(store.broker, child))[-1] == "run.cancelled"


async def test_a_child_that_could_not_be_stopped_stays_due() -> None:
    clock = ManualClock()
    broker = MemoryBroker(clock)
    store = Store(broker)
    parent, child, _ = await parent_and_child(store)
    await store.submit(interrupt(parent), origin())
    faults = Faults(broker)
    faults.on_append.append("cut")
    with pytest.raises(BrokerUnavailable):
        await Store(faults.broker).tick(parent)
    clock.pass_(2)
    assert parent in await broker.due_timers(10)
    await store.tick(parent)
    assert (await types(broker, child))[-1] == "run.cancelled"
    clock.pass_(2)
    assert parent not in await broker.due_timers(10)


async def test_a_child_that_is_gone_is_no_trouble(store: Store) -> None:
    parent, child, _ = await parent_and_child(store)
    await store.submit(cmd.SessionDelete(id="k_1", session=child), origin())
    await store.submit(interrupt(parent), origin())
    await store.tick(parent)
    vanished = inputs.ChildStep(
        child_session="s_never", child_run="r_9", agent="echo", status="started"
    )
    await send(store, parent)
    one = await attempt(store)
    await one.step(vanished)
    await store.submit(interrupt(parent), origin())
    await store.tick(parent)


# --- snapshots, cache, counters


async def test_the_end_of_a_run_leaves_a_snapshot_to_load_from(store: Store) -> None:
    trimming = Store(store.broker, snapshots=Snapshots(store.broker, keep_events=0))
    name = await created(trimming, SLOW)
    await send(trimming, name)
    await attempt(trimming)
    await trimming.submit(interrupt(name), origin())
    loaded = await store.broker.load(name)
    assert loaded.snapshot_seq == loaded.head.seq == 5
    assert loaded.events in ((), [])
    for reader in (trimming, store, Store(store.broker)):
        await assert_true(reader, name)
    await send(Store(store.broker), name)
    await assert_true(trimming, name)


async def test_appended_events_are_counted(store: Store) -> None:
    counts: list[int] = []
    counting = Store(store.broker, appended=counts.append)
    name = await created(counting)
    await send(counting, name)
    await send(counting, name, if_busy="enqueue")
    one = await attempt(counting)
    await one.step(inputs.StartMessage(message="m_x"))
    await one.stream([delta(store, "m_x")] * 3)
    await counting.submit(cmd.SessionDelete(id="k_1", session=name), origin())
    assert counts == [1, 2, 1, 1, 1, 3, 4]


async def test_stream_events_may_come_between_load_and_append(replicas: Replicas) -> None:
    name = await created(replicas.b)
    await send(replicas.b, name)
    one = await attempt(replicas.b)
    await one.step(inputs.StartMessage(message="m_2"))
    faults = Faults(replicas.a.broker)
    store = Store(faults.broker)
    faults.on_append.append(lambda: one.stream([delta(store, "m_2"), delta(store, "m_2", "y")]))
    steered = await send(store, name, "steer", if_busy="steer")
    assert steered.seq == 8, "no conflict: they change nothing that was decided on"
    await assert_true(store, name)
    message = (await store.load(name, DEV)).state.message("m_2")
    assert message is not None
    assert [getattr(p, "text", "") for p in message.parts] == ["xy"]
    assert isinstance((await log(store.broker, name))[-1], ev.MessageAdded)
