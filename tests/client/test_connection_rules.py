"""Rules of the machine that the shared vectors do not show."""

import itertools
import json
import math
from typing import Any

from gateway.client import steps
from gateway.client.connection import MESSAGE_BYTES, Connection
from gateway.client.lifeline import SILENCE_MS
from gateway.client.subscription import Wishes
from protocol.commands import AuthRefresh, MessageSend

WELCOME = {"type": "welcome", "limits": {"max_frame_bytes": 1 << 20}}


class Bench:
    """A machine with a hand on its clock."""

    def __init__(self, **options: Any) -> None:
        ids = itertools.count(1)
        self.now = 0.0
        self.machine = Connection(
            "tab", random=lambda: 0.5, make_id=lambda prefix: f"{prefix}_{next(ids)}", **options
        )

    def step(self, taken: steps.Input) -> list[steps.Effect]:
        return self.machine.step(taken, self.now)

    def hears(self, socket: int, *frames: dict[str, Any]) -> list[steps.Effect]:
        return self.step(steps.Text(socket, "\n".join(map(json.dumps, frames)).encode()))

    def opened(self, **welcome: Any) -> "Bench":
        self.step(steps.Start())
        self.step(steps.Opened(1))
        self.hears(1, {**WELCOME, **welcome})
        return self

    def moving(self) -> "Bench":
        """A hello went out on socket 2 while socket 1 lives."""
        self.opened()
        self.hears(1, {"type": "goaway", "reason": "drain", "reconnect_after_ms": 0})
        self.step(steps.Tick())
        self.step(steps.Opened(2))
        assert self.machine.greeted is not None
        return self


def send(command: str, content: str = "hi") -> steps.Issue:
    return steps.Issue(MessageSend(id=command, session="s_1", content=content))


def sent(effects: list[steps.Effect]) -> list[list[dict[str, Any]]]:
    """The messages that go out, each a list of frames."""
    return [
        [json.loads(line) for line in effect.text.split(b"\n")]
        for effect in effects
        if isinstance(effect, steps.Send)
    ]


def answers(effects: list[steps.Effect]) -> dict[str, str]:
    frames = [json.loads(e.frame) for e in effects if isinstance(e, steps.Answered)]
    return {frame["id"]: frame.get("code", "ok") for frame in frames}


def test_our_own_hello_superseded_the_old_socket_though_the_new_one_is_lost_again() -> None:
    bench = Bench().moving()
    bench.step(send("m_1"))
    bench.step(steps.Closed(2, 1006))  # after the gateway heard the hello, before the welcome
    effects = bench.step(steps.Closed(1, 4409))
    assert answers(effects) == {}
    assert bench.machine.status != "closed"
    bench.now = bench.machine.deadline
    bench.step(steps.Tick())
    (message,) = sent(bench.step(steps.Opened(3)))
    assert [frame["type"] for frame in message] == ["hello", "message.send"]


def test_superseded_without_a_hello_of_ours_is_final() -> None:
    bench = Bench().opened()
    bench.step(steps.Closed(1, 4409))
    assert bench.machine.status == "closed"
    after = Bench().moving()
    after.hears(2, WELCOME)
    after.step(steps.Closed(2, 4409))
    assert after.machine.status == "closed"


def test_a_session_left_and_joined_again_during_a_move_gets_a_state_of_its_own() -> None:
    bench = Bench().opened()
    wishes = Wishes()
    bench.step(steps.Subscribe("s_1", wishes))
    told = {"type": "subscribed", "session": "s_1", "epoch": "e_1", "seq": 4, "detail": "full"}
    bench.hears(1, {**told, "id": "k_1", "recovered": False, "state": {}})
    bench.hears(1, {"type": "goaway", "reason": "drain", "reconnect_after_ms": 0})
    bench.step(steps.Tick())
    ((hello,),) = sent(bench.step(steps.Opened(2)))
    assert hello["sessions"][0]["after"] == 4
    bench.step(steps.Unsubscribe("s_1"))
    bench.step(steps.Subscribe("s_1", wishes))
    effects = bench.hears(2, WELCOME, {**told, "recovered": True})
    ((request,),) = sent(effects)
    assert request["type"] == "session.subscribe"
    assert "after" not in request


def test_messages_are_joined_up_to_the_limit() -> None:
    bench = Bench()
    bench.step(steps.Start())
    for number in range(5):
        bench.step(send(f"m_{number}", "x" * (MESSAGE_BYTES // 2 - 200)))
    messages = sent(bench.step(steps.Opened(1)))
    assert [len(message) for message in messages] == [3, 2, 1]
    assert messages[0][0]["type"] == "hello"
    small = Bench().opened(limits={"max_frame_bytes": 1000})
    small.step(send("m_1", "x" * 600))
    small.step(send("m_2", "x" * 600))
    small.step(steps.Closed(1, 1006))
    small.now = small.machine.deadline
    small.step(steps.Tick())
    assert all(
        len(effect.text) <= 1000
        for effect in small.step(steps.Opened(2))
        if isinstance(effect, steps.Send)
    )


def test_a_frame_above_the_limit_is_refused_here() -> None:
    bench = Bench().opened(limits={"max_frame_bytes": 1000})
    effects = bench.step(send("m_1", "ä" * 600))
    assert answers(effects) == {"m_1": "frame.too_large"}
    assert sent(effects) == []


def test_silence_while_moving_adopts_the_new_socket() -> None:
    bench = Bench()
    bench.moving()
    bench.now = SILENCE_MS - 1
    bench.machine._opening_until = math.inf  # the new one is only slow
    bench.now = SILENCE_MS
    bench.step(steps.Tick())
    assert bench.machine.current == 2


def test_a_refresh_without_an_answer_is_done_by_the_next_hello() -> None:
    bench = Bench(renewable=True).opened()
    bench.step(steps.Issue(AuthRefresh(id="k_t", token="new")))
    bench.step(steps.Closed(1, 4401))
    bench.now = bench.machine.deadline
    bench.step(steps.Tick())
    effects = bench.step(steps.Opened(2, "newer"))
    assert answers(effects) == {"k_t": "ok"}
    ((hello,),) = sent(effects)
    assert (hello["type"], hello["token"]) == ("hello", "newer")


def test_frames_of_a_newer_gateway_do_no_harm() -> None:
    bench = Bench().opened()
    assert bench.hears(1, {"type": "news", "id": "x"}, {"type": "subscribed", "session": "s"}) == []
    assert bench.machine.status == "open"
