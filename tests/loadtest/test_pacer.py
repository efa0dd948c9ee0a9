"""The schedule: every event has its time, however late it is asked for."""

import pytest

from loadtest.pacer import Schedule


def test_times_are_multiples_of_the_interval() -> None:
    schedule = Schedule([7, 8], 1_000, 500.0)
    due = [each for now in range(0, 11_000, 10) for each in schedule.due(now)]

    assert due == [(7 + i % 2, 500 + 1_000 * i) for i in range(11)]


def test_who_comes_late_gets_all_with_their_own_times() -> None:
    schedule = Schedule([0], 1_000_000, 0.0)

    assert [at for _, at in schedule.due(2_000.0)] == list(range(2_001))
    assert list(schedule.due(2_000.0)) == []


@pytest.mark.parametrize("per_s", [3.0, 7.0, 50_000.0])
def test_nothing_drifts(per_s: float) -> None:
    schedule = Schedule([0], per_s, 0.0)
    late = 0.0
    count = 0
    while count < 10_000:
        late += 37.0  # microseconds that each turn comes too late
        count += sum(1 for _ in schedule.due(schedule.next_us + late))

    assert schedule.next_us == pytest.approx(count * 1e6 / per_s, abs=1)
