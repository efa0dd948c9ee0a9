"""What the client's ceiling is measured with looks like the real thing."""

import json

from loadtest.blast import frame, messages
from loadtest.frames import texts
from loadtest.native import EVENT
from loadtest.stamps import PATTERN


def test_a_frame_has_the_size_and_the_marks_of_an_event() -> None:
    data = frame("s_1", 200)

    assert len(data) == 200
    assert data.count(EVENT) == 1
    assert len(PATTERN.findall(data)) == 1
    assert json.loads(data)["session"] == "s_1"


def test_sessions_take_turns_within_a_message_and_between_messages() -> None:
    first, second = (texts(bytearray(m), len(m))[0] for m in messages(["s_1", "s_2"], 3, 150))

    assert [json.loads(line)["session"] for line in first.split(b"\n")] == ["s_1", "s_2", "s_1"]
    assert [json.loads(line)["session"] for line in second.split(b"\n")] == ["s_2", "s_1", "s_2"]
