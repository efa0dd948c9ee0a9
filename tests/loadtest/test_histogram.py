"""The histogram against the same values, sorted."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.histogram import LONGEST_US, Histogram
from loadtest.result import Latency


def of(values: list[int]) -> Latency:
    histogram = Histogram()
    histogram.record_many(values)
    found = histogram.latency()
    assert found is not None
    return found


def exact(values: list[int], quantile: float) -> int:
    return sorted(values)[max(0, math.ceil(quantile * len(values) - 1e-9) - 1)]


def test_nothing_recorded_is_no_latency() -> None:
    assert Histogram().latency() is None


def test_one_to_a_thousand() -> None:
    found = of(list(range(1, 1001)))
    assert (found.count, found.min_us, found.mean_us, found.max_us) == (1000, 1, 500.5, 1000)
    assert (found.p50_us, found.p90_us, found.p99_us, found.p999_us) == (500, 900, 990, 999)
    assert found.at(0) == 1
    assert found.at(1) == 1000


@given(st.lists(st.integers(0, LONGEST_US), min_size=1, max_size=300), st.floats(0, 1))
def test_a_percentile_is_within_a_thousandth(values: list[int], quantile: float) -> None:
    found, wanted = of(values).at(quantile), exact(values, quantile)
    assert wanted <= found <= wanted * 1.001


@given(st.lists(st.integers(-5, 2 * LONGEST_US), min_size=1, max_size=100))
def test_one_by_one_or_many_is_the_same(values: list[int]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    one_by_one = histogram.latency()
    assert one_by_one is not None
    assert one_by_one.buckets == of(values).buckets
    assert one_by_one.mean_us == pytest.approx(of(values).mean_us)
    assert 0 <= one_by_one.min_us <= one_by_one.max_us <= LONGEST_US


def test_merged_distributions_are_those_of_all_values() -> None:
    chance = random.Random(7)
    values = [int(chance.lognormvariate(6, 2)) for _ in range(5000)]
    merged = Histogram()
    for i in range(4):
        merged.merge(of(values[i::4]))
    merged.merge(None)
    found, whole = merged.latency(), of(values)
    assert found is not None
    assert found.buckets == whole.buckets
    assert (found.count, found.min_us, found.max_us) == (5000, min(values), max(values))
    assert (found.p50_us, found.p999_us) == (whole.p50_us, whole.p999_us)
    assert found.mean_us == pytest.approx(whole.mean_us)


def test_buckets_are_as_many_as_values_need_and_add_up() -> None:
    found = of([10] * 5 + [20] * 3 + [59_999_999])
    assert found.buckets[:2] == ((10, 5), (20, 3))
    upper, count = found.buckets[2]
    assert (count, found.at(1)) == (1, 59_999_999)
    assert 59_999_999 <= upper <= 59_999_999 * 1.001
