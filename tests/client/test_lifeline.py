"""Sockets come and go without a word being said; what is said is tested with `connection`."""

import json
import math

import pytest

from gateway.client import steps
from gateway.client.lifeline import OPENING_MS, SILENCE_MS, STEADY_MS, Greeted, Lifeline
from protocol.commands import Hello, SessionSubscribe, Up


class Mute(Lifeline):
    """A life of which only sockets are looked at, with a hand on its clock."""

    def __init__(self, *, renewable: bool = False, random: float = 0.5) -> None:
        super().__init__(renewable=renewable, random=lambda: random)
        self.now = 0.0
        self.said: list[Up | SessionSubscribe] = []
        self.refused = ""

    def _greeting(self, token: str | None) -> tuple[Hello, Greeted]:
        return Hello(client="tab", token=token), {}

    def _deliver(self, greeted: Greeted) -> None:
        assert greeted == {}

    def _send(self, frame: Up | SessionSubscribe) -> None:
        self.said.append(frame)

    def _refuse_pending(self, message: str) -> None:
        self.refused = message

    def take(self, *inputs: steps.Input) -> list[steps.Effect]:
        for taken in inputs:
            self.inputs[type(taken)](self, taken, self.now)
        self._report()
        effects, self._effects = self._effects, []
        return effects

    def wait(self) -> list[steps.Effect]:
        """Until something is due."""
        self.now = self.deadline
        return self.take(steps.Tick())

    def welcomed(self) -> "Mute":
        self.take(steps.Start(), steps.Opened(1, "token"))
        self._welcome(self.now)
        self.take()
        return self


def test_it_begins_and_ends() -> None:
    life = Mute()
    assert (life.status, life.deadline) == ("closed", math.inf)
    assert steps.Connect(1) in life.take(steps.Start())
    assert (life.status, life.deadline) == ("connecting", OPENING_MS)
    life.take(steps.Opened(1, "token"))
    assert life.said == [Hello(client="tab", token="token")]
    assert life.current == 1
    assert steps.Close(1) in life.take(steps.Stop())
    assert (life.status, life.deadline) == ("closed", math.inf)
    assert life.refused


def test_losses_back_off_until_one_lasts() -> None:
    life = Mute(random=1.0)
    life.take(steps.Start())
    waits: list[float] = []
    for socket in range(1, 5):
        life.take(steps.Closed(socket, 1006))
        waits.append(life.deadline - life.now)
        assert steps.Connect(socket + 1) in life.wait()
    assert waits == sorted(waits)
    assert len(set(waits)) == 4
    life.take(steps.Opened(5))
    life._welcome(life.now)
    life.now += STEADY_MS
    life.take(steps.Closed(5, 1006))
    assert life.deadline - life.now == waits[0]


@pytest.mark.parametrize(("renewable", "status"), [(True, "resuming"), (False, "closed")])
def test_a_token_that_ended_is_final_unless_there_are_others(renewable: bool, status: str) -> None:
    life = Mute(renewable=renewable).welcomed()
    life.take(steps.Closed(1, 4401, "Ended."))
    assert life.status == status
    assert (life.refused == "") == renewable


def test_silence_is_a_loss() -> None:
    life = Mute().welcomed()
    assert life.deadline == SILENCE_MS
    life.now = SILENCE_MS - 1
    life._hear(life.now)
    assert steps.Close(1) in life.wait()
    assert life.now == 2 * SILENCE_MS - 1
    assert life.status == "resuming"


def test_the_next_socket_takes_over_while_the_old_one_lives() -> None:
    life = Mute().welcomed()
    life._move_at = 10
    assert steps.Connect(2) in life.wait()
    assert life.status == "open"
    (hello,) = life.take(steps.Opened(2, "newer"))
    assert isinstance(hello, steps.Send)
    assert (hello.socket, json.loads(hello.text)["token"]) == (2, "newer")
    assert life.current == 1
    life.take(steps.Closed(1, 4409))  # our own hello is why
    assert (life.current, life.next, life.status) == (2, None, "resuming")
