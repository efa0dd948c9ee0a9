"""Seqs and acks, as the load generator keeps them."""

import json
import socket
from collections.abc import Iterator

import pytest

from loadtest.errors import LoadError
from loadtest.frames import scan, unmasked
from loadtest.native import Native
from loadtest.tab import Tab


@pytest.fixture
def ends() -> Iterator[tuple[Tab, socket.socket]]:
    ours, theirs = socket.socketpair()
    tab = Tab(0, "t", ["s_1", "s_2"])
    tab.sock = ours
    ours.setblocking(False)
    theirs.setblocking(False)
    yield tab, theirs
    ours.close()
    theirs.close()


def event(session: str, seq: int, kind: str = "custom", **fields: object) -> bytes:
    frame = {"session": session, "seq": seq, **fields, "type": kind, "time": "2026-01-01T00:00:00Z"}
    return json.dumps(frame, separators=(",", ":")).encode()


def subscribed(session: str, seq: int, **fields: object) -> bytes:
    frame = {"type": "subscribed", "session": session, "epoch": "e", "seq": seq, **fields}
    return json.dumps({"recovered": False, "detail": "full", **frame}).encode()


def sent(theirs: socket.socket) -> list[dict[str, object]]:
    """The frames of all messages that went up."""
    try:
        data = theirs.recv(65_536)
    except BlockingIOError:
        return []
    frames: list[dict[str, object]] = []
    while data:
        size, start = data[1] & 0x7F, 6
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 8
        frames += map(json.loads, data[start : start + size].split(b"\n"))
        data = data[start + size :]
    return frames


def follow(native: Native, tab: Tab, now: float, *events: bytes) -> None:
    buffer = bytearray(unmasked(b"\n".join(events)))
    tab.events += len(events)
    native.follow(tab, buffer, scan(buffer, len(buffer), []), len(events), now)


def test_the_32nd_frame_is_acknowledged_at_once_and_fewer_later(
    ends: tuple[Tab, socket.socket],
) -> None:
    tab, theirs = ends
    native = Native()
    follow(native, tab, 10.0, *(event("s_1", seq) for seq in range(1, 33)), event("s_2", 1))

    assert sent(theirs) == [{"type": "ack", "session": "s_1", "seq": 32}]

    native.tick(10.2)
    assert sent(theirs) == []
    native.tick(10.25)
    assert sent(theirs) == [{"type": "ack", "session": "s_2", "seq": 1}]
    native.tick(11.0)
    assert sent(theirs) == []


def test_without_acks_there_is_no_window_either(ends: tuple[Tab, socket.socket]) -> None:
    tab, theirs = ends
    native = Native(acks=False)
    follow(native, tab, 10.0, *(event("s_1", seq) for seq in range(1, 100)))
    native.tick(11.0)

    assert sent(theirs) == []
    assert b"window" not in native.subscribing(tab)
    assert b'"window":512' in Native().subscribing(tab)


@pytest.mark.parametrize("place", [["s_1"], ["s_1", "s_2"]])
def test_what_is_lost_is_missing(place: list[str]) -> None:
    tab = Tab(0, "t", place)
    native = Native(acks=False)
    native.hear(tab, subscribed("s_1", 10))
    follow(native, tab, 0.0, event("s_1", 11), event("s_1", 12))
    assert native.missing(tab) == 0

    follow(native, tab, 0.0, event("s_1", 14, from_seq=13))
    assert native.missing(tab) == 0

    follow(native, tab, 0.0, event("s_1", 16))
    assert native.missing(tab) == 1


def test_hearing_counts_as_following_does() -> None:
    tab = Tab(0, "t", ["s_1"])
    native = Native(acks=False)
    native.hear(tab, subscribed("s_1", 10))
    native.hear(tab, b"\n".join([event("s_1", 11), event("s_1", 15, from_seq=12)]))
    assert native.missing(tab) == 0

    native.hear(tab, event("s_1", 17, "run.completed"))
    assert native.missing(tab) == 1
    assert tab.places[b"s_1"].ended


def test_a_resuming_tab_asks_for_what_comes_after_its_cursor() -> None:
    tab = Tab(0, "t", ["s_1"])
    native = Native()
    native.hear(tab, subscribed("s_1", 10))
    tab.resuming = True
    tab.ready.clear()

    assert json.loads(native.hello(tab))["sessions"] == [
        {"session": "s_1", "detail": "full", "window": 512, "after": 10, "epoch": "e"}
    ]

    native.hear(tab, b'{"type":"welcome"}\n' + subscribed("s_1", 10, recovered=True))
    assert not tab.sees_all
    native.hear(tab, event("s_1", 11) + b'\n{"type":"cursor","session":"s_1","seq":11}')
    assert tab.sees_all
    assert native.missing(tab) == 0
    assert not tab.places[b"s_1"].reset


def test_a_state_instead_of_events_is_a_reset_and_no_loss() -> None:
    tab = Tab(0, "t", ["s_1"])
    native = Native()
    native.hear(tab, subscribed("s_1", 10))
    tab.resuming = True
    native.hear(tab, subscribed("s_1", 900))

    assert tab.places[b"s_1"].reset
    assert native.missing(tab) == 0


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (b'{"type":"error","code":"agent.not_found","message":"No."}', "agent.not_found, No"),
        (
            event("s_1", 1, "run.failed", error={"code": "worker.lost", "message": "Gone."}),
            "worker.lost, Gone",
        ),
    ],
)
def test_refusals_and_failures_are_told(frame: bytes, told: str) -> None:
    with pytest.raises(LoadError, match=told):
        Native(acks=False).hear(Tab(0, "t", ["s_1"]), frame)
