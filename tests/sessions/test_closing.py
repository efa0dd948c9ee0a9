"""How runs wait, end and make way: the rules that several decisions share."""

from gateway.sessions import inputs
from gateway.sessions.closing import announce_wait, make_way, open_message, open_things
from gateway.sessions.draft import Draft
from tests.sessions.bench import ASK, READ, Bench, wire


def draft(bench: Bench) -> Draft:
    return Draft(bench.session, bench.clock(), bench.ids, bench.rules)


def test_things_are_open_in_the_order_they_were_asked() -> None:
    bench = Bench(READ, ASK)
    bench.running()
    bench.calls(("rename_page", 1), ("read_heading", 2), ("read_heading", 3))
    bench.ask()
    assert open_things(draft(bench)) == ["c_2", "c_3", "ap_1", "ap_2"]


def test_server_calls_and_streaming_ones_are_not_waited_for() -> None:
    bench = Bench(READ)
    bench.running()
    bench.calls(("search", 1), target="server")
    bench.message()
    bench.step(inputs.StartCall(call="c_9", part=0, name="read_heading", target="client"))
    assert open_things(draft(bench)) == []


def test_a_wait_is_announced_once() -> None:
    bench = Bench(READ)
    bench.running()
    bench.call("read_heading")
    again = draft(bench)
    announce_wait(again)
    assert again.done().events == []


def test_nobody_waits_without_a_run() -> None:
    again = draft(Bench())
    announce_wait(again)
    assert again.done().events == []


def test_the_open_message_is_the_runs_own() -> None:
    bench = Bench()
    bench.running("One")
    run = bench.state.run
    assert open_message(draft(bench), run) is None
    first = bench.message()
    bench.send("steer", if_busy="steer")
    assert open_message(draft(bench), run) == first, "steering comes after it"
    bench.end_message(first)
    assert open_message(draft(bench), run) is None


def test_a_run_without_a_trigger_looks_back_to_the_start() -> None:
    bench = Bench()
    bench.run_start()
    bench.claim_run()
    assert open_message(draft(bench), bench.state.run) is None
    assert bench.message() == open_message(draft(bench), bench.state.run)


def test_nobody_waits_then_nothing_is_claimable() -> None:
    bench = Bench()
    way = draft(bench)
    make_way(way, None, None)
    assert (way.done().claimable_at, way.done().raise_fence) == (None, True)
    assert wire(way.done().events) == []
