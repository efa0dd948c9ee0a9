"""What is revoked is refused and closed, on every process, whoever heard the word or not."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest

from gateway.auth import Grant
from gateway.broker.memory import MemoryBroker
from gateway.delivery import revocations as module
from gateway.delivery.control import Control
from gateway.delivery.revocations import BOARD, Revocations, Revoke, Unrevoked, revoke
from gateway.delivery.roster import Place, Roster
from gateway.errors import BrokerUnavailable
from protocol.errors import ProtocolError
from protocol.values import Principal
from tests.delivery.test_roster import Tab
from tests.support.inprocess import ManualClock
from tests.support.waiting import eventually

NOW = 1_000_000.0
ANN = Principal("acme", "ann")


def grant(
    subject: str = "ann", tenant: str = "acme", at: float = NOW, token: str | None = None
) -> Grant:
    return Grant(Principal(tenant, subject), "full", issued_at=at, token_id=token)


def revoked(at: float = NOW, **about: str) -> Revoke:
    return Revoke(at=at, until=at + 100, **{"tenant": "acme", **about})


def learnt(*words: Revoke) -> Revocations:
    made = Revocations(MemoryBroker(), Roster())
    for word in words:
        made.learn(word)
    return made


def test_a_subject_with_all_that_it_had_until_then() -> None:
    words = learnt(revoked(subject="ann"))
    assert words.voids(grant())
    assert words.voids(grant(at=NOW - 50, token="t"))
    assert words.voids(grant(at=0))
    assert not words.voids(grant(at=NOW + 1))
    assert not words.voids(grant("bob"))
    assert not words.voids(grant(tenant="evil"))


def test_a_token_alone() -> None:
    words = learnt(revoked(token_id="t1"))
    assert words.voids(grant(token="t1"))
    assert words.voids(grant("bob", token="t1"))
    assert not words.voids(grant(token="t2"))
    assert not words.voids(grant())
    assert not words.voids(grant(tenant="evil", token="t1"))


def test_a_tenant() -> None:
    words = learnt(revoked())
    assert words.voids(grant())
    assert words.voids(grant("bob", token="t"))
    assert not words.voids(grant("bob", at=NOW + 1))
    assert not words.voids(grant(tenant="evil"))


def test_of_two_the_later_counts_in_whatever_order_they_come() -> None:
    first, second = revoked(subject="ann"), revoked(NOW + 50, subject="ann")
    for order in ((first, second), (second, first)):
        assert learnt(*order).voids(grant(at=NOW + 50))


def test_a_name_is_no_pattern_and_no_other_kind() -> None:
    words = learnt(revoked(subject="*"), revoked(token_id="ann"))
    assert not words.voids(grant())
    assert not words.voids(grant(token="*"))


async def test_an_authenticator_that_refuses_what_was_revoked() -> None:
    class Auth:
        async def authenticate(self, token: str | None) -> Grant:
            return grant(token=token)

    words = learnt(revoked(token_id="t1"))
    words._known.set()
    auth = Unrevoked(Auth(), words)
    assert (await auth.authenticate("t2")).token_id == "t2"
    with pytest.raises(ProtocolError) as refused:
        await auth.authenticate("t1")
    assert refused.value.code == "auth.forbidden"


class Replica:
    """What one process has."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.roster = Roster()
        self.revocations = Revocations(broker, self.roster)
        self.control = Control(broker, self.roster, revocations=self.revocations)

    def join(self, subject: str, token: str | None = None) -> Tab:
        tab = Tab()
        tab.grant = grant(subject, token=token)
        self.roster.enter(tab)
        assert self.roster.join(tab, tab.grant.principal, f"t_{id(tab)}", Place(1.0, "x"))
        return tab


@asynccontextmanager
async def running(*replicas: Replica) -> AsyncGenerator[None]:
    async with asyncio.TaskGroup() as group:
        loops = [r.roster.run() for r in replicas] + [r.revocations.run() for r in replicas]
        tasks = [group.create_task(loop) for loop in loops]
        yield
        for task in tasks:
            task.cancel()


def closes(tab: Tab) -> list[str]:
    return [word for word in tab.told if word != "tick"]


def test_who_is_connected_is_looked_at_once_a_second() -> None:
    """At the first word at once; of a flood of them the rest waits for the roster's tick."""
    clock = ManualClock()
    roster = Roster()
    words = Revocations(MemoryBroker(), roster, clock)
    tabs = [Tab() for _ in range(3)]
    for n, tab in enumerate(tabs):
        tab.grant = grant(f"s{n}")
        roster.enter(tab)
    words.learn(revoked(subject="s0"))
    words.learn(revoked(subject="s1"))
    assert [tab.told for tab in tabs] == [["4403"], [], []]
    clock.now += 1
    words.learn(revoked(subject="s2"))
    assert [tab.told[-1:] for tab in tabs] == [["4403"]] * 3


async def test_it_reaches_every_process_at_once() -> None:
    broker = MemoryBroker(ManualClock(NOW))
    here, there = Replica(broker), Replica(broker)
    ann, bob = there.join("ann"), there.join("bob")
    async with running(here, there):
        await here.revocations.known()
        await revoke(broker, revoked(subject="ann"))
        await eventually(lambda: closes(ann) == ["4403"], within=2)
        assert closes(bob) == []
        assert here.revocations.voids(grant())


class Deaf(MemoryBroker):
    """No word gets through, and the board cannot be read while it is `away`."""

    away = False

    async def publish_control(self, message: bytes) -> None:
        raise BrokerUnavailable

    async def posted(self, board: str) -> Sequence[bytes]:
        if self.away:
            raise BrokerUnavailable
        return await super().posted(board)


async def test_who_missed_the_word_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.05)
    broker = Deaf(ManualClock(NOW))
    there = Replica(broker)
    ann = there.join("ann", token="t1")
    async with running(there):
        await there.revocations.known()
        await broker.post(BOARD, b"of another version", until=NOW + 100)
        await revoke(broker, revoked(token_id="t1"))
        await eventually(lambda: closes(ann) == ["4403"], within=3)


async def test_it_is_known_from_the_start_or_nobody_is_let_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.05)
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    broker = Deaf(ManualClock(NOW))
    await revoke(broker, revoked(subject="ann"))
    broker.away = True
    late = Replica(broker)
    async with running(late):
        with pytest.raises(ProtocolError) as refused:
            await late.revocations.known()
        assert refused.value.code == "auth.unavailable"
        broker.away = False
        await eventually(late.revocations._known.is_set)
        assert late.revocations.voids(grant())


async def test_what_no_token_can_be_any_more_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.02)
    clock = ManualClock(NOW)
    broker = MemoryBroker(clock)
    replica = Replica(broker)
    async with running(replica):
        await revoke(broker, revoked(subject="ann"))
        await eventually(lambda: replica.revocations.voids(grant()))
        clock.now += 101
        await eventually(lambda: not replica.revocations._words)
        assert await broker.posted(BOARD) == []
