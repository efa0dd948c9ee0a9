"""`scripted` does what docs/agents.md says, in the order the protocol's examples show."""

from typing import Any

import pytest

from gateway.agents.echo import echo
from gateway.agents.scripted import script, scripted
from gateway.runtime.failures import AgentError
from protocol.errors import ProtocolError
from protocol.values import TextPart
from tests.runtime.stage import Stage, shown, types
from tests.support.waiting import eventually

READ = {
    "name": "read_heading",
    "description": "Reads a heading of the page",
    "parameters": {
        "type": "object",
        "properties": {"level": {"type": "integer"}},
        "required": ["level"],
    },
    "idempotent": True,
}
RENAME = {
    "name": "rename_page",
    "parameters": {"type": "object", "properties": {"title": {"type": "string"}}},
    "approval": True,
}
CALL = {"call_tool": {"name": "read_heading", "arguments": {"level": 1}}}


def after_start(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What followed the (last) `run.started`."""
    found = shown(events)
    start = max(i for i, e in enumerate(found) if e["type"] == "run.started")
    return found[start + 1 :]


async def run(*steps: dict[str, Any], tools: list[dict[str, Any]] | None = None) -> Stage:
    """A stage on which the steps ran to their end without anybody's help."""
    stage = Stage([scripted, echo])
    await stage.create("scripted", tools)
    async with stage.worker():
        await stage.send(list(steps))
        await stage.ended()
    return stage


def text(events: list[dict[str, Any]]) -> str:
    return "".join(e["delta"] for e in events if e["type"] == "message.delta")


# The protocol's examples


async def test_scenario_1_think_and_say_are_one_message() -> None:
    stage = await run({"think": "Let me see."}, {"say": "Hello, world!"})
    assert after_start(await stage.events()) == [
        {"type": "message.started", "message": "m_2", "run": "r_1"},
        {
            "type": "message.delta",
            "message": "m_2",
            "part": 0,
            "kind": "thinking",
            "delta": "Let me see.",
        },
        {
            "type": "message.delta",
            "message": "m_2",
            "part": 1,
            "kind": "text",
            "delta": "Hello, world!",
        },
        {"type": "message.completed", "message": "m_2", "status": "complete"},
        {"type": "run.completed", "run": "r_1"},
    ]


async def test_scenario_2_a_client_tool() -> None:
    stage = Stage([scripted])
    await stage.create("scripted", [READ])
    async with stage.worker():
        await stage.send([CALL, {"say": "It says {last}."}])
        await stage.waiting()
        await stage.command("tool.claim", call="c_1")
        await stage.command("tool.renew", call="c_1", progress={"text": "scrolling"})
        await stage.command("tool.result", call="c_1", output={"text": "Welcome"})
        await stage.ended()
    events = await stage.events()
    for event in events:
        event.pop("deadline", None)
        event.pop("lease_until", None)
    assert after_start(events) == [
        {"type": "message.started", "message": "m_2", "run": "r_1"},
        {
            "type": "tool_call.started",
            "message": "m_2",
            "part": 0,
            "call": "c_1",
            "name": "read_heading",
            "target": "client",
        },
        {"type": "message.completed", "message": "m_2", "status": "complete"},
        {
            "type": "tool_call.requested",
            "call": "c_1",
            "run": "r_1",
            "message": "m_2",
            "name": "read_heading",
            "arguments": {"level": 1},
            "target": "client",
            "client": "tab_A",
            "lease_ms": 15000,
        },
        {"type": "run.waiting", "run": "r_1", "on": ["c_1"]},
        {"type": "tool_call.claimed", "call": "c_1", "client": "tab_A"},
        {"type": "tool_call.claimed", "call": "c_1", "client": "tab_A"},
        {"type": "tool_call.progress", "call": "c_1", "text": "scrolling"},
        {"type": "tool_call.completed", "call": "c_1", "output": {"text": "Welcome"}},
        {"type": "message.started", "message": "m_3", "run": "r_1"},
        {
            "type": "message.delta",
            "message": "m_3",
            "part": 0,
            "kind": "text",
            "delta": 'It says {"text":"Welcome"}.',
        },
        {"type": "message.completed", "message": "m_3", "status": "complete"},
        {"type": "run.completed", "run": "r_1"},
    ]


async def test_scenario_2_parked_and_resumed_after_another_tab_took_the_call() -> None:
    stage = Stage([scripted])
    await stage.create("scripted", [READ])
    async with stage.worker(park_after_s=0.0) as worker:
        await stage.send([CALL, {"say": "It says {last}."}])
        await stage.waiting()
        await stage.command("tool.claim", call="c_1")
        stage.clock.advance(15.1)
        await stage.timers.fire()
        await stage.command("tool.claim", call="c_1", client="tab_B")
        await eventually(lambda: worker.active == 0)
        await stage.command("tool.result", call="c_1", output={"text": "Hi"}, client="tab_B")
        await stage.ended()
    assert types(await stage.events())[3:] == [
        "run.started",
        "message.started",
        "tool_call.started",
        "message.completed",
        "tool_call.requested",
        "run.waiting",
        "tool_call.claimed",
        "tool_call.released",
        "tool_call.claimed",
        "tool_call.completed",
        "run.resumed",
        "message.started",
        "message.delta",
        "message.completed",
        "run.completed",
    ]
    assert text(await stage.events()) == 'It says {"text":"Hi"}.'


async def test_scenario_3_consent_comes_first_and_may_edit_the_arguments() -> None:
    stage = Stage([scripted])
    await stage.create("scripted", [RENAME])
    rename = {"call_tool": {"name": "rename_page", "arguments": {"title": "Q1"}}}
    async with stage.worker():
        await stage.send([rename, {"say": "{last}"}])
        await stage.waiting()
        await stage.command(
            "approval.respond",
            approval="ap_1",
            decision="approve",
            arguments={"title": "Q1 report"},
        )
        await stage.command("tool.result", call="c_1", output="ok")
        await stage.ended()
        assert types(await stage.events())[4:] == [
            "message.started",
            "tool_call.started",
            "message.completed",
            "approval.requested",
            "run.waiting",
            "approval.resolved",
            "tool_call.requested",
            "run.waiting",
            "tool_call.completed",
            "message.started",
            "message.delta",
            "message.completed",
            "run.completed",
        ]
        assert text(await stage.events()) == '"ok"'
        seen = (await stage.state()).seq
        await stage.send([rename, {"say": "{last}"}])
        await stage.waiting("r_2")
        await stage.command("approval.respond", approval="ap_2", decision="deny", reason="Not now.")
        await stage.ended("r_2")
    second = await stage.events(seen)
    assert types(second)[7:] == [
        "run.waiting",
        "approval.resolved",
        "tool_call.completed",
        "message.started",
        "message.delta",
        "message.completed",
        "run.completed",
    ]
    assert text(second) == '{"error":{"code":"tool.denied","message":"Not now."}}'


async def test_scenario_6_enqueue_steer_and_interrupt() -> None:
    stage = Stage([scripted])
    await stage.create("scripted")
    gate = {"approve": {"title": "Go on?"}}
    async with stage.worker():
        await stage.send([{"say": "One"}, gate, {"say": " end."}])
        await stage.waiting()
        with pytest.raises(ProtocolError, match="has a live run"):
            await stage.send([{"say": "No"}])
        await stage.send([{"say": "Two"}, gate], if_busy="enqueue", message="m_two")
        await stage.command("approval.respond", approval="ap_1", decision="approve")
        await stage.waiting("r_2")
        steering = [{"say": "Six"}, {"sleep_ms": 600_000}]
        await stage.send(steering, if_busy="steer", message="m_six")
        await stage.command("approval.respond", approval="ap_2", decision="deny")
        await stage.until(lambda s: s.messages[-1].run == "r_3" and s.messages[-1].parts)
        await stage.send([{"say": "Ten"}], if_busy="interrupt")
        await stage.ended("r_4")
    log = await stage.events()
    said = ["message.started", "message.delta", "message.completed"]
    assert types(log)[3:] == [
        "run.started",
        *said,
        "approval.requested",
        "run.waiting",
        "run.queued",
        "approval.resolved",
        *said,
        "run.completed",
        "message.added",
        "run.started",
        *said,
        "approval.requested",
        "run.waiting",
        "message.added",
        "approval.resolved",
        "run.completed",
        "run.queued",
        "run.started",
        *said,
        "run.cancelled",
        "message.added",
        "run.queued",
        "run.started",
        *said,
        "run.completed",
    ]
    assert [e["run"] for e in log if e["type"] == "run.started"] == ["r_1", "r_2", "r_3", "r_4"]
    assert [e["status"] for e in log if e["type"] == "message.completed"] == [
        "complete",
        "complete",
        "complete",
        "interrupted",
        "complete",
    ]


async def test_scenario_7_a_lost_worker_is_replayed() -> None:
    stage = Stage([scripted])
    await stage.create("scripted", [READ])
    await stage.send([CALL, {"say": "The heading: {last}", "interval_ms": 10}])
    async with stage.lost_worker():
        await stage.waiting()
        await stage.command("tool.result", call="c_1", output="Hi")
        await stage.until(lambda s: s.messages[-1].id == "m_3" and s.messages[-1].parts)
    stage.clock.advance(15.1)
    async with stage.worker():
        await stage.ended()
    events = await stage.events()
    assert types(events)[9:] == [
        "tool_call.completed",
        "message.started",
        "message.delta",
        "run.retrying",
        "message.completed",
        "message.started",
        "message.delta",
        "message.completed",
        "run.completed",
    ]
    retried = next(e for e in events if e["type"] == "run.retrying")
    assert (retried["attempt"], retried["reason"]) == (2, "worker.lost")
    assert [e["status"] for e in events if e["type"] == "message.completed"] == [
        "complete",
        "discarded",
        "complete",
    ]
    state = await stage.state()
    assert state.messages[-1].parts == [TextPart('The heading: "Hi"')]


# Steps


async def test_last_of_several_calls_is_a_list() -> None:
    stage = Stage([scripted])
    await stage.create("scripted", [READ])
    two = {"call_tools": [CALL["call_tool"], {"name": "read_heading", "arguments": {"level": 2}}]}
    async with stage.worker():
        await stage.send([two, {"say": "{last}"}])
        await stage.waiting()
        await stage.command("tool.result", call="c_2", output="B")
        error = {"code": "oops", "message": "no"}
        await stage.command("tool.result", call="c_1", error=error)
        await stage.ended()
    events = await stage.events()
    assert text(events) == '[{"error":{"code":"oops","message":"no"}},"B"]'
    assert [e["on"] for e in events if e["type"] == "run.waiting"] == [["c_1", "c_2"]]


async def test_an_approval_of_its_own() -> None:
    stage = Stage([scripted])
    await stage.create("scripted")
    question = {"approve": {"title": "Send it?", "arguments": {"to": "bob"}}}
    async with stage.worker():
        await stage.send([question, {"say": "{last} "}, question, {"say": "{last}"}])
        await stage.waiting()
        await stage.command("approval.respond", approval="ap_1", decision="approve")
        await stage.until(lambda s: "ap_2" in s.approvals)
        await stage.command(
            "approval.respond", approval="ap_2", decision="approve", arguments={"to": "eve"}
        )
        await stage.ended()
    events = await stage.events()
    assert text(events) == '{"decision":"approve"} {"decision":"approve","arguments":{"to":"eve"}}'
    asked = next(e for e in events if e["type"] == "approval.requested")
    assert asked["title"] == "Send it?"
    assert asked["arguments"] == {"to": "bob"}
    assert "call" not in asked


async def test_signs_of_life() -> None:
    stage = await run(
        {"activity": "preparing"},
        {"progress": [1, 4]},
        {"log": "a line"},
        {"output": {"a": 1}},
        {"emit": {"name": "chart", "value": [1, 2]}},
        {"output": "done"},
    )
    assert after_start(await stage.events()) == [
        {"type": "run.activity", "run": "r_1", "activity": "preparing"},
        {"type": "run.progress", "run": "r_1", "current": 1, "total": 4},
        {"type": "run.log", "run": "r_1", "level": "info", "text": "a line"},
        {"type": "run.output", "run": "r_1", "output": {"a": 1}},
        {"type": "custom", "name": "chart", "value": [1, 2]},
        {"type": "run.output", "run": "r_1", "output": "done"},
        {"type": "run.completed", "run": "r_1", "output": "done"},
    ]


async def test_repeat_and_commentary() -> None:
    steps = [{"commentary": "c", "chunk": 1}, {"repeat": 2, "steps": [{"say": "x"}]}]
    stage = await run({"repeat": 2, "steps": steps})
    deltas = [e for e in shown(await stage.events()) if e["type"] == "message.delta"]
    assert [(e["part"], e["kind"], e["delta"]) for e in deltas] == [
        (0, "commentary", "c"),
        (1, "text", "xx"),
        (2, "commentary", "c"),
        (3, "text", "xx"),
    ]


async def test_fail_closes_the_message() -> None:
    stage = await run({"say": "Half"}, {"fail": "No more."}, {"say": "never"})
    assert after_start(await stage.events())[-2:] == [
        {"type": "message.completed", "message": "m_2", "status": "failed"},
        {
            "type": "run.failed",
            "run": "r_1",
            "error": {"code": "agent.failed", "message": "No more."},
        },
    ]


async def test_the_runs_input_may_be_the_list() -> None:
    stage = Stage([scripted])
    await stage.create("scripted")
    async with stage.worker():
        await stage.command("run.start", input=[{"say": "From input"}])
        await stage.ended()
    assert text(await stage.events()) == "From input"


async def test_a_tool_that_nobody_has_is_an_error_the_script_sees() -> None:
    stage = await run({"call_tool": {"name": "nope"}}, {"say": "{last}"})
    assert text(await stage.events()).startswith('{"error":{"code":"tool.unknown"')


async def test_a_child_runs_in_a_session_of_its_own() -> None:
    stage = await run(
        {"child": {"agent": "scripted", "input": [{"output": 42}]}}, {"say": "{last}"}
    )
    events = await stage.events()
    started, ended = [e for e in events if e["type"] == "run.child"]
    assert (started["status"], ended["status"]) == ("started", "completed")
    assert started["child_run"] == ended["child_run"]
    assert text(events) == "42"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("Hello", "not JSON"),
        ("{}", "not a list"),
        ('["say"]', "Step 1 is not an object"),
        ('[{"say": 5}]', "Step 1 is wrong"),
        ('[{"say": "x"}, {"shout": "x"}]', "Step 2 must have one of"),
        ('[{"say": "x", "think": "y"}]', "Step 1 must have one of"),
        ('[{"say": "x", "chunk": 0}]', "Step 1 is wrong"),
        ('[{"say": "x", "size": 1}]', "Step 1 is wrong"),
        ('[{"call_tool": {"name": "x", "arguments": []}}]', "Step 1 is wrong"),
        ('[{"repeat": 2, "steps": [{"say": "x"}, {"nap": 1}]}]', "Step 1.2 must have"),
        ("[" * 100_000, "not JSON"),
        ('[{"repeat": 1, "steps": ' * 20 + "[]" + "}]" * 20, "deeper than 16"),
        (7, "not a list"),
    ],
)
def test_anything_else_fails_with_a_clear_message(source: Any, problem: str) -> None:
    with pytest.raises(AgentError) as caught:
        script(source)
    assert problem in str(caught.value)
    assert "Send a JSON list of steps" in str(caught.value)


async def test_a_bad_script_fails_its_run_before_the_first_step() -> None:
    stage = Stage([scripted])
    await stage.create("scripted")
    async with stage.worker():
        await stage.send([{"say": "x"}, {"shout": "y"}])
        state = await stage.ended()
    assert state.run is not None
    assert state.run.error is not None
    assert state.run.error.code == "agent.failed"
    assert "message.started" not in types(await stage.events())
