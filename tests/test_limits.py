"""A bucket gives its burst, then its rate; strikes add up only within their time."""

import pytest

from gateway.limits import Buckets, Strikes, TokenBucket


class ManualClock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    clock = ManualClock()
    bucket = TokenBucket(rate=2, burst=3, clock=clock)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    clock.now += 0.5
    assert [bucket.take() for _ in range(2)] == [True, False]
    clock.now += 3_600
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]


def test_what_is_refused_costs_nothing() -> None:
    clock = ManualClock()
    bucket = TokenBucket(rate=1, burst=2, clock=clock)
    assert not bucket.take(3)
    assert bucket.take(2)
    assert not bucket.take(0.5)


@pytest.mark.parametrize(("gap", "too_many"), [(1.0, True), (30.0, True), (31.0, False)])
def test_strikes_count_within_their_time(gap: float, too_many: bool) -> None:
    clock = ManualClock()
    strikes = Strikes(limit=3, within_s=60, clock=clock)
    assert not strikes.strike()
    clock.now += gap
    assert not strikes.strike()
    clock.now += gap
    assert strikes.strike() is too_many


def test_each_has_a_bucket_of_its_own() -> None:
    clock = ManualClock()
    buckets = Buckets[str](rate=1, burst=2, clock=clock)
    assert [buckets.take("a") for _ in range(3)] == [True, True, False]
    assert not buckets.has("a")
    assert buckets.has("b")
    assert buckets.take("b")
    clock.now += 1
    assert buckets.has("a")
    assert buckets.take("a")


def test_only_those_used_last_are_remembered() -> None:
    buckets = Buckets[str](rate=1, burst=1, most=2, clock=ManualClock())
    assert buckets.take("a")
    assert buckets.take("b")
    assert not buckets.take("a")  # used again: b is the oldest now
    assert buckets.take("c")
    assert len(buckets) == 2
    assert not buckets.has("a")
    assert buckets.take("b")
