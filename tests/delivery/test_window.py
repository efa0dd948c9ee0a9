"""Frames in flight, counted like a list of their seqs would."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.window import MAX_WINDOW, Window

# (how many seqs a step covers, whether they are one merged frame), or an ack of so much behind
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("run"), st.integers(1, 5)),
        st.tuples(st.just("merged"), st.integers(1, 5)),
        st.tuples(st.just("hidden"), st.integers(1, 5)),
        st.tuples(st.just("ack"), st.integers(0, 12)),
    )
)


@given(STEPS)
def test_it_counts_frames_not_seqs(steps: list[tuple[str, int]]) -> None:
    window, seq, unacked = Window(100), 0, list[int]()
    for step, n in steps:
        match step:
            case "run":
                window.sent(seq + 1, seq + n)
                unacked += range(seq + 1, seq + n + 1)
            case "merged":
                window.sent(seq + n, seq + n)
                unacked.append(seq + n)
            case "ack":
                up_to = max(0, seq - n)
                window.ack(up_to)
                unacked = [s for s in unacked if s > up_to]
            case _:
                pass
        seq += 0 if step == "ack" else n
        assert window.room == 100 - len(unacked)


def test_it_is_bounded() -> None:
    assert Window(10**6).room == MAX_WINDOW
