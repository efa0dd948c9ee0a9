"""A replayed agent: what is committed is returned and not emitted again; another way diverges."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.runtime.agent import agent
from gateway.runtime.context import RunContext
from gateway.runtime.failures import DivergedError
from gateway.runtime.replay import CommittedChild, Replay, children_of
from gateway.sessions.session import digest
from protocol import events as ev
from protocol.model import Approval, Call, Message, Run, StateData
from protocol.values import TextPart, ToolCallPart
from tests.runtime.stage import Stage, shown, types

SCAN = {"name": "scan", "parameters": {"type": "object", "properties": {}}}


def committed() -> StateData:
    run = Run(id="r_1", status="running", attempt=2, seq=3)
    said = Message(
        id="m_2", role="assistant", status="complete", time="", parts=[TextPart("x")], run="r_1"
    )
    called = Message(
        id="m_3",
        role="assistant",
        status="complete",
        time="",
        parts=[ToolCallPart("c_1")],
        run="r_1",
    )
    call = Call(
        id="c_1",
        run="r_1",
        message="m_3",
        name="scan",
        target="client",
        arguments={"a": 1},
        status="completed",
    )
    approval = Approval(id="ap_1", run="r_1", title="Sure?", deadline="", decision="deny")
    return StateData(
        session="s_1",
        messages=[said, called],
        run=run,
        calls={"c_1": call},
        approvals={"ap_1": approval},
    )


def test_things_come_in_order() -> None:
    replay = Replay(committed(), [CommittedChild("s_2", "r_9", "echo")])
    assert replay.ahead
    said = replay.message()
    assert said is not None
    assert said.id == "m_2"
    calls = replay.calls([("scan", {"a": 1})])
    assert calls is not None
    assert [c.id for c in calls] == ["c_1"]
    approval = replay.approval("Sure?", None)
    assert approval is not None
    child = replay.child("echo", "s_2")
    assert child is not None
    assert not replay.ahead
    assert replay.message() is None
    assert replay.calls([("scan", {})]) is None
    assert replay.approval("More?", None) is None
    assert replay.child("echo", "s_2") is None


@pytest.mark.parametrize(
    "other",
    [
        lambda r: r.calls([("scan", {"a": 1})]),  # where a message was said
        lambda r: (r.message(), r.calls([("scan", {"a": 2})])),
        lambda r: (r.message(), r.calls([("look", {"a": 1})])),
        lambda r: (r.message(), r.calls([("scan", {"a": 1}), ("scan", {"a": 1})])),
        lambda r: r.approval("Really?", None),
        lambda r: r.approval("Sure?", {"a": 1}),
        lambda r: r.child("scripted", "s_2"),
    ],
)
def test_another_way_diverges_for_good(other: Callable[[Replay], Any]) -> None:
    replay = Replay(committed(), [CommittedChild("s_2", "r_9", "echo")])
    with pytest.raises(DivergedError):
        other(replay)
    assert replay.diverged is not None
    with pytest.raises(DivergedError):
        replay.message()


def test_arguments_that_a_person_edited_are_not_compared() -> None:
    state = committed()
    state.approvals["ap_2"] = Approval(
        id="ap_2", run="r_1", title="scan", deadline="", call="c_1", decision="approve"
    )
    replay = Replay(state)
    replay.message()
    assert replay.calls([("scan", {"a": "before the edit"})]) is not None


def test_consent_is_to_what_was_shown() -> None:
    """Whatever the person made of it, an agent that asks about something else has diverged."""
    state = committed()
    state.approvals["ap_1"].decision = "approve"
    state.approvals["ap_1"].arguments = {"amount": 9}  # edited
    state.approvals["ap_2"] = Approval(
        id="ap_2", run="r_1", title="scan", deadline="", call="c_1", decision="approve"
    )
    shown = {"ap_1": digest({"to": "bob", "amount": 10}), "ap_2": digest({"a": 1})}
    replay = Replay(state, shown=shown)
    assert replay.approval("Sure?", {"amount": 10, "to": "bob"}) is not None
    replay.message()
    assert replay.calls([("scan", {"a": 1})]) is not None
    for other in (
        lambda r: r.approval("Sure?", {"to": "bob", "amount": 1_000}),
        lambda r: r.approval("Sure?", {"amount": 9}),
        lambda r: (r.message(), r.calls([("scan", {"a": 2})])),
    ):
        with pytest.raises(DivergedError):
            other(Replay(state, shown=shown))


def test_children_are_found_in_the_log() -> None:
    def child(run: str, child_run: str, status: Any) -> ev.RunChild:
        return ev.RunChild(
            time="", run=run, child_session="s_2", child_run=child_run, agent="a", status=status
        )

    log = [
        child("r_1", "r_7", "started"),
        child("r_0", "r_6", "started"),
        child("r_1", "r_7", "failed"),
        child("r_1", "r_8", "started"),
        ev.RunStarted(time="", run="r_1"),
    ]
    assert children_of("r_1", log) == [
        CommittedChild("s_2", "r_7", "a", "failed"),
        CommittedChild("s_2", "r_8", "a"),
    ]


# Whole runs


Body = Callable[[RunContext, int], Awaitable[Any]]


class Interrupted:
    """A replayed agent whose first attempt is dropped with its worker at `halt`."""

    def __init__(self, body: Body) -> None:
        self.attempts = 0
        self.halted = asyncio.Event()
        self._body = body
        self.agent = agent(name="a", resume="replay")(self._run)

    async def halt(self) -> None:
        """In the first attempt: here the worker dies."""
        if self.attempts == 1:
            self.halted.set()
            await asyncio.Event().wait()

    async def _run(self, run: RunContext) -> Any:
        self.attempts += 1
        return await self._body(run, self.attempts)


async def after_a_loss(body: Callable[["Interrupted"], Body], result: Any = None) -> Stage:
    """The run of `body`, whose first attempt was lost; a tab answers its call with `result`."""
    holder: list[Interrupted] = []

    async def run(context: RunContext, attempt: int) -> Any:
        return await body(holder[0])(context, attempt)

    holder.append(Interrupted(run))
    stage = Stage([holder[0].agent])
    await stage.create("a", [SCAN])
    await stage.send("Hi")
    async with stage.lost_worker():
        if result is not None:
            await stage.waiting()
            await stage.command("tool.result", call="c_1", output=result)
        await holder[0].halted.wait()
    stage.clock.advance(15.1)
    async with stage.worker():
        await stage.ended()
    return stage


async def test_scenario_7_what_was_committed_emits_nothing() -> None:
    def body(broken: Interrupted) -> Body:
        async def play(run: RunContext, attempt: int) -> Any:
            await run.log("begin")
            await run.say("One.")
            assert [m.text for m in run.messages] == ["Hi", "One."]
            await run.update(metadata={"seen": attempt})
            await run.say("Two.")
            message = await run.open_message()
            await message.text("Thr")
            await run.log("in the middle")
            await broken.halt()
            await message.text("ee.")
            await message.end()
            return attempt

        return play

    stage = await after_a_loss(body)
    log = [e for e in shown(await stage.events())[4:] if e["type"] != "message.started"]
    assert [(e["type"], e.get("delta") or e.get("status")) for e in log] == [
        ("run.log", None),
        ("message.delta", "One."),
        ("message.completed", "complete"),
        ("session.updated", None),
        ("message.delta", "Two."),
        ("message.completed", "complete"),
        ("message.delta", "Thr"),
        ("run.log", None),
        ("run.retrying", None),
        ("message.completed", "discarded"),
        ("message.delta", "Thr"),
        ("run.log", None),
        ("message.delta", "ee."),
        ("message.completed", "complete"),
        ("run.completed", None),
    ]
    state = await stage.state()
    assert state.metadata == {"seen": 1}
    assert state.run is not None
    assert (state.run.output, state.run.attempt) == (2, 2)


async def test_a_model_step_with_calls_is_replayed() -> None:
    def body(broken: Interrupted) -> Body:
        async def play(run: RunContext, _attempt: int) -> Any:
            async with run.message() as message:
                await message.write("Look: ")
                call = await message.call("scan")
                await call.arguments("{}")
                results = await message.call_tools()
            await broken.halt()
            return results[0].output

        return play

    stage = await after_a_loss(body, "seen")
    state = await stage.state()
    assert state.run is not None
    assert state.run.output == "seen"
    assert types(await stage.events()).count("tool_call.requested") == 1


async def test_divergence_fails_the_run_even_if_the_agent_catches_it() -> None:
    def body(broken: Interrupted) -> Body:
        async def play(run: RunContext, attempt: int) -> Any:
            try:
                await run.call_tools([(f"tool_{attempt}", {})])
            except DivergedError:
                return "all is well"
            await broken.halt()
            return "never"

        return play

    stage = await after_a_loss(body)
    state = await stage.state()
    assert state.run is not None
    assert state.run.error is not None
    assert state.run.error.code == "run.diverged"
    assert "tool_2" in state.run.error.message
