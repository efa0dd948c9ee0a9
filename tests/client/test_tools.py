"""Which open calls this client takes, and what becomes of its jobs."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.client.errors import GatewayError
from gateway.client.tasks import Tasks
from gateway.client.tool import tool
from gateway.client.tools import OTHERS_WAIT_SECONDS, ToolRunner, claim_delay
from protocol.commands import Command, ToolClaim, ToolResult
from protocol.events import (
    Event,
    RunStarted,
    ToolCallClaimed,
    ToolCallCompleted,
    ToolCallReleased,
    ToolCallRequested,
)
from protocol.frames import Ok
from protocol.state import Call, State
from tests.support.waiting import eventually

TIME = "2026-01-01T00:00:00.000Z"


def call_of(**fields: Any) -> Call:
    known: dict[str, Any] = {
        "id": "c_1",
        "run": "r_1",
        "message": "m_1",
        "name": "read",
        "target": "client",
        "arguments": {},
        "status": "requested",
    }
    return Call(**{**known, **fields})


@pytest.mark.parametrize(
    ("fields", "idempotent", "delay"),
    [
        ({}, False, 0),
        ({"client": "me"}, False, 0),
        ({"client": "other"}, True, None),
        ({"client": "other", "lease_until": TIME}, True, OTHERS_WAIT_SECONDS),
        ({"client": "other", "lease_until": TIME}, False, None),
        ({"status": "claimed", "client": "me"}, False, 0),
        ({"status": "claimed", "client": "other"}, True, None),
        ({"status": "streaming"}, False, None),
        ({"status": "completed"}, False, None),
        ({"target": "server"}, False, None),
    ],
)
def test_whose_turn_it_is(fields: dict[str, Any], idempotent: bool, delay: float | None) -> None:
    assert claim_delay(call_of(**fields), "me", idempotent=idempotent) == delay


class Stage:
    """A runner whose commands are answered at once, and a session's state in a hand."""

    def __init__(self) -> None:
        self.sent: list[Command] = []
        self.refuse_claims = False
        self.began = 0
        self.cancelled = 0
        self.go_on = asyncio.Event()
        self.tasks = Tasks()
        ids = itertools.count()
        self.runner = ToolRunner(
            "me",
            issue=self.issue,
            make_id=lambda prefix: f"{prefix}_{next(ids)}",
            tasks=self.tasks,
        )
        self.state = State(session="s_1")
        read = tool("read").handler(self.read).build()
        self.runner.declare("s_1", [read, tool("ask").build()])

    async def issue(self, frame: Command) -> Ok:
        self.sent.append(frame)
        if self.refuse_claims and isinstance(frame, ToolClaim):
            raise GatewayError("tool.held", "No.")
        return Ok(id=frame.id, lease_ms=15_000)

    async def read(self, _: dict[str, Any]) -> str:
        self.began += 1
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return "done"

    def sees(self, event: Event, **fields: Any) -> None:
        """An event, after which the call is so."""
        self.state.calls["c_1"] = call_of(**fields)
        self.runner.heed(event, self.state)

    def requested(self) -> None:
        fields: dict[str, Any] = {"call": "c_1", "run": "r_1", "message": "m_1", "name": "read"}
        event = ToolCallRequested(time=TIME, arguments={}, target="client", deadline=TIME, **fields)
        self.sees(event)

    async def executing(self) -> None:
        self.requested()
        await eventually(lambda: self.began == 1)

    def results(self) -> int:
        return sum(isinstance(frame, ToolResult) for frame in self.sent)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    await stage.tasks.close()


def completed() -> ToolCallCompleted:
    return ToolCallCompleted(time=TIME, call="c_1")


def released() -> ToolCallReleased:
    return ToolCallReleased(time=TIME, call="c_1", reason="lease_expired")


async def test_one_job_per_call_however_often_it_is_seen(stage: Stage) -> None:
    await stage.executing()
    stage.runner.observe(stage.state)
    stage.requested()
    stage.go_on.set()
    await eventually(lambda: stage.results() == 1)
    stage.runner.observe(stage.state)  # a state that does not know the result yet
    stage.sees(completed(), status="completed")
    await asyncio.sleep(0)
    assert stage.began == 1
    assert stage.results() == 1


@pytest.mark.parametrize("idempotent", [False, True])
async def test_what_may_have_taken_effect_is_not_done_again(stage: Stage, idempotent: bool) -> None:
    """The session was left while the handler ran, and is there again."""
    read = tool("read").handler(stage.read)
    tools = [(read.idempotent() if idempotent else read).build()]
    stage.runner.declare("s_1", tools)
    await stage.executing()
    stage.runner.forget("s_1")
    await eventually(lambda: stage.cancelled == 1)
    stage.runner.declare("s_1", tools)
    stage.state.calls["c_1"] = call_of(status="claimed", client="me")
    stage.runner.observe(stage.state)
    stage.go_on.set()
    if idempotent:
        await eventually(lambda: stage.results() == 1)
        assert stage.began == 2
    else:
        stage.sees(released(), client="me")
        assert stage.runner._jobs["s_1"] == {}
        assert stage.began == 1


async def test_the_end_of_the_call_cancels_its_job(stage: Stage) -> None:
    await stage.executing()
    stage.sees(completed(), status="completed")
    await eventually(lambda: stage.cancelled == 1)
    assert stage.results() == 0


async def test_another_client_that_has_it_cancels_the_job(stage: Stage) -> None:
    await stage.executing()
    claimed = ToolCallClaimed(time=TIME, call="c_1", client="other", lease_until=TIME)
    stage.sees(claimed, status="claimed", client="other")
    await eventually(lambda: stage.cancelled == 1)


async def test_our_own_claims_and_other_events_change_nothing(stage: Stage) -> None:
    await stage.executing()
    claimed = ToolCallClaimed(time=TIME, call="c_1", client="me", lease_until=TIME)
    stage.sees(claimed, status="claimed", client="me")
    stage.sees(RunStarted(time=TIME, run="r_1"), status="claimed", client="me")
    stage.runner.heed(ToolCallCompleted(time=TIME, call="c_unknown"), stage.state)
    await asyncio.sleep(0)
    assert (stage.began, stage.cancelled) == (1, 0)


@pytest.mark.parametrize("taken", [False, True])
async def test_a_lease_that_ran_out_is_taken_back_or_given_up(stage: Stage, taken: bool) -> None:
    await stage.executing()
    stage.refuse_claims = taken
    stage.sees(released(), client="me", lease_until=TIME)
    await eventually(lambda: sum(isinstance(frame, ToolClaim) for frame in stage.sent) == 2)
    if taken:
        await eventually(lambda: stage.cancelled == 1)
    else:
        stage.go_on.set()
        await eventually(lambda: stage.results() == 1)
    assert stage.began == 1


async def test_a_state_in_which_the_call_is_gone_or_offered_again(stage: Stage) -> None:
    await stage.executing()
    stage.runner.observe(stage.state)  # offered again: taken back
    await eventually(lambda: sum(isinstance(frame, ToolClaim) for frame in stage.sent) == 2)
    stage.state.calls.clear()
    stage.runner.observe(stage.state)
    await eventually(lambda: stage.cancelled == 1)


async def test_a_call_that_was_refused_is_taken_when_it_is_released(stage: Stage) -> None:
    stage.refuse_claims = True
    stage.requested()
    await eventually(lambda: len(stage.sent) == 1)
    stage.refuse_claims = False
    await asyncio.sleep(0)
    stage.sees(released())
    await eventually(lambda: stage.began == 1)


async def test_forgetting_a_session_cancels_its_jobs(stage: Stage) -> None:
    await stage.executing()
    stage.runner.forget("s_1")
    await eventually(lambda: stage.cancelled == 1)
    stage.requested()
    await asyncio.sleep(0)
    assert stage.began == 1


async def test_calls_without_a_handler_are_left_to_somebody(stage: Stage) -> None:
    stage.state.calls = {
        "c_1": call_of(name="ask"),
        "c_2": call_of(id="c_2", name="ask", status="completed"),
        "c_3": call_of(id="c_3", name="unknown"),
    }
    stage.runner.observe(stage.state)
    assert [call.id for call in stage.runner.unhandled(stage.state)] == ["c_1"]
    assert stage.sent == []
