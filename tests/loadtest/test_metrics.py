"""Repetitions, their medians and the names of what differs."""

from loadtest.metrics import (
    ALL_CPU,
    P99,
    SERVER_CPU,
    TOKEN_CPU,
    Group,
    grouped,
    labels,
    own_metrics,
)
from tests.loadtest.measured import result, through_redis


def test_repetitions_are_grouped_in_the_order_they_came() -> None:
    mixed = [result(us=1.0), through_redis(), result(us=3.0), result(us=2.0)]
    groups = list(grouped(mixed).values())
    assert [len(group.results) for group in groups] == [3, 1]
    assert groups[0].median(SERVER_CPU) == 2.0
    assert groups[0].middle is mixed[3]


def test_an_even_number_has_a_real_result_in_the_middle() -> None:
    group = Group((result(us=4.0), result(us=1.0)))
    assert group.median(SERVER_CPU) == 2.5
    assert group.middle.server_us_per_event == 1.0


def test_what_was_not_measured_has_no_figure() -> None:
    group = Group((result(latency=None),))
    assert group.median(P99) is None
    assert group.median(ALL_CPU) is None
    assert group.median(TOKEN_CPU) is None
    assert group.values(P99) == []


def test_a_token_has_a_cost_of_its_own_where_tokens_are_merged() -> None:
    assert TOKEN_CPU.of(through_redis(tokens=2_000_000)) is not None
    assert TOKEN_CPU.of(through_redis(tokens=1_000_000)) is None


def test_a_scenarios_own_figures_are_metrics() -> None:
    (metric,) = own_metrics([result(), through_redis()])
    assert metric.of(result()) is None
    assert metric.text(metric.of(through_redis())) == "27.6 KiB"


def test_labels_name_only_what_differs() -> None:
    groups = [
        Group((result(),)),
        Group((result(target="redis", workers=1), result(target="redis", workers=1))),
        Group((result(options={"subscribers": 1000, "outstanding": 16}, load=1000.0),)),
    ]
    assert labels(groups) == [
        "memory, workers 0, subscribers 100",
        "redis, workers 1, subscribers 100, median of 2",
        "memory, workers 0, subscribers 1000",
    ]
    assert labels(groups[:1]) == ["memory"]


def test_a_load_that_is_no_option_is_told() -> None:
    groups = [Group((result(load=float(n), load_name="sockets"),)) for n in (1, 2)]
    assert labels(groups) == ["memory, sockets 1", "memory, sockets 2"]
