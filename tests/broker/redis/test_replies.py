from typing import Any

import pytest

from gateway.broker.base import News
from gateway.broker.redis import replies
from gateway.errors import (
    BrokerUnavailable,
    Conflict,
    Duplicate,
    EpochChanged,
    Exists,
    Fenced,
    SessionMissing,
    Trimmed,
)


def entry(first: int, *bodies: bytes) -> list[Any]:
    text = b"\n".join(bodies)
    fields = [b"first", b"%d" % first, b"count", b"%d" % len(bodies), b"bodies", text]
    return [b"%d-0" % (first + len(bodies) - 1), fields]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ([b"missing"], SessionMissing),
        ([b"fenced"], Fenced),
        ([b"conflict"], Conflict),
        ([b"trimmed"], Trimmed),
        ([b"epoch", b"e"], EpochChanged),
        ([b"exists", b"t:o", b"agent", 1], Exists),
        ([b"duplicate", b"digest\n12\n{}\n"], Duplicate),
    ],
)
def test_refusals(reply: list[Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        replies.accepted(reply)


def test_unknown_answer_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        replies.accepted([b"what"])


def test_answers_may_hold_line_breaks() -> None:
    stored = replies.stored_command("c:1", b"digest\n12\na\nb")
    assert (stored.digest, stored.seq, stored.answer) == ("digest", 12, b"a\nb")


def test_another_sessions_answer_is_no_answer() -> None:
    replies.same_session("s", b"s")
    with pytest.raises(BrokerUnavailable):
        replies.same_session("s", b"t")
    whole = [b"ok", b"t", b"e", 1, 1, 0, b"t:o", b"agent", 0, None, 0, None, []]
    with pytest.raises(BrokerUnavailable):
        replies.loaded("s", whole, "")


def test_events_of_entries() -> None:
    entries = [entry(3, b"3", b"4"), entry(5, b"5")]
    assert replies.events(entries, 0) == [(3, b"3"), (4, b"4"), (5, b"5")]
    assert replies.events(entries, 3) == [(4, b"4"), (5, b"5")]


def test_damaged_entry() -> None:
    damaged = entry(3, b"3", b"4")
    damaged[1][3] = b"3"
    with pytest.raises(BrokerUnavailable, match="damaged"):
        replies.events([damaged], 0)


def test_news() -> None:
    assert replies.news("s", b"e 3 2 7\na\nb") == News("s", "e", 3, 4, 7, (b"a", b"b"))
    assert replies.news("s", b"e 3 2 7") == News("s", "e", 3, 4, 7, ())
    for text in (b"", b"e 3", b"e x 2 7"):
        with pytest.raises(ValueError):
            replies.news("s", text)
