"""The verbs of a run, seen from its agent and from the session's log."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from gateway.runtime.agent import AgentFunction, agent
from gateway.runtime.context import Decision, RunContext
from gateway.runtime.failures import AgentError, NotJsonError, ToolError
from protocol.state import State
from protocol.values import FilePart, Tool, Usage
from tests.runtime.stage import Stage, shown, types
from tests.support.waiting import eventually

SCAN = {"name": "scan_page", "parameters": {"type": "object", "properties": {}}}


async def perform(
    function: AgentFunction, content: str = "Hi", tools: list[dict[str, Any]] | None = None
) -> tuple[Stage, State]:
    """A run of the coroutine that nobody has to help."""
    stage = Stage([agent(name="a")(function)])
    await stage.create("a", tools)
    async with stage.worker():
        await stage.send(content)
        state = await stage.ended()
    return stage, state


def error_of(state: State) -> tuple[str, str]:
    assert state.run is not None
    assert state.run.error is not None
    return state.run.error.code, state.run.error.message


async def test_what_an_agent_sees_of_its_run() -> None:
    seen: dict[str, Any] = {}

    async def look(run: RunContext) -> None:
        seen.update(
            id=run.id,
            session=run.session,
            client=run.client,
            text=run.text,
            input=run.input,
            metadata=run.metadata,
            tools=[t.name for t in run.tools],
            messages=[(m.role, m.text) for m in run.messages],
            replaying=run.replaying,
        )

    await perform(look, "Hello", [SCAN])
    assert seen == {
        "id": "r_1",
        "session": "s_0",
        "client": "tab_A",
        "text": "Hello",
        "input": None,
        "metadata": {},
        "tools": ["scan_page"],
        "messages": [("user", "Hello")],
        "replaying": False,
    }


async def test_what_it_returns_is_the_output() -> None:
    async def give(run: RunContext) -> Any:
        await run.output("draft")
        run.finish("length", Usage(1, 2))
        return {"n": 1}

    _, state = await perform(give)
    assert state.run is not None
    assert (state.run.output, state.run.finish_reason) == ({"n": 1}, "length")
    assert state.run.usage == Usage(1, 2)


async def test_usage_is_the_sum_over_the_messages() -> None:
    async def spend(run: RunContext) -> None:
        for tokens in (52, 96):
            async with run.message() as message:
                await message.write("x")
                message.usage(Usage(tokens, 5))

    _, state = await perform(spend)
    assert state.run is not None
    assert state.run.usage == Usage(148, 10)


class Panic(BaseException):
    """As extensions raise that are written in another language."""


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (ValueError("too bad"), "agent.failed", "too bad"),
        (KeyError(), "agent.failed", "KeyError"),
        (AgentError("model.failed", "HTTP 500"), "model.failed", "HTTP 500"),
        (ToolError("tool.denied", "No."), "tool.denied", "No."),
        (asyncio.CancelledError(), "agent.failed", "The agent cancelled itself."),
        (RuntimeError("x" * 5000), "agent.failed", "x" * 1999 + "…"),
        (AgentError("x" * 99, "half \ud83d"), "x" * 64, "half \ufffd"),
        (ExceptionGroup("g", [ToolError("tool.denied", "No.")]), "tool.denied", "No."),
        (SystemExit(2), "agent.failed", "SystemExit: 2"),
        (BaseExceptionGroup("g", [Panic("oh")]), "agent.failed", "Panic: oh"),
    ],
)
async def test_an_exception_fails_the_run(raised: BaseException, code: str, message: str) -> None:
    async def fail(_run: RunContext) -> None:
        raise raised

    _, state = await perform(fail)
    assert error_of(state) == (code, message)


async def test_output_that_is_no_json_fails_the_run() -> None:
    async def give(_run: RunContext) -> Any:
        return float("nan")

    _, state = await perform(give)
    assert error_of(state) == ("agent.failed", "output is nan, which JSON has not; use null.")


async def test_a_message_that_failed_is_not_seen_again() -> None:
    history: list[Any] = []

    async def stumble(run: RunContext) -> None:
        with suppress(ConnectionError):
            async with run.message() as message:
                await message.write("Half a")
                raise ConnectionError("cut off")
        history.extend(m.text for m in run.messages)
        await run.say("Whole.")

    stage, state = await perform(stumble)
    assert history == ["Hi"]
    assert [m.status for m in state.messages] == ["complete", "failed", "complete"]
    assert types(await stage.events())[4:] == [
        *("message.started", "message.delta", "message.completed") * 2,
        "run.completed",
    ]


async def test_a_call_completes_the_open_message_and_comes_in_its_own() -> None:
    async def talk(run: RunContext) -> None:
        message = await run.open_message()
        await message.text("Wait.")
        with pytest.raises(ToolError) as caught:
            await run.call_tool("scan_page")
        assert caught.value.code == "oops"
        with pytest.raises(AgentError, match="has ended"):
            await message.text("more")

    stage = Stage([agent(name="a")(talk)])
    await stage.create("a", [SCAN])
    async with stage.worker():
        await stage.send("Hi")
        await stage.waiting()
        await stage.command("tool.result", call="c_1", error={"code": "oops", "message": "no"})
        await stage.ended()
    assert types(await stage.events())[4:] == [
        "message.started",
        "message.delta",
        "message.completed",
        "message.started",
        "tool_call.started",
        "message.completed",
        "tool_call.requested",
        "run.waiting",
        "tool_call.completed",
        "run.completed",
    ]


async def test_two_open_messages_are_refused() -> None:
    async def twice(run: RunContext) -> None:
        async with run.message():
            await run.say("inside")

    _, state = await perform(twice)
    assert error_of(state)[1] == "Another message is open; end it first."


async def test_signs_of_life_keep_their_order_with_text() -> None:
    async def live(run: RunContext) -> None:
        await run.activity("thinking", "about \ud800")
        async with run.message() as message:
            await message.write("a")
            await run.progress(1)
            await message.write("b")
            await message.part(FilePart("https://x/y", "image/png"))
        await run.log("done", level="debug")
        await run.emit("chart", [1], keep=True)
        await run.update(metadata={"title": "T", "gone": None}, tools=[])

    stage, state = await perform(live, tools=[SCAN])
    found = [e for e in shown(await stage.events())[4:] if e["type"] != "run.completed"]
    assert [{k: v for k, v in e.items() if k not in ("run", "message")} for e in found] == [
        {"type": "run.activity", "activity": "thinking", "text": "about \ufffd"},
        {"type": "message.started"},
        {"type": "message.delta", "part": 0, "kind": "text", "delta": "a"},
        {"type": "run.progress", "current": 1},
        {"type": "message.delta", "part": 0, "kind": "text", "delta": "b"},
        {
            "type": "message.part",
            "part": 1,
            "content": {"kind": "file", "url": "https://x/y", "media_type": "image/png"},
        },
        {"type": "message.completed", "status": "complete"},
        {"type": "run.log", "level": "debug", "text": "done"},
        {"type": "custom", "name": "chart", "value": [1], "keep": True},
        {"type": "session.updated", "metadata": {"title": "T"}, "tools": []},
    ]
    assert state.custom == {"chart": [1]}


async def test_approve_gives_the_persons_decision() -> None:
    decided: list[Decision] = []

    async def ask(run: RunContext) -> None:
        decided.append(await run.approve("Pay?", {"sum": 1}))
        decided.append(await run.approve("Sure?"))

    stage = Stage([agent(name="a")(ask)])
    await stage.create("a")
    async with stage.worker():
        await stage.send("Hi")
        await stage.waiting()
        await stage.command(
            "approval.respond", approval="ap_1", decision="approve", arguments={"sum": True}
        )
        await stage.until(lambda s: "ap_2" in s.approvals)
        await stage.command("approval.respond", approval="ap_2", decision="deny", reason="No.")
        await stage.ended()
    assert decided == [
        # equal to what was asked only for Python
        Decision(decision="approve", arguments={"sum": True}, by="dev"),
        Decision(decision="deny", reason="No.", by="dev"),
    ]
    assert [d.approved for d in decided] == [True, False]


async def test_a_run_that_nobody_answers_expires() -> None:
    gone: list[type[BaseException]] = []

    async def ask(run: RunContext) -> None:
        try:
            await run.approve("Pay?")
        except BaseException as error:
            gone.append(type(error))
            raise

    stage = Stage([agent(name="a")(ask)])
    await stage.create("a")
    async with stage.worker() as worker:
        await stage.send("Hi")
        await stage.waiting()
        stage.clock.advance(86_401)
        await stage.timers.fire()
        state = await stage.ended()
        await eventually(lambda: worker.active == 0)
    assert error_of(state)[0] == "run.expired"
    assert gone == [asyncio.CancelledError]


async def test_steering_is_read_by_the_next_step() -> None:
    heard: list[list[str]] = []

    async def listen(run: RunContext) -> None:
        assert [m.text for m in run.messages] == ["Hi"]
        await run.approve("Go on?")
        heard.append([m.text for m in run.steering()])
        heard.append([m.text for m in run.steering()])
        await run.say("I heard.")

    stage = Stage([agent(name="a")(listen)])
    await stage.create("a")
    async with stage.worker():
        await stage.send("Hi")
        await stage.waiting()
        await stage.send("Faster!", if_busy="steer", message="m_steer")
        await stage.command("approval.respond", approval="ap_1", decision="approve")
        state = await stage.ended()
    assert heard == [["Faster!"], []]
    started = [e for e in await stage.events() if e["type"] == "message.started"]
    assert [e.get("read") for e in started] == [["m_steer"]]
    assert state.queue == []


async def test_steering_that_nobody_looked_at_gets_a_run_of_its_own() -> None:
    texts: list[str] = []

    async def deaf(run: RunContext) -> None:
        texts.append(run.text)
        if len(texts) == 1:
            await run.approve("Go on?")
        await run.say("Done.")

    stage = Stage([agent(name="a")(deaf)])
    await stage.create("a")
    async with stage.worker():
        await stage.send("Hi")
        await stage.waiting()
        await stage.send("Faster!", if_busy="steer", message="m_steer")
        await stage.command("approval.respond", approval="ap_1", decision="approve")
        await stage.ended("r_2")
    assert texts == ["Hi", "Faster!"]


async def test_an_agents_own_timeout_leaves_the_run_alive() -> None:
    async def impatient(run: RunContext) -> str:
        try:
            async with asyncio.timeout(0.01):
                await run.call_tool("scan_page")
        except TimeoutError:
            await run.say("Too slow.")
        return "done"

    stage, state = await perform(impatient, tools=[SCAN])
    assert state.run is not None
    assert state.run.output == "done"
    assert types(await stage.events())[-4:] == [
        "message.completed",
        "run.waiting",  # the call is still open
        "tool_call.completed",  # what it left open is closed with the run
        "run.completed",
    ]


async def test_calls_from_several_tasks_of_an_agent() -> None:
    results: list[Any] = []

    async def both(run: RunContext) -> None:
        async def one(n: int) -> None:
            results.append((n, await run.call_tool("scan_page", n=n)))

        async with asyncio.TaskGroup() as group:
            group.create_task(one(1))
            group.create_task(one(2))

    stage = Stage([agent(name="a")(both)])
    await stage.create("a", [SCAN])
    async with stage.worker():
        await stage.send("Hi")
        await stage.until(lambda s: len(s.calls) == 2 and s.run and s.run.on == ["c_1", "c_2"])
        await stage.command("tool.result", call="c_2", output="b")
        await stage.command("tool.result", call="c_1", output="a")
        await stage.ended()
    assert sorted(results) == [(1, "a"), (2, "b")]


async def test_update_declares_tools() -> None:
    async def declare(run: RunContext) -> list[str]:
        await run.update(tools=[Tool("other", {"type": "object"})])
        return [t.name for t in run.tools]

    _, state = await perform(declare, tools=[SCAN])
    assert state.run is not None
    assert state.run.output == ["other"]


BAD_VERBS: dict[str, Any] = {
    "output": lambda run: run.output({1, object()}),
    "emit": lambda run: run.emit("x", float("inf")),
    "progress": lambda run: run.progress(2**60),
    "activity": lambda run: run.activity(5),
    "arguments": lambda run: run.call_tool("scan_page", x=float("nan")),
    "say": lambda run: run.say(b"bytes"),
    "tools": lambda run: run.update(tools=[Tool("no good name", {})]),
    "metadata": lambda run: run.update(metadata={"x": 2**70}),
    "child": lambda run: run.start_child("child", object()),
    "approve": lambda run: run.approve("Sure?", float("nan")),
}


@pytest.mark.parametrize("verb", BAD_VERBS)
async def test_what_cannot_be_stored_is_the_agents_error_and_harms_nothing(verb: str) -> None:
    async def stumble(run: RunContext) -> str:
        with pytest.raises((NotJsonError, TypeError)):
            await BAD_VERBS[verb](run)
        return "went on"

    stage, state = await perform(stumble, tools=[SCAN])
    assert state.run is not None
    assert state.run.output == "went on"
    assert types(await stage.events())[-1] == "run.completed"


@pytest.mark.parametrize("ahead", [-5.0, 0.0, 0.03, 1.02])
async def test_pace_returns_at_a_time(ahead: float) -> None:
    early: list[float] = []

    async def talk(run: RunContext) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + ahead
        await run.pace(due)
        early.append(due - loop.time())

    stage = Stage([agent(name="a")(talk)])
    await stage.create("a")
    async with stage.worker():
        await stage.send("Hi")
        await stage.ended()
    assert early[0] < 0.005
