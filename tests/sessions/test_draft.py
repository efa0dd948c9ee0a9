"""A decision in the making: folded as it goes, and what an append does besides."""

from gateway.sessions.draft import Draft, Origin
from protocol import events as ev
from tests.sessions.bench import DEV, Bench


def draft(bench: Bench) -> Draft:
    return Draft(bench.session, bench.clock(), bench.ids, bench.rules)


def test_events_are_folded_as_they_are_added() -> None:
    bench = Bench()
    d = draft(bench)
    d.add(ev.RunQueued(time=d.time, run="r_1"))
    assert d.live is None
    assert [run.seq for run in d.state.queue] == [2]
    d.add(ev.RunStarted(time=d.time, run="r_1"))
    assert d.live is not None
    assert bench.session.version == 3
    decision = d.done(run="r_1", existing=True)
    assert [type(event) for event in decision.events] == [ev.RunQueued, ev.RunStarted]
    assert decision.ok == {"run": "r_1", "existing": True}


def test_at_first_an_append_does_nothing_besides() -> None:
    decision = draft(Bench()).done()
    assert decision.events == []
    assert decision.ok == {}
    assert (decision.raise_fence, decision.claimable_at, decision.delete) == (False, None, False)


def test_wake_end_and_delete() -> None:
    bench = Bench()
    d = draft(bench)
    d.wake()
    assert (d.done().claimable_at, d.done().raise_fence) == (bench.clock(), False)
    d.end_attempt(next_at=None)
    assert (d.done().claimable_at, d.done().raise_fence) == (None, True)
    d.delete()
    assert d.done().delete


def test_deadlines_are_texts() -> None:
    assert draft(Bench()).after(1500) == "2026-01-01T00:00:01.500Z"


def test_a_caller_without_a_client_id_has_a_name() -> None:
    assert Origin(DEV, "tab_A").tab == "tab_A"
    assert Origin(DEV, "").tab == "http"
