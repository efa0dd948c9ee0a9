"""What the machine reads of frames, whatever they hold."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client.incoming import Control, Place, read, refusal

TIME = "2026-01-01T00:00:00.000Z"


def test_an_event_is_its_place_whatever_else_it_holds() -> None:
    event = {"type": "new.kind", "session": "s", "seq": 3, "time": TIME, "code": 5, "id": []}
    assert read(json.dumps(event).encode()) == Place("new.kind", "s", 3, None)
    merged = {**event, "from_seq": 2}
    assert read(json.dumps(merged).encode()) == Place("new.kind", "s", 3, 2)


def test_a_control_frame_may_lack_everything() -> None:
    assert read(b'{"type":"goaway","unknown":{}}') == Control("goaway")


@pytest.mark.parametrize(
    "line", [b"", b"null", b"7", b"{", b"\xff", b'{"type":"ok","id":5}', b"[" * 100_000]
)
def test_what_is_no_frame(line: bytes) -> None:
    assert read(line) is None


@given(st.binary())
def test_reading_is_total(line: bytes) -> None:
    assert read(line) is None or line


def test_a_refusal_of_our_own() -> None:
    frame = read(refusal("k_1", "client.closed", "No."))
    assert isinstance(frame, Control)
    assert (frame.type, frame.id, frame.code, frame.retryable) == (
        "error",
        "k_1",
        "client.closed",
        False,
    )
