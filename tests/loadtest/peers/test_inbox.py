"""What servers send, in whatever pieces it arrives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.frames import CLOSE, PING, PONG, masked, unmasked
from loadtest.peers.inbox import TEXT_BYTES, Broken, Inbox

EVENT = unmasked(b'42["e","' + b"x" * TEXT_BYTES + b'"]')
LONG = unmasked(b"y" * 70_000)
FRAMES = [EVENT, LONG, unmasked(b"40"), unmasked(b"2"), unmasked(b"now", PING), unmasked(b"", PONG)]


@given(st.lists(st.sampled_from(FRAMES)), st.lists(st.integers(1, 300)))
def test_the_same_events_in_any_pieces(frames: list[bytes], sizes: list[int]) -> None:
    data, inbox, at, found = b"".join(frames), Inbox(), 0, 0
    for size in [*sizes, len(data)]:
        found += inbox.feed(data[at : at + size])
        at += size
    assert found == inbox.events == frames.count(EVENT) + frames.count(LONG)
    assert inbox.texts == [b"40"] * frames.count(FRAMES[2])
    assert inbox.rest == b""


def test_a_ping_is_answered_with_its_payload() -> None:
    inbox = Inbox()
    inbox.feed(unmasked(b"now", PING) + unmasked(b"2"))
    assert inbox.answers == masked(b"now", PONG) + masked(b"3")


@pytest.mark.parametrize("frame", [unmasked(b"\x03\xe8", CLOSE), unmasked(b"z" * 300, 0x82)])
def test_what_no_peer_sends_is_told(frame: bytes) -> None:
    with pytest.raises(Broken):
        Inbox().feed(frame)
