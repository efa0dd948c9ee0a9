"""When a session that nobody touches is deleted."""

import math

import pytest

from gateway.app import Gateway
from gateway.broker.memory import MemoryBroker
from gateway.runtime.timers import Timers
from gateway.sessions.by_time import first_deadline
from gateway.sessions.draft import Rules
from gateway.sessions.store import Store
from gateway.settings import Settings
from tests.sessions.bench import READ, Bench, ManualClock, e, origin, wire
from tests.sessions.replicas import attempt, created, refused, send, update
from tests.sessions.test_store import interrupt

WEEK_S = 7 * 86_400.0
RULES = Rules(session_ttl_s=WEEK_S)


def test_after_its_time_it_is_deleted() -> None:
    bench = Bench(rules=RULES)
    assert bench.deadline == bench.clock() + WEEK_S == first_deadline(bench.clock(), RULES)
    bench.clock.pass_(WEEK_S - 1)
    assert bench.tick().events == []
    bench.clock.pass_(1)
    decision = bench.tick()
    assert wire(decision.events) == [e("session.deleted")]
    assert decision.delete


def test_never_if_so_set() -> None:
    bench = Bench()
    bench.clock.pass_(1000 * WEEK_S)
    assert (bench.deadline, bench.tick().events) == (None, [])
    assert first_deadline(1.0, Rules()) is None


def test_a_control_event_begins_it_anew() -> None:
    bench = Bench(rules=RULES)
    bench.clock.pass_(WEEK_S - 1)
    bench.send(start=False)
    assert bench.deadline == bench.clock() + WEEK_S
    bench.clock.pass_(2)
    assert bench.tick().events == []


def test_not_while_a_run_waits_or_lives() -> None:
    rules = Rules(run_ttl_s=100 * WEEK_S, session_ttl_s=WEEK_S)
    bench = Bench(READ, rules=rules)
    bench.send()
    bench.clock.pass_(2 * WEEK_S)
    assert wire(bench.tick().events)[0]["activity"] == "waiting_for_worker"
    assert bench.deadline == bench.clock() + 98 * WEEK_S
    bench.claim_run()
    bench.clock.pass_(2 * WEEK_S)
    assert bench.tick().events == []
    bench.complete()
    assert bench.deadline == bench.clock() + WEEK_S


def test_an_expired_run_gives_the_session_its_time_again() -> None:
    bench = Bench(rules=Rules(run_ttl_s=2 * WEEK_S, session_ttl_s=WEEK_S))
    bench.running()
    bench.clock.pass_(2 * WEEK_S)
    decision = bench.tick()
    assert wire(decision.events)[-1]["type"] == "run.failed"
    assert not decision.delete
    assert bench.deadline == bench.clock() + WEEK_S


@pytest.mark.parametrize(("ttl_ms", "ttl_s"), [(60_000, 60.0), (0, math.inf)])
def test_the_setting(ttl_ms: int, ttl_s: float) -> None:
    assert Gateway(Settings(session_ttl_ms=ttl_ms)).store.rules.session_ttl_s == ttl_s


async def test_the_timers_of_any_process_delete_it() -> None:
    clock = ManualClock()
    broker = MemoryBroker(clock)
    store, other = Store(broker, rules=RULES), Store(broker, rules=RULES)
    empty, used, busy = await created(store), await created(store), await created(store)
    await send(store, used)
    await attempt(store)
    await store.submit(interrupt(used), origin())
    await send(store, busy)
    await attempt(store)
    clock.pass_(WEEK_S)
    assert await Timers(other).fire() == 3
    for gone in (empty, used):
        assert (await broker.load(gone)).deleted
        assert await refused(store, interrupt(gone)) == "session.not_found"
    assert not (await broker.load(busy)).deleted, "its run failed just now"
    clock.pass_(WEEK_S)
    await Timers(other).fire()
    assert (await broker.load(busy)).deleted
    clock.pass_(86_401)
    assert await broker.heads([empty, used, busy]) == [None] * 3


async def test_a_command_that_comes_just_before_keeps_it() -> None:
    clock = ManualClock()
    store = Store(MemoryBroker(clock), rules=RULES)
    name = await created(store)
    clock.pass_(WEEK_S)
    await update(store, name, title="mine")
    await store.tick(name)
    assert not (await store.broker.load(name)).deleted


async def test_looking_at_it_keeps_nothing() -> None:
    clock = ManualClock()
    store = Store(MemoryBroker(clock), rules=RULES)
    name = await created(store)
    clock.pass_(WEEK_S)
    await store.load(name, origin().grant)
    await Timers(store).fire()
    assert (await store.broker.load(name)).deleted
