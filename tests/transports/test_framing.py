"""Frames, compared with those of the `websockets` package."""

import pytest
from websockets.frames import Frame, Opcode

from gateway.transports.framing import Framed, frame_end, small_text, text_header, unmasked


def masked(payload: bytes) -> bytes:
    return bytes(Frame(Opcode.TEXT, payload).serialize(mask=True))


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536, 1 << 20])
def test_the_head_of_a_frame(size: int) -> None:
    payload = b"x" * size
    expected = Frame(Opcode.TEXT, payload).serialize(mask=False)
    assert text_header(size) + payload == bytes(expected)


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_where_a_frame_ends(size: int) -> None:
    frame = masked(b"x" * size)
    data = b"before" + frame + b"behind"
    begin, end = frame_end(data, 6)
    assert (end - begin, data[end:]) == (size, b"behind")
    assert unmasked(data, begin, end) == b"x" * size
    for seen in range(len(frame) - size):
        begin, end = frame_end(frame[:seen], 0)
        assert seen < end <= len(frame), "more is wanted, but no more than there is"


@pytest.mark.parametrize("size", [0, 1, 125, 126])
def test_a_small_frame_that_is_all_there_is(size: int) -> None:
    frame = masked(b"x" * size)
    assert small_text(frame) == (size < 126)
    assert not small_text(frame[:-1])
    assert not small_text(frame + b"\x81")
    assert not small_text(bytes(Frame(Opcode.TEXT, b"x" * size).serialize(mask=False)))
    for opcode in set(Opcode) - {Opcode.TEXT} if size < 126 else (Opcode.BINARY,):
        assert not small_text(bytes(Frame(opcode, b"x" * size).serialize(mask=True)))
    assert not small_text(bytes(Frame(Opcode.TEXT, b"x" * size, fin=False).serialize(mask=True)))


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_a_message_is_framed(size: int) -> None:
    message = b"x" * size
    assert Framed().make(message) == bytes(Frame(Opcode.TEXT, message).serialize(mask=False))


def test_the_same_message_is_framed_once() -> None:
    framed = Framed()
    framed.make(b"one")
    assert (framed.message, framed.frame) == (b"one", b"\x81\x03one")
