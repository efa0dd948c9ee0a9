"""Sessions at their heads: for who may, cached or not, and each in its turn."""

import asyncio
from typing import Any

import pytest

from gateway.auth import Grant
from gateway.broker.base import Asker, Broker, Loaded
from gateway.broker.memory import MemoryBroker
from gateway.errors import BrokerUnavailable
from gateway.sessions.access import Action, Facts, Ownership, owner_key
from gateway.sessions.cache import SessionCache
from gateway.sessions.draft import Origin
from gateway.sessions.loading import Snapshots
from gateway.sessions.store import Store
from protocol import commands as cmd
from protocol.errors import ProtocolError
from protocol.values import Principal
from tests.sessions.bench import DEV, origin
from tests.sessions.conftest import Replicas
from tests.sessions.replicas import Faults, assert_true, created, send, update
from tests.support.waiting import eventually

ANN, BOB = Principal("acme", "ann"), Principal("acme", "bob")


@pytest.fixture
def store(replicas: Replicas) -> Store:
    return replicas.a


class Support(Ownership):
    """Subjects whose name begins with `support-` may read their whole tenant."""

    def allows(self, grant: Grant, action: Action, facts: Facts) -> bool:
        helps = grant.principal.subject.startswith("support-")
        return super().allows(grant, action, facts) or (helps and action == "read")


class Counting(MemoryBroker):
    loads = 0

    async def load(self, session: str, **options: Any) -> Loaded:
        self.loads += 1
        return await super().load(session, **options)


async def made(broker: Broker, **options: Any) -> Store:
    store = Store(broker, **options)
    create = cmd.SessionCreate(id="k", agent="scripted", session="s_1", metadata={"a": 1})
    await store.submit(create, Origin(Grant(ANN, "full"), ""))
    return store


async def test_an_authorizer_may_let_more_in() -> None:
    store = await made(MemoryBroker(), authorizer=Support())
    helper = Grant(Principal("acme", "support-1"), "full")
    assert (await store.load("s_1", helper)).state.metadata == {"a": 1}
    with pytest.raises(ProtocolError, match=r"auth\.forbidden"):
        await store.submit(cmd.MessageSend(id="k", session="s_1", content="x"), Origin(helper, ""))
    for stranger in (Grant(BOB, "full"), Grant(Principal("evil", "support-1"), "full")):
        with pytest.raises(ProtocolError, match=r"session\.not_found"):
            await store.load("s_1", stranger)


async def test_a_stranger_costs_one_load_and_gets_nothing() -> None:
    broker = Counting()
    store = await made(broker)
    loaded = await broker.load("s_1", asker=Asker(owner_key(BOB)))
    assert (loaded.withheld, loaded.snapshot, loaded.events) == (True, None, ())
    broker.loads = 0
    with pytest.raises(ProtocolError, match=r"session\.not_found"):
        await store.load("s_1", Grant(BOB, "full"))
    assert broker.loads == 1


# --- turns and the cache


async def test_who_waited_while_the_broker_failed_is_told_at_once(store: Store) -> None:
    faults = Faults(store.broker)
    shaky = Store(faults.broker)
    name = await created(store)
    silence = asyncio.Event()

    async def hang() -> None:
        await silence.wait()
        raise BrokerUnavailable("no answer")

    async def fail(number: int) -> None:
        with pytest.raises(BrokerUnavailable):
            await update(shaky, name, number=number)

    faults.on_append.append(hang)
    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(fail(number))
        await eventually(lambda: faults.appends)
        silence.set()
    assert len(faults.appends) == 1
    await update(shaky, name, number=3)
    await assert_true(shaky, name)


async def test_another_incarnation_of_the_log_is_loaded_anew() -> None:
    broker = MemoryBroker()
    store = Store(broker)
    name = await created(store)
    await update(store, name, a=1)
    broker._sessions[name].epoch = "e_other"
    await update(store, name, b=2)
    session = await store.load(name, DEV)
    assert (session.state.epoch, session.state.metadata) == ("e_other", {"a": 1, "b": 2})


async def test_a_cached_session_that_the_log_left_behind_is_loaded_anew(
    replicas: Replicas,
) -> None:
    name = await created(replicas.a)
    await replicas.a.load(name, DEV)
    trimming = Store(replicas.b.broker, snapshots=Snapshots(replicas.b.broker, keep_events=0))
    await send(trimming, name)
    interrupt = cmd.RunInterrupt(id="k_i", session=name)
    await trimming.submit(interrupt, origin())
    await update(trimming, name, a=1)
    await assert_true(replicas.a, name)


async def test_a_store_without_room_for_caching_works(store: Store) -> None:
    tiny = Store(store.broker, cache=SessionCache(max_bytes=0))
    names = [await created(tiny) for _ in range(3)]
    for name in names:
        await send(tiny, name)
    for name in names:
        await assert_true(tiny, name)
