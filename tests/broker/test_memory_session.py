"""What a session in memory keeps: seqs stay with their events when older ones go."""

import math

from gateway.broker.base import Head
from gateway.broker.memory_session import MemorySession


def session(*sizes: int) -> MemorySession:
    """One whose event n is of so many bytes, and was stored at second n."""
    made = MemorySession(owner="o", agent="a", epoch="e", seq=len(sizes))
    made.events = [b"x" * size for size in sizes]
    made.times = [float(second) for second in range(1, len(sizes) + 1)]
    return made


def test_events_keep_their_seqs() -> None:
    one = session(1, 2, 3)
    assert [seq for seq, _ in one.after(0)] == [1, 2, 3]
    one.trim(2)
    one.trim(1)  # gone already
    assert list(one.after(0)) == list(one.after(2)) == [(3, b"xxx")]
    assert list(one.after(3)) == []
    assert one.times == [3.0]
    assert one.head == Head("e", 3, 0, 0)


def test_what_is_too_much() -> None:
    one = session(5, 5, 5, 5)
    assert one.too_much(4, None, -math.inf) == 0
    assert one.too_much(4, 10, -math.inf) == 2  # the newest that reach the size stay
    assert one.too_much(4, 11, -math.inf) == 1
    assert one.too_much(4, None, 3.0) == 2
    assert one.too_much(2, 0, -math.inf) == 2  # those after the snapshot are not looked at
    one.trim(2)
    assert one.too_much(4, 5, -math.inf) == 3
