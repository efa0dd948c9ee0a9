"""The busy sessions by owner, as values."""

from collections.abc import Sequence

from gateway.broker.occupied import Occupied


def enter(
    busy: Occupied, session: str, version: int = 1, *, now: float = 0.0
) -> Sequence[str] | None:
    return busy.enter("o", session, version, most=2, now=now, until=now + 60, look_s=10)


def test_full_tells_who_is_in_but_not_to_everybody_at_once() -> None:
    busy = Occupied()
    assert enter(busy, "a") is enter(busy, "b") is enter(busy, "a") is None
    assert enter(busy, "c") == ["a", "b"]
    assert enter(busy, "c", now=9.0) == []
    assert enter(busy, "c", now=10.0) == ["a", "b"]


def test_a_later_occupation_outlives_an_earlier_end() -> None:
    busy = Occupied()
    enter(busy, "a", 3)
    enter(busy, "b", 3)
    busy.leave("o", "a", 3)
    assert enter(busy, "c") == ["a", "b"]
    busy.leave("o", "a", 4)
    busy.leave("o", "nobody", 4)
    busy.leave("nobody", "a", 4)
    assert enter(busy, "c") is None


def test_all_are_forgotten_in_the_end() -> None:
    busy = Occupied()
    enter(busy, "a")
    enter(busy, "b", now=30.0)
    assert enter(busy, "c", now=89.0) == ["a", "b"]
    assert enter(busy, "c", now=90.0) is None
