"""Counting, credits and answers, without a server."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from loadtest.credits import RECORD, Desk, Slot, line
from loadtest.frames import scan, unmasked
from loadtest.modes import Answering, Counting, Credit, Sending, Timed
from loadtest.native import Native
from loadtest.stamps import now_us, stamp
from loadtest.tab import Tab
from tests.loadtest.test_native import event, sent, subscribed


class Published:
    """A desk, and the other end of its only publisher."""

    def __init__(self, slots: int) -> None:
        self.desk = Desk()
        self.sock = socket.create_connection(("127.0.0.1", self.desk.port), timeout=5)
        descriptor = self.desk.accept()
        self.sock.sendall(b"".join(line(Slot(i)) for i in range(slots)))
        while len(self.desk.slots) < slots:
            assert self.desk.read(descriptor)
        self.sock.setblocking(False)

    def credits(self) -> list[int]:
        """The slots that were given since the last time."""
        try:
            return [slot for slot, _ in RECORD.iter_unpack(self.sock.recv(65_536))]
        except BlockingIOError:
            return []


@pytest.fixture
def three() -> Iterator[Published]:
    published = Published(3)
    yield published
    published.sock.close()
    published.desk.close()


def take(mode: Counting, tab: Tab, *frames: bytes) -> None:
    buffer = bytearray(unmasked(b"\n".join(frames)))
    mode.take(tab, buffer, scan(buffer, len(buffer), [], blank=True))


def test_tokens_are_stamps_and_events_are_frames() -> None:
    tab = Tab(0, "t", ["s_1"])
    mode = Counting(Native(acks=False), 1)
    mode.begin()
    made = now_us() - 3_000
    take(
        mode,
        tab,
        event("s_1", 1, delta=stamp(made) + stamp(made)),
        event("s_1", 2, value="x" * 200),
    )
    counted = mode.window.counted()

    assert (counted.events, counted.tokens) == (2, 2)
    assert counted.latency is not None
    assert counted.latency.count == 2
    assert 3_000 <= counted.latency.min_us < 3_000_000


def test_only_every_kth_read_is_sampled() -> None:
    tab = Tab(0, "t", ["s_1"])
    mode = Counting(Native(acks=False), 3)
    for seq in range(1, 10):
        take(mode, tab, event("s_1", seq, delta=stamp(now_us())))
    counted = mode.window.counted()

    assert counted.tokens == 9
    assert counted.latency is not None
    assert counted.latency.count == 3


def test_a_window_begins_with_nothing() -> None:
    tab = Tab(0, "t", ["s_1"])
    mode = Counting(Native(acks=False), 1)
    take(mode, tab, event("s_1", 1))
    mode.begin()
    take(mode, tab, event("s_1", 2), event("s_1", 3))

    assert mode.window.counted().events == 2
    assert tab.events == 3


def test_slots_take_turns(three: Published) -> None:
    credit = Credit(three.desk, [0, 1, 2], [], everywhere=False)
    credit.give(5)
    assert sorted(three.credits()) == [0, 0, 1, 1, 2]

    credit.arrived = 2
    credit.settle()
    credit.settle()
    assert three.credits() == [2, 0]


def test_everywhere_means_at_the_slowest(three: Published) -> None:
    tabs = [Tab(i, "t", ["s_1"]) for i in range(3)]
    credit = Credit(three.desk, [1], tabs, everywhere=True)

    def arrive(tab: Tab, tokens: int) -> None:
        tab.tokens += tokens
        credit.arrived += tokens
        credit.settle()

    arrive(tabs[0], 4)
    arrive(tabs[1], 4)
    assert three.credits() == []
    arrive(tabs[2], 3)
    assert three.credits() == [1, 1, 1]


def test_stalled_readers_hold_nobody_up(three: Published) -> None:
    tabs = [Tab(i, "t", ["s_1"]) for i in range(2)]
    credit = Credit(three.desk, [0], tabs, everywhere=True)
    tabs[1].stalled = True
    tabs[0].tokens += 2
    credit.arrived += 2
    credit.settle()

    assert three.credits() == [0, 0]


def test_events_without_stamps_have_the_age_of_their_time(monkeypatch: Any) -> None:
    monkeypatch.setattr("loadtest.modes.time.time", lambda: 86_400.0 * 20_000 + 0.25)
    tab = Tab(0, "t", ["s_1"])
    mode = Timed(Native(acks=False), 1)
    frames = [
        b'{"session":"s_1","seq":1,"type":"custom","time":"2026-01-01T23:59:59.750Z"}',
        b'{"session":"s_1","seq":2,"type":"custom","time":"2026-01-02T00:00:00.251Z"}',
    ]
    take(mode, tab, *frames)
    latency = mode.window.counted().latency

    assert latency is not None
    assert (latency.count, latency.min_us, latency.max_us) == (2, 0, 500_000)


@pytest.fixture
def ends() -> Iterator[tuple[Tab, socket.socket]]:
    ours, theirs = socket.socketpair()
    tab = Tab(0, "t", ["s_1", "s_2"])
    tab.sock = ours
    for sock in (ours, theirs):
        sock.setblocking(False)
    yield tab, theirs
    ours.close()
    theirs.close()


def test_each_call_is_answered_and_the_next_one_ends_a_round_trip(
    ends: tuple[Tab, socket.socket],
) -> None:
    tab, theirs = ends
    mode = Answering(Native(acks=False))
    take(mode, tab, event("s_1", 1, "tool_call.requested", call="c_1"), event("s_1", 2))

    (answer,) = sent(theirs)
    assert (answer["type"], answer["session"], answer["call"]) == ("tool.result", "s_1", "c_1")
    assert mode.window.counted().events == 0

    take(mode, tab, event("s_2", 1, "tool_call.requested", call="c_9"))
    take(mode, tab, event("s_1", 3, "tool_call.requested", call="c_2"))

    assert [frame["call"] for frame in sent(theirs)] == ["c_9", "c_2"]
    assert mode.window.counted().events == 1


def test_each_answer_is_followed_by_a_command(ends: tuple[Tab, socket.socket]) -> None:
    tab, theirs = ends
    mode = Sending(Native(acks=False))
    mode.send(tab, 3)
    commands = sent(theirs)
    assert [frame["session"] for frame in commands] == ["s_1", "s_2", "s_1"]

    first = str(commands[0]["id"]).encode()
    ok = b'{"type":"ok","id":"%b","message":"m_1","seq":2}' % first
    take(mode, tab, ok)
    assert [frame["session"] for frame in sent(theirs)] == ["s_2"]
    assert mode.window.counted().events == 1

    take(mode, tab, ok)  # a repeat answers nothing
    assert sent(theirs) == []

    mode.open = False
    for command in commands[1:]:
        take(mode, tab, b'{"type":"ok","id":"%b"}' % str(command["id"]).encode())
    assert mode.waiting == 1
    assert sent(theirs) == []


def test_what_a_resuming_tab_missed_counts_without_latency() -> None:
    tab = Tab(0, "t", ["s_1"])
    native = Native(acks=False)
    native.hear(tab, subscribed("s_1", 0))
    tab.resuming = True
    mode = Counting(native, 1)
    buffer = bytearray(unmasked(event("s_1", 1, delta=stamp(0))))
    mode.take(tab, buffer, scan(buffer, len(buffer), []))
    counted = mode.window.counted()

    assert (counted.events, counted.tokens, counted.latency) == (1, 1, None)
    assert native.missing(tab) == 0
