import math

from hypothesis import given
from hypothesis import strategies as st

from gateway.broker.schedule import SLACK, Due, Schedule


def test_earliest_first() -> None:
    schedule = Schedule()
    assert schedule.first() is None
    schedule.set("a", 3.0)
    schedule.set("b", 2.0)
    assert schedule.first() == Due(2.0, "b")
    schedule.set("b", 4.0)
    assert schedule.first() == Due(3.0, "a")
    assert (schedule.get("a"), schedule.get("c")) == (3.0, math.inf)
    schedule.discard("a")
    schedule.discard("a")
    assert (schedule.first(), len(schedule)) == (Due(4.0, "b"), 1)


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([1.0, 2.0, 3.0, math.inf])), max_size=50
    )
)
def test_is_a_mapping_with_a_minimum(changes: list[tuple[str, float]]) -> None:
    schedule, model = Schedule(), dict[str, float]()
    for key, at in changes:
        schedule.set(key, at)
        model[key] = at
        model = {key: at for key, at in model.items() if at != math.inf}
        first = schedule.first()
        assert (first and first.at) == min(model.values(), default=None)
        assert first is None or model[first.key] == first.at
        assert len(schedule) == len(model)


def test_outdated_entries_do_not_gather() -> None:
    schedule = Schedule()
    for at in range(10_000):
        schedule.set("a", float(at))
        assert len(schedule._heap) <= SLACK + 2
