"""The ledger's fold beside the state's, and snapshots of both."""

import msgspec
import pytest

from gateway.sessions import inputs
from gateway.sessions.session import (
    ORPHAN_MEMORY_S,
    Session,
    copy,
    from_snapshot,
    new_session,
    to_snapshot,
)
from protocol import events as ev
from protocol.state import fold
from tests.sessions.bench import ASK, OWNER, READ, Bench


def busy_bench() -> Bench:
    """Something of everything."""
    bench = Bench(READ, ASK)
    bench.running("One")
    bench.calls(("read_heading", {"level": 1}), ("rename_page", {"title": "x"}))
    bench.claim("c_1")
    bench.clock.pass_(15)
    bench.tick()
    bench.send("steer", if_busy="steer")
    bench.send("waits", if_busy="enqueue", metadata={"a": [1, None]})
    child = inputs.ChildStep(child_session="s_2", child_run="r_9", agent="echo", status="started")
    bench.step(child)
    bench.claim_run(lost=True)
    bench.say(bench.message(), "Hel")
    return bench


def test_only_control_events_raise_the_version() -> None:
    bench = busy_bench()
    control = [event for event in bench.log if isinstance(event, ev.ControlEvent)]
    assert bench.session.version == len(control) < len(bench.log) == bench.state.seq


def test_a_session_is_a_fold_over_its_log() -> None:
    bench = busy_bench()
    twin = new_session("s_1", "e_1", OWNER)
    for seq, event in enumerate(bench.log, 1):
        twin.apply(event, seq)
    assert twin == bench.session
    fresh = new_session("s_1", "e_1", OWNER).state
    assert fold(fresh, enumerate(bench.log, 1)) == bench.state


def test_a_snapshot_at_any_place_folds_on_identically() -> None:
    bench = busy_bench()
    bench.interrupt()
    session = new_session("s_1", "e_1", OWNER)
    for seq, event in enumerate(bench.log, 1):
        session = from_snapshot(to_snapshot(session), OWNER)
        assert session.snapshot_seq == seq - 1
        session.apply(event, seq)
    session.snapshot_seq = 0
    assert session == bench.session


def test_a_copy_shares_nothing() -> None:
    bench = busy_bench()
    bench.session.fence, bench.session.snapshot_seq = 7, 3
    twin = copy(bench.session)
    assert twin == bench.session
    before = to_snapshot(bench.session)
    twin.apply(ev.RunCancelled(time=bench.time, run="r_1", by="dev"), 99)
    twin.ledger.open_calls["c_1"].released = False
    assert to_snapshot(bench.session) == before


def test_a_snapshot_of_something_else_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        from_snapshot(b'{"state":1}', OWNER)


def test_open_calls_are_found_until_their_result() -> None:
    bench = Bench(READ)
    bench.running()
    call = bench.call("read_heading")
    assert bench.session.open_call(call) is bench.state.calls[call]
    assert bench.session.open_call("c_9") is None
    bench.result(call)
    assert bench.session.open_call(call) is None


def test_steering_is_unread_until_a_message_reads_it() -> None:
    bench = Bench()
    bench.running("One")
    for content in ("a", "b"):
        bench.send(content, if_busy="steer")
    assert bench.session.ledger.unread == ["m_2", "m_3"]
    bench.message(read=["m_2"])
    assert bench.session.ledger.unread == ["m_3"]


def test_the_first_message_is_no_steering() -> None:
    bench = Bench()
    bench.running("One")
    assert bench.session.ledger.unread == []


def test_what_is_rewound_is_forgotten() -> None:
    bench = Bench(READ)
    bench.running("One")
    bench.call("read_heading")
    bench.interrupt()
    bench.send("Again", after="m_1")
    ledger = bench.session.ledger
    assert (ledger.open_calls, ledger.open_approvals, ledger.unread) == ({}, [], [])
    assert bench.state.calls == {}


def test_runs_are_born_when_queued_and_forgotten_at_their_end() -> None:
    bench = Bench()
    bench.send()
    bench.clock.pass_(3)
    bench.send(if_busy="enqueue")
    assert list(bench.session.ledger.born) == ["r_1", "r_2"]
    bench.interrupt("r_2")
    bench.claim_run()
    bench.complete()
    assert bench.session.ledger.born == {}


def orphaned(bench: Bench, run: str) -> None:
    bench.running(if_busy="interrupt")
    bench.step(inputs.ChildStep(child_session="s_2", child_run=run, agent="echo", status="started"))
    bench.interrupt()


def test_orphans_are_remembered_for_a_while() -> None:
    bench = Bench()
    orphaned(bench, "r_8")
    bench.clock.pass_(ORPHAN_MEMORY_S / 2)
    orphaned(bench, "r_9")
    assert [o.run for o in bench.session.ledger.orphans] == ["r_8", "r_9"]
    bench.clock.pass_(ORPHAN_MEMORY_S / 2)
    bench.send()
    assert [o.run for o in bench.session.ledger.orphans] == ["r_9"]


def test_updated_is_the_time_of_the_last_control_event() -> None:
    bench = Bench()
    bench.running()
    message = bench.message()
    then = bench.time
    bench.clock.pass_(5)
    bench.say(message, "x")
    assert bench.session.ledger.updated == then


def test_an_event_about_nothing_known_changes_only_the_cursor() -> None:
    session: Session = new_session("s_1", "e_1", OWNER)
    session.apply(ev.ToolCallReleased(time="", call="c_9", reason="unclaimed"), 1)
    session.apply(
        ev.RunChild(time="", run="r", child_session="s", child_run="x", agent="a", status="failed"),
        2,
    )
    session.apply(ev.SessionDeleted(time=""), 3)
    session.apply(ev.RunStarted(time="", run="r_9"), 4)
    assert session.ledger.deleted
    assert (session.state.seq, session.version) == (4, 4)
    assert session.ledger.open_calls == {}
