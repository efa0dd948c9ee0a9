"""Consent while no worker has the run, or another one: not asked twice, and no divergence."""

from typing import Any

import pytest

from gateway.agents.scripted import scripted
from gateway.runtime.agent import FunctionAgent, agent
from gateway.runtime.context import RunContext
from gateway.runtime.tools import server_tool
from protocol.state import State
from tests.runtime.stage import Stage

PAY = {"name": "pay", "parameters": {"type": "object", "properties": {}}, "approval": True}


def wiper(resume: Any) -> tuple[FunctionAgent, list[str]]:
    """An agent whose only call needs consent, and what its tool did."""
    wiped: list[str] = []

    @server_tool(approval=True)
    def wipe(path: str) -> str:
        """Needs consent."""
        wiped.append(path)
        return "wiped"

    @agent(name="wiper", resume=resume, tools=[wipe])
    async def one(run: RunContext) -> Any:
        mine = [call for message in run.messages if message.mine for call in message.calls]
        if mine:  # of an agent that resumes by history
            return [mine[0].arguments, mine[0].output or (mine[0].error and mine[0].error.code)]
        (result,) = await run.call_tools([("wipe", {"path": "/a"})])
        return [result.arguments, result.output or (result.error and result.error.code)]

    return one, wiped


async def leave_it(stage: Stage, how: str) -> str:
    """The run waits for consent, and its worker is gone; gives the approval."""
    if how == "lost":
        async with stage.lost_worker():
            await stage.send("Hi")
            state = await stage.waiting()
        stage.clock.advance(20)
    else:
        async with stage.worker(park_after_s=0.0) as worker:
            await stage.send("Hi")
            state = await stage.waiting()
            await stage.parked(worker)
    return next(iter(state.approvals))


async def ended_with(stage: Stage) -> Any:
    state = await stage.ended()
    assert state.run is not None
    assert state.run.status == "completed", state.run.error
    return state.run.output


@pytest.mark.parametrize("resume", ["replay", "history"])
@pytest.mark.parametrize("how", ["lost", "parked"])
@pytest.mark.parametrize("decision", ["approve", "deny"])
async def test_consent_that_comes_after_the_worker(how: str, resume: str, decision: str) -> None:
    one, wiped = wiper(resume)
    stage = Stage([one])
    await stage.create("wiper")
    approval = await leave_it(stage, how)
    if how == "parked":
        await stage.command("approval.respond", approval=approval, decision=decision)
    async with stage.worker():
        if how != "parked":
            await stage.until(lambda state: state.run is not None and state.run.attempt == 2)
            await stage.command("approval.respond", approval=approval, decision=decision)
        outcome = await ended_with(stage)
    assert outcome == [{"path": "/a"}, "wiped" if decision == "approve" else "tool.denied"]
    assert wiped == (["/a"] if decision == "approve" else [])


@pytest.mark.parametrize("decision", ["deny", None])
async def test_a_page_tool_that_is_not_allowed_while_parked(decision: str | None) -> None:
    stage = Stage([scripted])
    await stage.create("scripted", tools=[PAY])
    async with stage.worker(park_after_s=0.0) as worker:
        steps = [{"call_tool": {"name": "pay", "arguments": {"eur": 5}}}, {"say": "Well."}]
        await stage.send(steps)
        state = await stage.waiting()
        await stage.parked(worker)
        if decision:
            approval = next(iter(state.approvals))
            await stage.command("approval.respond", approval=approval, decision=decision)
            await ended_with(stage)
        else:  # nobody answers for a day: then the run has expired too, and did not diverge
            stage.clock.advance(86_400)
            await stage.timers.fire()
            state = await stage.ended()
            assert state.run is not None
            assert state.run.error is not None
            assert state.run.error.code == "run.expired"


async def test_other_arguments_than_a_person_denied_are_another_way() -> None:
    attempts: list[int] = []

    @server_tool(approval=True)
    def wipe(path: str) -> None:
        """Needs consent."""

    @agent(name="fickle", resume="replay", tools=[wipe])
    async def fickle(run: RunContext) -> None:
        attempts.append(1)
        await run.call_tools([("wipe", {"path": f"/{len(attempts)}"})])

    stage = Stage([fickle])
    await stage.create("fickle")
    approval = await leave_it(stage, "parked")
    await stage.command("approval.respond", approval=approval, decision="deny")
    async with stage.worker():
        state = await stage.ended()
    assert state.run is not None
    assert state.run.error is not None
    assert state.run.error.code == "run.diverged"


async def test_a_tool_that_is_not_there_is_not_there_in_a_replay() -> None:
    stage = Stage([scripted])
    await stage.create("scripted", tools=[PAY])
    async with stage.worker(park_after_s=0.0) as worker:
        gone = {"call_tool": {"name": "gone", "arguments": {"a": 1}}}
        await stage.send([gone, {"approve": {"title": "Go on?"}}, {"say": "Well."}])
        state = await stage.waiting()
        await stage.parked(worker)
        approval = next(iter(state.approvals))
        await stage.command("approval.respond", approval=approval, decision="approve")
        await ended_with(stage)


async def test_a_tool_that_the_page_takes_back_was_called_all_the_same() -> None:
    @agent(name="modelled", resume="replay")
    async def modelled(run: RunContext) -> Any:
        async with run.message() as message:
            call = await message.call("look")
            await call.arguments('{"at":"it"}')
            results = await message.call_tools()
        await run.approve("Go on?")
        return results[0].output

    look = {"name": "look", "parameters": {"type": "object", "properties": {}}}
    stage = Stage([modelled])
    await stage.create("modelled", tools=[look])
    async with stage.worker(park_after_s=0.0) as worker:
        await stage.send("Hi")
        state = await stage.waiting()
        await stage.command("tool.result", call=next(iter(state.calls)), output="seen")
        state = await stage.until(lambda state: state.approvals)
        await stage.parked(worker)
        await stage.command("session.update", tools=[])
        approval = next(iter(state.approvals))
        await stage.command("approval.respond", approval=approval, decision="approve")
        assert await ended_with(stage) == "seen"


def asker(*titles: str) -> FunctionAgent:
    @agent(name="asker", resume="history")
    async def one(run: RunContext) -> list[str]:
        answers = [(await run.approve(title, {"n": 1})).decision for title in titles]
        await run.say("Thank you.")
        again = await run.approve(titles[0], {"n": 1})
        return [*answers, again.decision]

    return one


def open_approvals(state: State) -> list[str]:
    return [a.id for a in state.approvals.values() if a.decision is None]


async def test_an_agent_by_history_gets_the_answer_to_what_it_asked() -> None:
    stage = Stage([asker("Sure?", "Really?")])
    await stage.create("asker")
    async with stage.worker(park_after_s=0.0) as worker:
        await stage.send("Hi")
        for number, decision in enumerate(["approve", "deny"], 1):
            state = await stage.until(
                lambda state, number=number: (
                    len(state.approvals) == number and open_approvals(state)
                )
            )
            await stage.parked(worker)
            (approval,) = open_approvals(state)
            await stage.command("approval.respond", approval=approval, decision=decision)
        state = await stage.until(lambda state: len(state.approvals) == 3 and open_approvals(state))
    assert [a.title for a in state.approvals.values()] == ["Sure?", "Really?", "Sure?"]


async def test_an_answer_is_not_taken_for_a_later_question() -> None:
    """Since the question it has said something: who asks the same again asks anew."""

    @agent(name="twice", resume="history")
    async def twice(run: RunContext) -> str:
        if not any(message.mine for message in run.messages):
            await run.approve("Deploy?")
            await run.say("Deployed.")
        return (await run.approve("Deploy?")).decision

    stage = Stage([twice])
    await stage.create("twice")
    async with stage.worker(park_after_s=0.0) as worker:
        await stage.send("Hi")
        await stage.waiting()
        await stage.command("approval.respond", approval="ap_1", decision="approve")
        state = await stage.until(lambda state: len(state.approvals) == 2)
        await stage.parked(worker)
        assert open_approvals(state) == ["ap_2"]
        await stage.command("approval.respond", approval="ap_2", decision="deny")
        assert await ended_with(stage) == "deny"
    assert len((await stage.state()).approvals) == 2
