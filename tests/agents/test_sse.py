"""Server-Sent Events, cut anywhere, with every line end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.agents.sse import SseDecoder, SseEvent, SseTooLarge


def decode(data: bytes, size: int) -> list[SseEvent]:
    decoder = SseDecoder()
    events: list[SseEvent] = []
    for i in range(0, len(data), size):
        events += decoder.feed(data[i : i + size])
    return events + decoder.end()


STREAM = (
    "\ufeff: a comment\n"
    'data: {"é": "\u20ac"}\n\n'
    ": another\n\n"
    "event: error\ndata:first\ndata:  second\nid: 7\nretry: 10\nfield\n\n"
    "\n\n"
    "event: lost\n\n"
    "data\n\n"
    "data: [DONE]\n"
)
EVENTS = [
    SseEvent("", '{"é": "\u20ac"}'),
    SseEvent("error", "first\n second"),
    SseEvent("", ""),
    SseEvent("", "[DONE]"),
]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
def test_every_line_end_and_cut(line_end: str, size: int) -> None:
    assert decode(STREAM.replace("\n", line_end).encode(), size) == EVENTS


@given(
    st.lists(st.sampled_from([b"data: x", b"\r", b"\n", b"\r\n", b":", b"event:e"])).map(b"".join)
)
def test_the_cut_does_not_matter(data: bytes) -> None:
    whole = decode(data, len(data) or 1)
    assert all(decode(data, size) == whole for size in (1, 2, 3))


def test_an_event_comes_as_soon_as_it_is_complete() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: x\r\n") == []
    assert decoder.feed(b"\r") == [SseEvent("", "x")]
    assert decoder.feed(b"\ndata: y\n") == []
    assert decoder.feed(b"") == []
    assert decoder.feed(b"\n") == [SseEvent("", "y")]


def test_nothing_is_nothing() -> None:
    assert SseDecoder().end() == []


def test_bad_utf8_is_replaced() -> None:
    assert decode(b"data: \xff\n\n", 99) == [SseEvent("", "\ufffd")]


@pytest.mark.parametrize("data", [b"x" * 101, b"data: xxxx\n" * 11])
def test_what_never_ends_is_refused(data: bytes) -> None:
    decoder = SseDecoder(max_event_bytes=100)
    with pytest.raises(SseTooLarge, match="larger than 100 bytes"):
        decoder.feed(data)
