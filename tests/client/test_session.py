"""A session's handle, fed by hand."""

import itertools
import json
from typing import Any

import msgspec
import pytest

from gateway.client.errors import GatewayError
from gateway.client.ids import MakeId
from gateway.client.session import REMEMBERED_RUNS, Sent, Session, Started, text_of
from gateway.client.stream import StateReset
from gateway.client.tasks import Tasks
from gateway.client.tools import ToolRunner
from protocol.commands import Command
from protocol.frames import Ok
from protocol.state import Message, State
from protocol.values import CommentaryPart, TextPart, ThinkingPart

TIME = "2026-01-01T00:00:00.000Z"


class Port:
    """A client that says `ok` to everything."""

    def __init__(self) -> None:
        ids = itertools.count()
        self.make_id: MakeId = lambda prefix: f"{prefix}_{next(ids)}"
        self.sent: list[Command] = []
        self.left: list[str] = []
        self.tools = ToolRunner("me", issue=self.command, make_id=self.make_id, tasks=Tasks())

    async def command(self, frame: Command) -> Ok:
        self.sent.append(frame)
        return Ok(id=frame.id)

    def leave(self, session: str) -> None:
        self.left.append(session)


def opened(**fields: Any) -> Session:
    session = Session("s_1", Port())
    known: dict[str, Any] = {"seq": 1, "epoch": "e_1", **fields}
    state = State(session="s_1", **known)
    session.reset(msgspec.json.encode(state), "full")
    return session


def event(kind: str, seq: int, **fields: Any) -> tuple[bytes, int]:
    frame = {"type": kind, "session": "s_1", "seq": seq, "time": TIME, **fields}
    return json.dumps(frame).encode(), seq


def ran(session: Session, run: str, seq: int) -> None:
    session.apply(*event("run.queued", seq, run=run))
    session.apply(*event("run.started", seq + 1, run=run))
    session.apply(*event("run.completed", seq + 2, run=run, output=run))


def test_before_the_first_state_there_is_none() -> None:
    session = Session("s_1", Port())
    session.apply(*event("run.started", 2, run="r_1"))
    with pytest.raises(GatewayError, match="not open"):
        _ = session.state


async def test_events_of_a_newer_gateway_only_move_the_place() -> None:
    session = opened()
    events = session.events()
    session.apply(*event("news", 2))
    session.apply(*event("run.queued", 3, run="r_1"))
    assert session.state.seq == 3
    assert type(await anext(events)).__name__ == "RunQueued"


def test_a_state_that_cannot_be_read_ends_it_visibly() -> None:
    port = Port()
    session = Session("s_1", port)
    session.reset(b'{"session":"s_1","messages":[{"id":5}]}', "full")
    assert session.error is not None
    assert session.error.code == "client.outdated"
    assert port.left == ["s_1"]


async def test_a_run_that_has_ended_is_remembered_while_others_follow() -> None:
    session = opened()
    ran(session, "r_1", 2)
    ran(session, "r_2", 5)
    ended = await session.finished(Sent("m_1", "r_1", 2))
    assert ended is not None
    assert (ended.status, ended.output) == ("completed", "r_1")
    for number in range(REMEMBERED_RUNS):
        ran(session, f"r_more_{number}", 8 + 3 * number)
    assert session.ended(Sent("m_1", "r_1", 2)) is None


async def test_a_run_whose_end_was_not_seen_is_over_all_the_same() -> None:
    session = opened(seq=2)
    started = Started("r_1", 3)
    assert not session.is_over(started)  # the gateway knows more than we have seen
    session.reset(msgspec.json.encode(State(session="s_1", seq=90)), "full")
    assert await session.finished(started) is None
    with pytest.raises(GatewayError, match="started no run"):
        session.is_over(Sent("m_1", None, 2))


async def test_a_run_that_was_lost_with_the_end_of_the_log_is_over() -> None:
    session = opened(seq=45)
    sent = Sent("m_1", "r_1", 50, "e_1")
    assert not session.is_over(sent)
    session.reset(msgspec.json.encode(State(session="s_1", seq=45, epoch="e_2")), "full")
    assert await session.finished(sent) is None


async def test_what_was_answered_is_in_the_epoch_of_its_moment() -> None:
    session = opened()
    assert ((await session.send("Hi")).epoch, (await session.run()).epoch) == ("e_1", "e_1")
    session.reset(msgspec.json.encode(State(session="s_1", epoch="e_2")), "full")
    assert (await session.run()).epoch == "e_2"
    assert (await Session("s_1", Port()).run()).epoch is None


async def test_a_whole_state_reaches_the_readers() -> None:
    session = opened()
    events = session.events()
    session.reset(msgspec.json.encode(State(session="s_1", seq=7)), "answer")
    item = await anext(events)
    assert isinstance(item, StateReset)
    assert (item.state.seq, session.detail) == (7, "answer")


async def test_closing_ends_the_readers_and_leaves_once() -> None:
    port = Port()
    session = Session("s_1", port)
    events = session.events()
    session.close()
    session.close()
    assert port.left == ["s_1"]
    assert [item async for item in events] == []
    assert [item async for item in session.events()] == []
    with pytest.raises(GatewayError, match="closed"):
        await session.wait_until(lambda _: True)


def test_the_text_of_a_message_is_its_answer_alone() -> None:
    parts = [ThinkingPart("Hm."), TextPart("One"), CommentaryPart("Next."), TextPart(" two")]
    message = Message(id="m", role="assistant", status="open", time=TIME, parts=[*parts], run="r")
    assert text_of(message) == "One two"
    assert opened(messages=[message]).text("r") == "One two"
