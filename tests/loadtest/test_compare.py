"""Two runs: what is matched, which way a ratio goes, and when it is noise."""

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console

from loadtest.compare import (
    Comparison,
    Ratio,
    compare,
    compare_runs,
    remarks,
    show_comparison,
    work,
)
from loadtest.metrics import EVENTS, P50, SERVER_CPU
from loadtest.result import Result
from tests.loadtest.measured import latency, result, run, through_redis


def ratio(comparison: Comparison, name: str = SERVER_CPU.name) -> Ratio:
    (pair,) = comparison.pairs
    return next(each for each in pair.ratios if each.metric.name == name)


def rounds(*us: float, **fields: Any) -> list[Result]:
    return [result(us=each, **fields) for each in us]


def test_half_the_cost_is_twice_as_good() -> None:
    found = ratio(compare(rounds(2.0), rounds(1.0)))
    assert (found.gain, found.verdict, found.told) == (2.0, "better", "▲ 2.00× better")


def test_half_the_rate_is_twice_as_bad() -> None:
    found = ratio(compare(rounds(1.0), rounds(1.0, seconds=10.0)), EVENTS.name)
    assert (found.gain, found.verdict, found.told) == (0.5, "worse", "▼ 2.00× worse")


def test_medians_are_compared() -> None:
    found = ratio(compare(rounds(4.0, 5.0, 90.0), rounds(1.0, 0.9, 1.1)))
    assert (found.before, found.after, found.gain) == (5.0, 1.0, 5.0)


def test_rounds_that_overlap_are_noise() -> None:
    found = ratio(compare(rounds(1.0, 1.2, 1.4), rounds(0.8, 0.9, 1.0)))
    assert (found.overlap, found.verdict, found.told) == (True, "same", "= within noise")


def test_two_rounds_are_too_few_to_call_it_noise() -> None:
    assert ratio(compare(rounds(1.0, 1.4), rounds(0.8, 1.0))).verdict == "better"


@pytest.mark.parametrize(("after", "verdict"), [(1.02, "same"), (0.98, "same"), (1.1, "worse")])
def test_a_difference_of_a_few_percent_is_none(after: float, verdict: str) -> None:
    assert ratio(compare(rounds(1.0), rounds(after))).verdict == verdict


def test_beside_a_zero_there_is_no_ratio() -> None:
    found = Ratio(P50, 0.0, 5.0, overlap=False)
    assert (found.gain, found.verdict, found.told) == (None, "same", "–")


def test_only_the_same_measurements_are_matched() -> None:
    before = [*rounds(1.0), *rounds(1.0, processes=2), *rounds(1.0, target="redis")]
    after = [*rounds(1.0), *rounds(1.0, options={"subscribers": 7}, load=7.0)]
    found = compare(before, after)
    assert [pair.scenario for pair in found.pairs] == ["broadcast"]
    assert found.only_before == ("broadcast, memory, processes 2", "broadcast, redis, processes 1")
    assert len(found.only_after) == 1


def test_peers_are_matched_by_their_work() -> None:
    found = compare(rounds(7.0, target="socket.io"), rounds(0.7), key=work)
    assert ratio(found).gain == pytest.approx(10.0)
    assert compare(rounds(7.0, target="socket.io"), rounds(0.7)).pairs == ()


def test_metrics_that_one_side_lacks_are_left_out() -> None:
    names = {
        each.metric.name for each in compare(rounds(1.0), rounds(1.0, latency=None)).pairs[0].ratios
    }
    assert SERVER_CPU.name in names
    assert P50.name not in names


def test_latency_is_compared_by_percentile() -> None:
    before, after = rounds(1.0, latency=latency(1000)), rounds(1.0, latency=latency(250))
    assert ratio(compare(before, after), P50.name).gain == pytest.approx(4.0, rel=0.02)


def test_what_differs_around_the_results_is_a_doubt() -> None:
    before, after = run(result()), run(result(client_bound=True))
    assert compare_runs(before, before).doubts == ()
    machine = msgspec.structs.replace(after.machine, cpu="another")
    versions = after.versions | {"uvicorn": "0.55.0"}
    other = msgspec.structs.replace(after, machine=machine, versions=versions)
    doubts = compare_runs(before, other).doubts
    assert [each.split(":")[0].split(",")[0] for each in doubts] == [
        "the machines differ",
        "uvicorn",
        "broadcast",
    ]


def test_the_table_tells_better_and_worse_within_100_columns() -> None:
    console = Console(file=io.StringIO())
    before, after = run(result(us=2.0), through_redis(3.0)), run(result(us=1.0), through_redis(4.0))
    show_comparison(compare_runs(before, after), console)
    assert isinstance(console.file, io.StringIO)
    told = console.file.getvalue()
    assert "▲ 2.00× better" in told
    assert "▼ 1.33× worse" in told
    assert max(len(line) for line in told.splitlines()) <= 100


def test_nothing_in_common_is_said() -> None:
    found = compare(rounds(1.0), [through_redis()])
    assert remarks(found) == [
        "only before: broadcast, memory",
        "only after: multiplex, redis",
        "nothing was measured on both sides with the same options",
    ]
