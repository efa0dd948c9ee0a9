"""What a client sends: cut into frames, counted, metered."""

from collections.abc import AsyncIterator

import pytest

from gateway.delivery.inbox import Inbox
from gateway.settings import Settings
from protocol import commands as cmd
from protocol.errors import ProtocolError
from tests.sessions.bench import ManualClock
from tests.support.inprocess import InProcess, in_process

ACK = '{"type":"ack","session":"s_1","seq":12}'


@pytest.fixture
async def small() -> AsyncIterator[InProcess]:
    """Ten frames at once, and time stands still."""
    settings = Settings(frames_per_s=1, frames_burst=10, max_frame_bytes=1024)
    async with in_process(settings=settings, clock=ManualClock()) as inside:
        yield inside


def test_a_message_is_one_frame_or_several(small: InProcess) -> None:
    inbox, counts = Inbox(small.delivery), small.delivery.hub.counts
    before = counts.frames_up
    message = f'{ACK}\n{{"type":"ping"}}\nnonsense'
    ack, ping, bad = inbox.frames(message)
    assert ack == cmd.Ack(session="s_1", seq=12)
    assert isinstance(ping, cmd.PingUp)
    assert isinstance(bad, ProtocolError)
    assert counts.frames_up - before == 3
    assert counts.bytes_up >= len(message)


def test_of_a_flood_only_what_is_asked_for_is_read(small: InProcess) -> None:
    inbox, counts = Inbox(small.delivery), small.delivery.hub.counts
    before = counts.frames_up
    next(inbox.frames("\n".join([ACK] * 1000)))
    assert counts.frames_up - before == 1


def test_binary_is_malformed(small: InProcess) -> None:
    (error,) = Inbox(small.delivery).frames(ACK.encode())
    assert isinstance(error, ProtocolError)
    assert error.code == "frame.malformed"


@pytest.mark.parametrize(
    "message",
    [
        ACK.encode(),
        ACK + "\n",
        ACK + "\n" + ACK,
        ACK.replace("12", "012"),
        ACK.replace("s_1", "s 1"),
        ACK.replace("12", "1" * 17),
        '{"type":"ping"}',
    ],
)
def test_only_a_lone_ack_is_taken_without_decoding(small: InProcess, message: str | bytes) -> None:
    assert Inbox(small.delivery).ack(ACK) == ("s_1", 12)
    assert Inbox(small.delivery).ack(message) is None


def test_acks_cost_a_tenth_of_a_command(small: InProcess) -> None:
    command, ack = cmd.SessionList(id="k_1"), cmd.Ack(session="s_1", seq=1)
    inbox = Inbox(small.delivery)
    assert [inbox.takes(command) for _ in range(9)] == [True] * 9
    assert sum(inbox.takes(ack) for _ in range(20)) in (9, 10)  # tenths do not add up exactly
    assert not inbox.takes(command)
    assert inbox.ack(ACK) is None


def test_offences_are_counted_by_kind(small: InProcess) -> None:
    inbox = Inbox(small.delivery)
    assert [inbox.misread() for _ in range(10)] == [False] * 9 + [True]
    assert [inbox.flooded() for _ in range(50)] == [False] * 49 + [True]
