"""The answer to a command, and to its repeat."""

import pytest

from gateway.sessions.repeats import answer, answer_again, digest_of
from protocol import commands as cmd
from protocol.codec import encode
from protocol.errors import ProtocolError
from protocol.frames import Ok

SEND = cmd.MessageSend(id="k_1", session="s_1", content="hi")
UPDATE = cmd.SessionUpdate(id="k_1", session="s_1", metadata={"a": 1, "b": 2})


def test_commands_that_start_something_say_where_the_log_stands() -> None:
    assert answer(SEND, {"run": "r_1"}, 7) == Ok(id="k_1", run="r_1", seq=7)
    assert answer(UPDATE, {}, 7) == Ok(id="k_1")


def test_a_repeat_is_answered_alike() -> None:
    again = cmd.MessageSend(id="k_1", session="s_1", content="hi")
    told = answer_again(again, digest_of(again), digest_of(SEND), encode({"run": "r_1"}), 7)
    assert told == answer(SEND, {"run": "r_1"}, 7)


@pytest.mark.parametrize(
    "other",
    [
        cmd.MessageSend(id="k_1", session="s_1", content="ho"),
        cmd.MessageSend(id="k_1", session="s_1", content="hi", if_busy="enqueue"),
        UPDATE,
    ],
)
def test_another_command_of_that_id_is_a_conflict(other: cmd.DecidedCommand) -> None:
    with pytest.raises(ProtocolError, match=r"command\.conflict.*k_1"):
        answer_again(other, digest_of(other), digest_of(SEND), b"{}", 7)
