"""Frames are found wherever the stream is cut, and nothing in their headers looks like text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.frames import CLOSE, PING, PONG, TEXT, masked, scan, texts, unmasked, upgrade

SIZES = [0, 1, 125, 126, 127, 0x7E7E, 65_535, 65_536, 70_000]


def whole(data: bytes) -> tuple[int, list[tuple[int, int, int]]]:
    others: list[tuple[int, int, int]] = []
    return scan(bytearray(data), len(data), others), others


@pytest.mark.parametrize("size", SIZES)
def test_a_frame_ends_where_it_ends(size: int) -> None:
    data = unmasked(b"x" * size)

    assert whole(data) == (len(data), [])
    assert texts(bytearray(data), len(data)) == [b"x" * size]


@pytest.mark.parametrize("size", [0, 125, 126, 65_536])
def test_wherever_it_is_cut_only_whole_frames_count(size: int) -> None:
    first, second = unmasked(b"first"), unmasked(b"y" * size)
    data = first + second
    for cut in [*range(len(first), len(first) + 12), len(data) - 1]:
        if cut < len(data):
            assert whole(data[:cut])[0] == len(first)
    for cut in range(len(first)):
        assert whole(data[:cut])[0] == 0


@given(st.lists(st.binary(max_size=300), max_size=8), st.data())
def test_a_stream_cut_anywhere_gives_the_same_texts(
    parts: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(map(unmasked, parts))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=6))
    found: list[bytes] = []
    rest = b""
    at = 0
    for cut in [*sorted(cuts), len(stream)]:
        buffer = bytearray(rest + stream[at:cut])
        at = cut
        end = scan(buffer, len(buffer), [])
        found += texts(buffer, end)
        rest = bytes(buffer[end:])

    assert found == parts
    assert rest == b""


def test_what_lies_behind_the_size_is_not_looked_at() -> None:
    data = unmasked(b"new") + unmasked(b"left over from an earlier read")

    assert scan(bytearray(data), len(unmasked(b"new")), []) == len(unmasked(b"new"))


def test_control_frames_are_told_with_their_payload() -> None:
    data = unmasked(b"a") + unmasked(b"?", PING) + unmasked(b"") + unmasked(b"\x03\xe8bye", CLOSE)
    end, others = whole(data)

    assert end == len(data)
    assert [(head, data[start:stop]) for head, start, stop in others] == [
        (PING, b"?"),
        (CLOSE, b"\x03\xe8bye"),
    ]


@pytest.mark.parametrize("size", [126, 0x7E00, 0x7E7E, 0x7E7E7E])
def test_blank_headers_hold_no_mark(size: int) -> None:
    data = bytearray(unmasked(b"x" * size) + unmasked(b"~")[:1])
    end = scan(data, len(data), [], blank=True)

    assert end == len(data) - 1
    assert data.count(b"~", 0, end) == 0


def test_an_unfinished_frame_keeps_its_header() -> None:
    data = unmasked(b"x" * 500)
    buffer = bytearray(data[:-1])
    scan(buffer, len(buffer), [], blank=True)

    assert buffer == data[:-1]


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_what_clients_send_is_masked_by_nothing(size: int) -> None:
    frame = masked(b"x" * size, PONG)

    assert frame[0] == PONG
    assert frame[1] & 0x80
    assert frame.endswith(b"\0\0\0\0" + b"x" * size)
    assert masked(b"")[0] == TEXT


def test_the_request_asks_for_a_protocol_only_if_there_is_one() -> None:
    assert b"Sec-WebSocket-Protocol: p.v1\r\n" in upgrade("h:1", "/x", "p.v1")
    assert b"Protocol" not in upgrade("h:1", "/x")
    assert upgrade("h:1", "/x").startswith(b"GET /x HTTP/1.1\r\nHost: h:1\r\n")
