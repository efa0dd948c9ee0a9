"""The feed: dense, bounded, and aware of what it lacks."""

import json
from typing import Any

import pytest

from gateway.broker.base import News
from gateway.delivery.feed import MAX_CALL_NAMES, MAX_VIEWS, CallNames, Entry, Feed
from protocol import events as ev
from protocol.codec import encode
from protocol.detail import View
from protocol.state import Call, State
from protocol.values import CommentaryPart, TextPart
from tests.support.inprocess import TIME, delta

BODY = encode(delta("hello"))
STARTED = ev.RunStarted(time=TIME, run="r_1")


def news(first: int, count: int, *, epoch: str = "e_1", bodies: bool = True) -> News:
    events = [encode(delta(str(first + n))) for n in range(count)] if bodies else []
    return News("s_1", epoch, first, first + count - 1, 0, events)


def seqs(feed: Feed, cursor: int) -> list[int] | None:
    entries = feed.after(cursor)
    return None if entries is None else [entry.seq for entry in entries]


def positioned(seq: int = 0, **options: int) -> Feed:
    feed = Feed("s_1", **options)
    assert feed.begin("e_1", seq)
    return feed


def test_news_is_kept_in_order_and_read_from_any_cursor() -> None:
    feed = positioned(3)
    assert feed.accept(news(4, 3))
    assert feed.accept(news(7, 1))
    assert (feed.first, feed.last) == (4, 7)
    assert seqs(feed, 3) == [4, 5, 6, 7]
    assert seqs(feed, 5) == [6, 7]
    assert seqs(feed, 7) == []
    assert seqs(feed, 9) == []
    assert seqs(feed, 2) is None


def test_what_it_has_already_changes_nothing() -> None:
    feed = positioned()
    feed.accept(news(1, 3))
    assert not feed.accept(news(2, 2))
    assert feed.accept(news(3, 2))
    assert seqs(feed, 0) == [1, 2, 3, 4]
    assert not feed.behind


def published(*events: ev.Event) -> bytes:
    """Bodies as `Feed.hear` takes them."""
    return b"\n{".join(encode(event)[1:] for event in events)


def lively(last: int, **options: int) -> Feed:
    """A feed that has an event."""
    feed = positioned(last - 1, **options)
    assert feed.accept(news(last, 1))
    return feed


@pytest.mark.parametrize("count", [1, 2, 9])
def test_what_is_heard_as_published_is_the_same(count: int) -> None:
    events: list[ev.Event] = [delta(str(n)) for n in range(count - 1)]
    events.append(ev.Custom(time=TIME, name="n", value={"provider": {"a": 1}}))
    heard, accepted = lively(8, max_events=4), lively(8, max_events=4)
    assert heard.hear(b"e_1", b"9", b"%d" % count, published(*events))
    bodies = [encode(event) for event in events]
    assert accepted.accept(News("s_1", "e_1", 9, 8 + count, 0, bodies))
    assert list(heard.ring) == list(accepted.ring)
    assert (heard.first, heard.last, heard.behind) == (accepted.first, 8 + count, False)
    assert heard.hear(b"e_1", b"%d" % (9 + count), b"1", published(delta("on")))
    assert not heard.behind


@pytest.mark.parametrize(
    ("epoch", "first", "count", "text"),
    [
        pytest.param(b"e_2", b"9", b"1", published(delta("a")), id="another epoch"),
        pytest.param(b"", b"9", b"1", published(delta("a")), id="no epoch"),
        pytest.param(b"e_1", b"10", b"1", published(delta("a")), id="a jump"),
        pytest.param(b"e_1", b"8", b"1", published(delta("a")), id="a repeat"),
        pytest.param(b"e_1", b"+9", b"1", published(delta("a")), id="no seq of ours"),
        pytest.param(b"e_1", b"9", b"1", b"", id="a header alone"),
        pytest.param(b"e_1", b"9", b"3", b"", id="a header alone of several"),
        pytest.param(b"e_1", b"9", b"3", published(delta("a"), delta("b")), id="one is missing"),
        pytest.param(b"e_1", b"9", b"1", published(STARTED), id="a run begins"),
        pytest.param(b"e_1", b"9", b"2", published(delta("a"), STARTED), id="and then one"),
    ],
)
def test_what_is_not_usual_is_left_alone(
    epoch: bytes, first: bytes, count: bytes, text: bytes
) -> None:
    feed = lively(8)
    before = list(feed.ring)
    assert not feed.hear(epoch, first, count, text)
    assert (feed.last, feed.heard, list(feed.ring), feed.live) == (8, 8, before, False)


def test_the_first_event_of_a_silent_feed_is_not_heard_as_published() -> None:
    feed = positioned(8)
    assert not feed.hear(b"e_1", b"9", b"1", published(delta("a")))
    assert feed.accept(news(9, 1))
    assert feed.hear(b"e_1", b"10", b"1", published(delta("b")))
    feed.restart("e_2", 3)
    assert not feed.hear(b"e_1", b"4", b"1", published(delta("a")))
    assert not feed.hear(b"e_2", b"4", b"1", published(delta("a")))
    assert feed.accept(News("s_1", "e_2", 4, 4, 0, [encode(delta("a"))]))
    assert seqs(feed, 3) == [4]


def test_nothing_is_heard_as_published_by_one_that_must_look() -> None:
    unbegun, doubting, behind = Feed("s_1"), positioned(), positioned()
    doubting.doubt()
    behind.accept(news(2, 1))
    for feed in (unbegun, doubting, behind):
        assert not feed.hear(feed.epoch.encode(), b"1", b"1", published(delta("a")))
        assert feed.last == 0


@pytest.mark.parametrize(
    "lossy",
    [
        pytest.param(news(3, 1), id="a jump"),
        pytest.param(news(1, 5, bodies=False), id="a header only"),
        pytest.param(News("s_1", "", 0, 0, 0, ()), id="the listener was deaf"),
        pytest.param(news(1, 1, epoch="e_2"), id="another epoch"),
    ],
)
def test_it_knows_that_it_is_behind(lossy: News) -> None:
    feed = positioned()
    assert not feed.accept(lossy)
    assert feed.behind
    assert seqs(feed, 0) == []


def test_the_log_fills_a_gap() -> None:
    feed = positioned()
    feed.accept(news(4, 2))
    assert feed.extend([(n, BODY) for n in range(1, 4)])
    assert feed.behind
    assert feed.extend([(n, BODY) for n in range(3, 6)])
    assert not feed.behind
    assert seqs(feed, 0) == [1, 2, 3, 4, 5]


def test_news_before_the_position_is_known_is_not_lost() -> None:
    feed = Feed("s_1")
    feed.accept(news(5, 1))
    assert feed.begin("e_1", 4)
    assert seqs(feed, 4) == [5]
    feed = Feed("s_1")
    feed.accept(news(5, 1, bodies=False))
    assert feed.begin("e_1", 4)
    assert feed.behind


def test_another_epoch_has_to_be_settled_first() -> None:
    feed = positioned(5)
    assert not feed.begin("e_2", 1)
    feed.restart("e_2", 1)
    assert feed.begin("e_2", 1)
    assert feed.last == 1
    feed.lose()
    assert feed.epoch != "e_2"
    assert feed.begin("e_3", 7)
    assert (feed.epoch, feed.last) == ("e_3", 7)


def test_it_is_bounded_by_count_and_by_bytes() -> None:
    feed = positioned(max_events=3)
    feed.accept(news(1, 10))
    assert (feed.first, feed.last) == (8, 10)
    feed = positioned(max_bytes=500)
    feed.accept(news(1, 10))
    assert 1 < feed.last + 1 - feed.first < 5
    feed.extend([(11, encode(delta("x" * 1000)))])
    assert seqs(feed, 10) == [11]
    assert feed.first == 11


def test_it_knows_whether_a_run_is_at_work() -> None:
    feed = positioned()
    kinds: list[tuple[ev.Event, bool]] = [
        (ev.RunQueued(time=TIME, run="r_1"), False),
        (ev.RunStarted(time=TIME, run="r_1"), True),
        (ev.RunActivity(time=TIME, run="r_1", activity="thinking"), True),
        (delta("x"), True),
        (ev.RunCompleted(time=TIME, run="r_1"), False),
        (ev.SessionDeleted(time=TIME), False),
    ]
    for seq, (event, live) in enumerate(kinds, 1):
        feed.extend([(seq, encode(event))])
        assert feed.live is live, event
    assert feed.deleted


# --- entries


def test_a_frame_is_the_body_with_session_and_seq() -> None:
    entry = Entry("s_1", 7, BODY)
    assert json.loads(entry.frame) == {"session": "s_1", "seq": 7, **json.loads(BODY)}


def stored_with_provider(event: ev.Event) -> bytes:
    body = encode(event)
    assert b'"provider"' in body
    return body


@pytest.mark.parametrize(
    "event",
    [
        ev.ToolCallStarted(
            time=TIME, message="m", part=0, call="c", name="n", target="server", provider={"s": 1}
        ),
        ev.MessagePart(time=TIME, message="m", part=0, content=TextPart("x", provider={"id": 1})),
    ],
)
def test_a_providers_data_never_leaves(event: ev.Event) -> None:
    frame = Entry("s_1", 1, stored_with_provider(event)).seen(View("full"), CallNames())
    assert b"provider" not in frame
    assert json.loads(frame)["message"] == "m"


def test_a_key_called_provider_elsewhere_stays() -> None:
    event = ev.SessionCreated(time=TIME, agent="a", metadata={"provider": "acme"})
    entry = Entry("s_1", 1, stored_with_provider(event))
    assert json.loads(entry.frame)["metadata"] == {"provider": "acme"}


def test_of_an_unknown_event_with_a_providers_data_only_its_place_is_seen() -> None:
    """A hole in what is dense would have the client ask again for ever."""
    body = b'{"type":"run.dreamt","time":"x","value":{"provider":"secret"}}'
    frame = Entry("s_1", 7, body).seen(View("full"), CallNames())
    bare = {"session": "s_1", "seq": 7, "type": "run.dreamt", "time": "x"}
    assert json.loads(frame) == bare
    feed = Feed("s_1")
    feed.begin("e_1", 6)
    assert feed.extend([(7, body)])
    assert [json.loads(frame) for frame in feed.ring] == [bare]
    assert Entry("s_1", 7, body).seen(View("steps"), CallNames()) == b""


def test_an_unknown_event_passes_at_full_alone() -> None:
    calls = CallNames()
    entry = Entry("s_1", 1, b'{"type":"run.dreamt","time":"x"}')
    assert entry.seen(View("full"), calls) == entry.frame
    assert entry.seen(View("steps"), calls) == b""


def test_a_filtered_frame_is_made_once_and_shared() -> None:
    event = ev.RunCompleted(time=TIME, run="r_1", usage=ev.Usage(1, 2))
    entry, calls = Entry("s_1", 1, encode(event)), CallNames()
    seen = entry.seen(View("answer"), calls)
    assert b"usage" not in seen
    assert entry.seen(View("answer"), calls) is seen
    part = ev.MessagePart(time=TIME, message="m", part=0, content=CommentaryPart("hm"))
    entry = Entry("s_1", 1, encode(part))
    assert b"hidden" in entry.seen(View("answer"), calls)
    assert entry.seen(View("steps"), calls) is entry.frame


def test_calls_are_known_from_state_and_from_events() -> None:
    calls = CallNames()
    call: dict[str, Any] = {"run": "r", "message": "m", "arguments": "", "status": "claimed"}
    known = Call(id="c_1", name="read", target="client", **call)
    calls.learn(State(session="s_1", calls={"c_1": known}))
    started = ev.ToolCallStarted(
        time=TIME, message="m", part=0, call="c_2", name="write", target="client"
    )
    calls.note(Entry("s_1", 5, encode(started)))
    assert calls.get("c_1") == ("read", "client")
    assert calls.get("c_2") == ("write", "client")
    assert calls.get("c_3") is None
    done = Entry("s_1", 6, encode(ev.ToolCallCompleted(time=TIME, call="c_2", output=1)))
    assert done.seen(View("answer", ["write"]), calls) == done.frame
    assert done.seen(View("answer", ["read"]), calls) == b""


def test_what_was_made_for_views_is_bounded() -> None:
    feed = positioned()
    for n in range(3 * MAX_VIEWS):
        feed.accept(news(n + 1, 1))
        view = View("answer", [f"tool_{n}"])
        assert feed.chunk(n, view) is not None
        assert len(feed._seen) <= MAX_VIEWS
        entries = feed.after(0)
        assert entries
        assert entries[0].seen(view, feed.calls)
        assert len(entries[0]._views or ()) <= MAX_VIEWS


def test_call_names_are_bounded() -> None:
    calls = CallNames()
    for n in range(MAX_CALL_NAMES + 1):
        body = encode(
            ev.ToolCallStarted(
                time=TIME, message="m", part=0, call=f"c_{n}", name="x", target="client"
            )
        )
        calls.note(Entry("s_1", n + 1, body))
    assert calls.get("c_0") is None
    assert calls.get("c_1") is not None
