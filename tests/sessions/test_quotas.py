"""How much one subject may have, on all replicas together."""

from typing import Any

import pytest

from gateway.auth import Grant
from gateway.broker.memory import MemoryBroker
from gateway.errors import BrokerUnavailable
from gateway.sessions import inputs, quotas
from gateway.sessions.access import owner_key
from gateway.sessions.draft import Origin
from gateway.sessions.quotas import Quotas
from gateway.sessions.store import Store
from protocol import commands as cmd
from protocol.errors import ProtocolError
from protocol.frames import Ok
from protocol.values import Principal
from tests.sessions.bench import ManualClock
from tests.sessions.conftest import Replicas
from tests.sessions.replicas import attempt, command_id
from tests.support.waiting import eventually


class House:
    """A subject's sessions on two replicas, of which two may have a run."""

    def __init__(self, one: Store, other: Store) -> None:
        limits = Quotas(runs=2, sessions=5)
        self.stores = [Store(s.broker, quotas=limits) for s in (one, other)]
        self.who = Origin(Grant(Principal("local", command_id()), "full"), "tab")

    async def create(self, at: int = 0, **fields: Any) -> str:
        command = cmd.SessionCreate(id=command_id(), agent="scripted", **fields)
        session = (await self.stores[at].submit(command, self.who)).session
        assert session is not None
        return session

    async def send(self, session: str, at: int = 0, **fields: Any) -> Ok:
        command = cmd.MessageSend(id=command_id(), session=session, content="x", **fields)
        return await self.stores[at].submit(command, self.who)

    async def full(self, session: str, at: int = 0) -> None:
        before = await self.stores[at].broker.heads([session])
        with pytest.raises(ProtocolError, match=r"limit\.exceeded"):
            await self.send(session, at)
        assert await self.stores[at].broker.heads([session]) == before


@pytest.fixture
def house(replicas: Replicas) -> House:
    return House(*replicas)


async def test_runs_are_counted_over_replicas(house: House) -> None:
    names = [await house.create() for _ in range(3)]
    await house.send(names[0], 0)
    await house.send(names[1], 1)
    await house.full(names[2], 0)
    await house.full(names[2], 1)
    await house.send(names[0], 1, if_busy="enqueue")  # it is counted already
    await house.send(names[2], start=False)  # no run
    assert (await house.send(names[1], 1, if_busy="steer")).run


async def test_a_run_that_ends_makes_room(house: House) -> None:
    names = [await house.create() for _ in range(3)]
    for name in names[:2]:
        await house.send(name)
    one = await attempt(house.stores[0])
    await one.step(inputs.CompleteRun())
    await house.send(names[2])
    await house.full(one.session.state.session)
    stop = cmd.RunInterrupt(id=command_id(), session=names[2])
    await house.stores[1].submit(stop, house.who)
    await house.send(one.session.state.session)
    await house.full(names[2])
    delete = cmd.SessionDelete(id=command_id(), session=one.session.state.session)
    await house.stores[1].submit(delete, house.who)
    await house.send(names[2])


async def test_what_a_crash_left_is_found_out(house: House) -> None:
    """Reserved, and never begun; begun, and its end never told; gone."""
    names = [await house.create() for _ in range(3)]
    store, owner = house.stores[0], owner_key(house.who.principal)
    broker = store.broker
    assert await broker.occupy(owner, names[0], 1, most=2, ttl_s=60) is None
    assert await broker.occupy(owner, "s_never", 7, most=2, ttl_s=60) is None
    await house.send(names[2])
    await house.send(names[1])
    await house.full(names[0])


async def test_an_agents_children_are_not_counted(house: House) -> None:
    names = [await house.create() for _ in range(2)]
    for name in names:
        await house.send(name)
    store = house.stores[0]
    parent = await store.load(names[0], house.who.grant)
    child, _ = await store.start_child(parent, "echo", None, f"{names[0]}_child")
    assert child == f"{names[0]}_child"


async def test_sessions_of_a_subject(house: House) -> None:
    names = [await house.create(session=command_id()) for _ in range(5)]
    with pytest.raises(ProtocolError, match=r"limit\.exceeded"):
        await house.create()
    with pytest.raises(ProtocolError, match=r"limit\.exceeded"):
        await house.create(at=1)
    again = cmd.SessionCreate(id=command_id(), agent="scripted", session=names[0])
    assert (await house.stores[1].submit(again, house.who)).existing
    await house.stores[0].submit(cmd.SessionDelete(id="k", session=names[0]), house.who)
    broker = house.stores[0].broker

    async def left() -> bool:
        await broker.due_timers(100)  # what takes it out of the list
        return await broker.owned(owner_key(house.who.principal)) == 4

    await eventually(left)
    await house.create()


async def test_an_end_that_cannot_be_told_is_no_failure() -> None:
    class Deaf(MemoryBroker):
        async def vacate(self, owner: str, session: str, version: int) -> None:
            raise BrokerUnavailable

    house = House(Store(Deaf(ManualClock())), Store(Deaf(ManualClock())))
    name = await house.create()
    await house.send(name)
    stop = cmd.RunInterrupt(id=command_id(), session=name)
    await house.stores[0].submit(stop, house.who)
    await quotas.end(house.stores[0].broker, await house.stores[0].load(name, house.who.grant))
