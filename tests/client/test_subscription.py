"""A place in a session."""

import math
from typing import Any

from gateway.client.subscription import ACK_FRAMES, ACK_MS, HELLO, Subscription, Verdict, Wishes
from protocol.commands import Ack


def placed(seq: int = 5, granted: str = "full") -> Subscription:
    """One that was told the state at `seq`."""
    one = Subscription("s_1", Wishes())
    one.await_answer("k_1")
    told = one.subscribed("k_1", recovered=False, epoch="e_1", seq=seq, granted=granted)
    assert told == "reset"
    return one


def test_events_count_once_and_in_order() -> None:
    one = placed()
    verdicts = [one.receive(seq, None, 0) for seq in (6, 6, 5, 7)]
    apply, drop = Verdict.APPLY, Verdict.DROP
    assert verdicts == [apply, drop, drop, apply]
    assert one.seq == 7


def test_a_merged_one_that_straddles_is_lost() -> None:
    assert placed().receive(8, 5, 0) is Verdict.LOST
    assert placed().receive(8, 6, 0) is Verdict.APPLY
    assert placed().receive(5, 4, 0) is Verdict.DROP


def test_holes_are_losses_where_it_is_dense_alone() -> None:
    assert placed(granted="full").receive(7, None, 0) is Verdict.LOST
    assert placed(granted="steps").receive(7, None, 0) is Verdict.APPLY
    assert placed(granted="full").skip(6) is Verdict.LOST
    quiet = placed(granted="steps")
    assert quiet.skip(9) is Verdict.DROP
    assert quiet.seq == 9


def test_nothing_counts_until_the_request_is_answered() -> None:
    one = placed()
    one.await_answer("k_2")
    assert one.receive(6, None, 0) is Verdict.DROP
    fields: dict[str, Any] = {"recovered": True, "epoch": "e_1", "seq": 5, "granted": "full"}
    assert one.subscribed("k_1", **fields) == "ignored"
    assert one.receive(6, None, 0) is Verdict.DROP
    assert one.subscribed("k_2", **fields) == "recovered"
    assert one.receive(6, None, 0) is Verdict.APPLY


def test_recovered_elsewhere_is_lost() -> None:
    for other in ({"epoch": "e_2"}, {"seq": 6}, {"granted": "steps"}):
        one = placed()
        one.await_answer(HELLO)
        fields: dict[str, Any] = {
            "recovered": True,
            "epoch": "e_1",
            "seq": 5,
            "granted": "full",
            **other,
        }
        assert one.subscribed(None, **fields) == "lost", other
        assert one.request().after is None


def test_a_detail_that_was_wished_for_goes_on_from_the_place() -> None:
    one = placed()
    one.change(Wishes(detail="answer"))
    one.await_answer("k_2")
    assert (one.request().after, one.request().epoch) == (5, "e_1")
    fields: dict[str, Any] = {"recovered": True, "epoch": "e_1", "seq": 5, "granted": "answer"}
    assert one.subscribed("k_2", **fields) == "recovered"


def test_other_tools_need_a_new_state_unless_everything_is_seen() -> None:
    one = placed(granted="answer")
    one.change(Wishes(tools=("read",)))
    assert one.request().after is None
    full = placed(granted="full")
    full.change(Wishes(tools=("read",)))
    assert full.request().after == 5
    assert full.request().tools == ["read"]


def test_an_outdated_hello_is_no_news() -> None:
    one = placed()
    one.outdated = True
    one.await_answer("k_2")
    fields: dict[str, Any] = {"recovered": False, "epoch": "e_1", "seq": 9, "granted": "steps"}
    assert one.subscribed(None, **fields) == "ignored"
    assert one.seq == 5
    assert one.subscribed(None, **fields) == "reset"  # the next one is news


def test_acks_go_by_count_and_by_time() -> None:
    one = placed()
    assert one.ack(0) is None
    one.receive(6, None, 10)
    assert one.ack_at == 10 + ACK_MS
    assert one.ack(10 + ACK_MS - 1) is None
    assert one.ack(10 + ACK_MS) == Ack(session="s_1", seq=6)
    for seq in range(7, 7 + ACK_FRAMES):
        assert one.ack(20) is None
        one.receive(seq, None, 20)
    assert one.ack(20) == Ack(session="s_1", seq=one.seq)
    assert one.ack_at == math.inf
    one.receive(one.seq, None, 30)  # what comes twice is sent twice: it counts towards the window
    assert one.ack(30 + ACK_MS) is not None
