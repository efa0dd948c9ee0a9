"""From stored bytes to sessions, and when a snapshot is written."""

import pytest

from gateway.broker.base import Head, Loaded
from gateway.broker.memory import MemoryBroker
from gateway.errors import BrokerUnavailable
from gateway.sessions.loading import Snapshots, fold_loaded, fold_on, settle
from gateway.sessions.session import new_session, to_snapshot
from gateway.sessions.store import Store
from protocol.codec import encode
from tests.sessions.bench import OWNER, Bench
from tests.sessions.replicas import created, send


def loaded(bench: Bench, *, snapshot: bytes | None = None, after: int = 0) -> Loaded:
    stored = [(seq, encode(event)) for seq, event in enumerate(bench.log, 1)]
    return Loaded(
        head=Head("e_1", len(stored), bench.session.version, 3),
        owner=OWNER,
        agent="scripted",
        snapshot=snapshot,
        snapshot_seq=after,
        events=stored[after:],
        command=None,
    )


def test_a_session_is_folded_from_its_events() -> None:
    bench = Bench()
    bench.running()
    session = fold_loaded("s_1", loaded(bench))
    assert (session.state, session.ledger) == (bench.state, bench.session.ledger)
    assert (session.version, session.fence, session.owner) == (bench.session.version, 3, OWNER)


def test_a_session_is_folded_from_a_snapshot_and_the_rest() -> None:
    bench = Bench()
    bench.running()
    shot, after = to_snapshot(bench.session), bench.state.seq
    bench.say(bench.message(), "x")
    session = fold_loaded("s_1", loaded(bench, snapshot=shot, after=after))
    assert (session.state, session.snapshot_seq) == (bench.state, after)


def test_an_event_of_a_newer_version_moves_the_cursor_and_no_more() -> None:
    session = new_session("s_1", "e_1", OWNER)
    before = to_snapshot(session).replace(b'"seq":0', b'"seq":1')
    fold_on(session, [(1, b'{"type":"session.painted","time":"x","colour":"red"}')])
    assert to_snapshot(session) == before


def test_where_the_log_stands_only_the_broker_knows() -> None:
    bench = Bench()
    session = new_session("s_1", "e_0", OWNER)
    assert settle(session, loaded(bench)) is session
    assert (session.state.epoch, session.version, session.fence) == ("e_1", 1, 3)


@pytest.mark.parametrize("snapshot", [b"{", b'{"state":{}}', b"null"])
def test_a_snapshot_that_cannot_be_read(snapshot: bytes) -> None:
    with pytest.raises(BrokerUnavailable):
        fold_loaded("s_1", loaded(Bench(), snapshot=snapshot, after=1))


def test_a_snapshot_of_another_session_is_never_taken() -> None:
    bench = Bench()
    shot = to_snapshot(bench.session)
    with pytest.raises(BrokerUnavailable):
        fold_loaded("s_2", loaded(bench, snapshot=shot, after=1))


async def test_snapshots_are_written_when_due() -> None:
    broker = MemoryBroker()
    store = Store(broker)
    name = await created(store)
    await send(store, name)
    snapshots = Snapshots(broker, every=3, keep_events=1)
    session = fold_loaded(name, await broker.load(name))
    session.snapshot_seq = 1
    await snapshots.after(session, ended=False)
    assert (await broker.load(name)).snapshot is None
    await snapshots.after(session, ended=True)
    assert (await broker.load(name)).snapshot_seq == session.snapshot_seq == 3
    session.snapshot_seq = 0
    await snapshots.after(session, ended=False)
    assert session.snapshot_seq == 3


async def test_a_snapshot_that_fails_is_no_failure_of_the_append() -> None:
    class Deaf(MemoryBroker):
        async def put_snapshot(self, *_: object, **__: object) -> bool:
            raise BrokerUnavailable

    broker = Deaf()
    store = Store(broker)
    name = await created(store)
    session = fold_loaded(name, await broker.load(name))
    await Snapshots(broker).after(session, ended=True)
    assert (await broker.load(name)).snapshot is None
