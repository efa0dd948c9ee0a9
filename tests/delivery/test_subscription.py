"""Pulling: every visible event once, in order, whatever is lost, merged, filtered or slow."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.broker.base import News
from gateway.delivery.feed import Entry, Feed
from gateway.delivery.subscription import HIDDEN_IN_A_ROW, Need, Subscription
from protocol import events as ev
from protocol.codec import encode
from protocol.detail import View
from tests.support.inprocess import FACTS, TIME, delta

ROOM = 1 << 20


def feed_with(*events: ev.Event, **options: int) -> Feed:
    feed = Feed("s_1", **options)
    feed.begin("e_1", 0)
    feed.extend((seq, encode(event)) for seq, event in enumerate(events, 1))
    return feed


def subscribed(feed: Feed, detail: Any = "full", cursor: int = 0, **options: Any) -> Subscription:
    return Subscription(feed, View(detail), facts=FACTS, epoch="e_1", cursor=cursor, **options)


def resumed(feed: Feed, after: int, head: int, detail: Any = "full") -> Subscription:
    subscription = subscribed(feed, detail, cursor=after)
    subscription.restart("e_1", after, replay_to=head)
    return subscription


def pulled(subscription: Subscription, room: int = ROOM) -> tuple[list[dict[str, Any]], Need]:
    frames, need = subscription.pull(room, must=True)
    return [json.loads(frame) for frame in frames], need


def told(frames: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(frame["type"], frame["seq"]) for frame in frames]


def test_live_events_go_out_one_by_one() -> None:
    feed = feed_with(delta("a"), delta("b"))
    subscription = subscribed(feed)
    frames, need = pulled(subscription)
    assert (told(frames), need) == ([("message.delta", 1), ("message.delta", 2)], Need.NEWS)
    assert pulled(subscription) == ([], Need.NEWS)


def test_a_replay_merges_neighbours_and_ends_with_a_cursor() -> None:
    """Transcript 5."""
    completed = ev.MessageCompleted(time=TIME, message="m_1", status="complete")
    events = [delta("a"), delta("One "), delta("mo"), delta("ment."), completed]
    feed = feed_with(*events)
    frames, need = pulled(resumed(feed, 1, 5))
    assert need is Need.NEWS
    assert told(frames) == [("message.delta", 4), ("message.completed", 5), ("cursor", 5)]
    assert frames[0] == {
        "session": "s_1",
        "seq": 4,
        "from_seq": 2,
        "type": "message.delta",
        "time": TIME,
        "message": "m_1",
        "part": 0,
        "kind": "text",
        "delta": "One moment.",
    }


def test_an_empty_replay_has_its_cursor_too() -> None:
    feed = feed_with(delta("a"))
    subscription = resumed(feed, 1, 1)
    assert told(pulled(subscription)[0]) == [("cursor", 1)]
    assert pulled(subscription) == ([], Need.NEWS)


def test_what_comes_behind_a_replay_is_not_part_of_it() -> None:
    feed = feed_with(delta("a"), delta("b"), delta("c"))
    frames, _ = pulled(resumed(feed, 0, 2))
    assert told(frames) == [("message.delta", 2), ("cursor", 2), ("message.delta", 3)]


def test_only_neighbours_of_one_part_are_merged() -> None:
    events = [
        delta("a", part=0, kind="thinking"),
        delta("b", part=1),
        delta("c", part=1),
        delta("d", part=1, message="m_2"),
        ev.RunActivity(time=TIME, run="r_1", activity="x"),
        delta("e", part=1, message="m_2"),
    ]
    frames, _ = pulled(resumed(feed_with(*events), 0, 6))
    assert [(f["seq"], f.get("from_seq")) for f in frames[:-1]] == [
        (1, None),
        (3, 2),
        (4, None),
        (5, None),
        (6, None),
    ]


def test_hidden_events_between_deltas_forbid_to_merge_them() -> None:
    events = [delta("a"), ev.RunActivity(time=TIME, run="r_1", activity="x"), delta("b")]
    frames, _ = pulled(resumed(feed_with(*events), 0, 3, "answer"))
    assert told(frames) == [("message.delta", 1), ("message.delta", 3), ("cursor", 3)]


def test_a_long_think_is_told_as_cursors() -> None:
    """Transcript 8: one cursor at the 256th hidden event in a row."""
    feed = feed_with(*(delta("x", kind="thinking") for _ in range(300)), delta("Dune", part=1))
    frames, _ = pulled(subscribed(feed, "answer"))
    assert told(frames) == [("cursor", HIDDEN_IN_A_ROW), ("message.delta", 301)]


def test_a_full_window_stops_what_is_visible_alone() -> None:
    feed = feed_with(delta("a"), delta("b"), delta("think", kind="thinking"), delta("c"))
    subscription = subscribed(feed, "answer", window=2)
    assert told(pulled(subscription)[0]) == [("message.delta", 1), ("message.delta", 2)]
    assert pulled(subscription) == ([], Need.ACK)
    assert subscription.cursor == 3
    assert subscription.full
    assert subscription.ack(1)
    frames, need = pulled(subscription)
    assert (told(frames), need) == ([("message.delta", 4)], Need.NEWS)


def test_a_client_that_lagged_gets_merged_deltas_and_then_single_ones() -> None:
    feed = feed_with(*(delta(str(n)) for n in range(6)))
    subscription = subscribed(feed, window=1)
    pulled(subscription)
    assert pulled(subscription) == ([], Need.ACK)
    subscription.ack(1)
    (frame,), need = pulled(subscription)
    assert (frame["from_seq"], frame["seq"], frame["delta"]) == (2, 6, "12345")
    assert need is Need.NEWS
    subscription.ack(6)
    feed.extend([(7, encode(delta("6")))])
    assert "from_seq" not in pulled(subscription)[0][0]


def test_acks_that_cannot_be() -> None:
    feed = feed_with(delta("a"), delta("b"), delta("c"))
    subscription = subscribed(feed, window=2)
    pulled(subscription)
    assert not subscription.ack(3)  # was not sent
    assert subscription.ack(2)
    assert subscription.ack(2)
    assert not subscription.ack(1)  # backwards
    assert subscription.acked == 2
    subscription.restart("e_2", 40, replay_to=None)
    assert subscription.ack(2)  # sent before the client knew
    assert subscription.ack(40)
    assert subscription.acked == 40
    assert not subscription.ack(41)


def test_a_backward_ack_frees_no_room() -> None:
    feed = feed_with(*(delta(str(n)) for n in range(6)))
    subscription = subscribed(feed, window=2)
    pulled(subscription)
    assert subscription.ack(2)
    pulled(subscription)
    assert not subscription.ack(1)
    assert pulled(subscription)[1] is not Need.TURN
    assert subscription.acked == 2


def test_a_turn_is_bounded_and_an_enormous_frame_goes_alone() -> None:
    feed = feed_with(delta("a" * 100), delta("b" * 5000), delta("c", part=1))
    subscription = subscribed(feed)
    assert told(pulled(subscription, 400)[0]) == [("message.delta", 1)]
    assert subscription.pull(400, must=False) == ([], Need.TURN)
    frames, need = pulled(subscription, 400)
    assert (told(frames), need) == ([("message.delta", 2)], Need.TURN)
    assert told(pulled(subscription, 400)[0]) == [("message.delta", 3)]


def test_behind_the_feed_it_asks_for_the_log_and_goes_on_from_there() -> None:
    feed = feed_with(*(delta(str(n)) for n in range(10)), max_events=3)
    subscription = subscribed(feed, cursor=2)
    assert pulled(subscription) == ([], Need.LOG)
    assert not subscription.offer([])
    assert not subscription.offer([(5, encode(delta("x")))])
    assert subscription.offer([(n, encode(delta(str(n - 1)))) for n in range(2, 9)])
    frames, need = pulled(subscription)
    assert need is Need.NEWS
    assert "".join(f["delta"] for f in frames) == "23456789"


def test_another_epoch_needs_the_state() -> None:
    feed = feed_with(delta("a"))
    subscription = subscribed(feed)
    feed.restart("e_2", 9)
    assert pulled(subscription) == ([], Need.STATE)
    subscription.restart("e_2", 9, replay_to=None)
    assert pulled(subscription) == ([], Need.NEWS)


# --- the promise of docs/protocol.md, for any interleaving

EVENTS = st.one_of(
    st.builds(
        delta,
        st.text("ab", min_size=1, max_size=3),
        part=st.integers(0, 1),
        kind=st.sampled_from(["text", "thinking", "commentary"]),
    ),
    st.builds(ev.RunActivity, time=st.just(TIME), run=st.just("r"), activity=st.just("x")),
    st.builds(ev.RunStarted, time=st.just(TIME), run=st.just("r")),
    st.builds(ev.RunLog, time=st.just(TIME), run=st.just("r"), level=st.just("x"), text=st.text()),
)
STEPS = st.one_of(
    st.tuples(st.just("append"), st.lists(EVENTS, min_size=1, max_size=12)),
    st.tuples(st.just("append, lost"), st.lists(EVENTS, min_size=1, max_size=4)),
    st.tuples(st.just("append, header only"), st.lists(EVENTS, min_size=1, max_size=4)),
    st.tuples(st.just("pull"), st.integers(1, 900)),
    st.tuples(st.just("ack"), st.integers(0, 5)),
    st.tuples(st.just("fill"), st.none()),
    st.tuples(st.just("resume"), st.none()),
)


@dataclass
class Session:
    """A log, a feed that hears some of it, a subscription, and what its client was sent."""

    feed: Feed
    detail: Any
    window: int | None
    quick: bool
    log: list[bytes] = field(default_factory=list[bytes])
    sent: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def __post_init__(self) -> None:
        self.feed.begin("e_1", 0)
        self.subscription = subscribed(self.feed, self.detail, window=self.window)

    def do(self, step: str, value: Any) -> None:
        match step:
            case "pull":
                self.pull(value)
            case "ack":
                subscription = self.subscription
                subscription.ack(max(subscription.acked, subscription.told - value))
            case "fill":
                self.feed.extend(list(enumerate(self.log, 1))[self.feed.last :])
            case "resume":
                cursor = self.sent[-1]["seq"] if self.sent else 0
                self.subscription = subscribed(
                    self.feed, self.detail, cursor=cursor, window=self.window
                )
                self.subscription.restart("e_1", cursor, replay_to=len(self.log))
            case _:
                self.append(step, [encode(event) for event in value])

    def append(self, step: str, bodies: list[bytes]) -> None:
        first = len(self.log) + 1
        self.log += bodies
        if step != "append, lost":
            heard = bodies if step == "append" else []
            self.feed.accept(News("s_1", "e_1", first, len(self.log), 0, heard))

    def pull(self, room: int) -> Need:
        chunk = self.subscription.chunk() if self.quick else None
        if chunk is not None and chunk.frames:
            self.sent += [json.loads(frame) for frame in chunk.message.split(b"\n")]
        frames, need = self.subscription.pull(room, must=True)
        self.sent += [json.loads(frame) for frame in frames]
        if need is Need.LOG:
            cursor = self.subscription.cursor
            page = list(enumerate(self.log, 1))[cursor : cursor + 5]
            assert self.subscription.offer(page)
        if window := self.subscription._window:
            assert 0 <= window.room <= (self.window or 0)
        return need

    def finish(self) -> None:
        self.do("fill", None)
        for _ in range(10 * len(self.log) + 10):
            need = self.pull(ROOM)
            if need is Need.NEWS:
                return
            self.do("ack", 0)
        raise AssertionError("it never catches up")


@given(
    detail=st.sampled_from(["answer", "steps", "full"]),
    window=st.one_of(st.none(), st.integers(1, 4)),
    max_events=st.integers(1, 8),
    quick=st.booleans(),
    steps=st.lists(STEPS, max_size=30),
)
def test_every_visible_event_once_and_in_order(
    detail: Any, window: int | None, max_events: int, quick: bool, steps: list[tuple[str, Any]]
) -> None:
    session = Session(Feed("s_1", max_events=max_events), detail, window, quick)
    for step, value in steps:
        session.do(step, value)
    session.finish()

    entries = [Entry("s_1", seq, body) for seq, body in enumerate(session.log, 1)]
    visible = [e for e in entries if e.seen(session.subscription.view, session.feed.calls)]
    cursor, covered = 0, list[int]()
    for frame in session.sent:
        if frame["type"] == "cursor":
            assert frame["seq"] >= cursor
            cursor = frame["seq"]
            continue
        first = frame.get("from_seq", frame["seq"])
        assert first > cursor
        cursor = frame["seq"]
        covered += range(first, cursor + 1)
        originals = [json.loads(entry.frame) for entry in entries[first - 1 : cursor]]
        text = "".join(original.get("delta", "") for original in originals)
        expected = {**originals[-1], **({"delta": text} if "delta" in originals[-1] else {})}
        assert {k: v for k, v in frame.items() if k != "from_seq"} == expected
    assert covered == [entry.seq for entry in visible]
    assert session.subscription.cursor == len(session.log)


def test_the_newest_alone_is_for_those_who_keep_up() -> None:
    feed = feed_with(delta("a"), delta("b"), max_events=1)
    keeps_up, windowed = subscribed(feed, cursor=1), subscribed(feed, cursor=1, window=1)
    frame = keeps_up.newest()
    assert told([json.loads(frame)]) == [("message.delta", 2)]
    assert (keeps_up.cursor, keeps_up.told, keeps_up.newest()) == (2, 2, b"")
    assert windowed.newest() is frame
    assert windowed.full
    feed.extend([(3, encode(delta("c")))])
    others = [
        windowed,
        subscribed(feed, cursor=1),
        subscribed(feed, "answer", cursor=2),
        resumed(feed, 2, 3),
    ]
    for other in others:
        before = other.cursor
        assert other.newest() == b""
        assert other.cursor == before
    assert windowed.ack(2)
    assert told([json.loads(windowed.newest())]) == [("message.delta", 3)]
    feed.restart("e_2", 1)
    assert subscribed(feed, cursor=0).newest() == b""


def test_acks_of_single_frames_free_their_room() -> None:
    feed = feed_with(delta("a"))
    subscription = subscribed(feed, window=2)
    for seq in range(1, 6):
        assert subscription.newest()
        feed.extend([(seq + 1, encode(delta("b")))])
        assert subscription.ack(seq)
        assert not subscription.full


def test_a_chunk_is_for_those_who_keep_up() -> None:
    feed = feed_with(delta("a"), delta("b"), delta("c"), max_events=2)
    keeps_up, also = subscribed(feed, cursor=1), subscribed(feed, cursor=1, window=2)
    chunk = keeps_up.chunk()
    assert chunk is not None
    assert told([json.loads(frame) for frame in chunk.message.split(b"\n")]) == [
        ("message.delta", 2),
        ("message.delta", 3),
    ]
    assert (chunk.frames, keeps_up.cursor, keeps_up.told) == (2, 3, 3)
    assert keeps_up.chunk() is None  # nothing new
    assert also.chunk() is chunk
    assert also.full
    behind_the_feed = subscribed(feed)
    small_window = subscribed(feed, cursor=1, window=1)
    in_a_replay = resumed(feed, 1, 3)
    for other in (behind_the_feed, small_window, in_a_replay):
        before = other.cursor
        assert other.chunk() is None
        assert other.cursor == before
    feed.restart("e_2", 1)
    assert subscribed(feed, cursor=1).chunk() is None


def test_a_chunk_of_another_view_is_shared_too() -> None:
    think = delta("hm", kind="thinking")
    feed = feed_with(
        think, delta("a", part=1), think, delta("b", part=2), delta("c", part=2), think
    )
    one, other = subscribed(feed, "answer", window=9), subscribed(feed, "answer", window=2)
    chunk = one.chunk()
    assert chunk is not None
    frames = [json.loads(frame) for frame in chunk.message.split(b"\n")]
    assert told(frames) == [("message.delta", seq) for seq in (2, 4, 5)]
    assert (chunk.frames, chunk.runs, one.cursor, one.told) == (3, ((2, 2), (4, 5)), 6, 5)
    assert other.chunk() is None  # three do not fit
    assert told(pulled(other)[0]) == [("message.delta", 2), ("message.delta", 4)]
    assert subscribed(feed, "answer").chunk() is chunk
    everything = subscribed(feed, "full").chunk()
    assert everything is not None
    assert everything.frames == 6


def test_chunks_with_nothing_to_see_lead_to_a_cursor() -> None:
    """The 256th hidden event in a row is told, also when each came alone."""
    feed = feed_with()
    subscription, sent = subscribed(feed, "answer"), list[dict[str, Any]]()
    for seq in range(1, 2 * HIDDEN_IN_A_ROW + 2):
        feed.extend([(seq, encode(delta("hm", kind="thinking")))])
        if (chunk := subscription.chunk()) is not None:
            assert chunk.frames == 0
        else:
            sent += pulled(subscription)[0]
    assert told(sent) == [("cursor", HIDDEN_IN_A_ROW), ("cursor", 2 * HIDDEN_IN_A_ROW)]
