"""Server tools in a run: executed here, with consent, in parallel, once."""

import asyncio
from typing import Any

import pytest

from gateway.runtime.agent import agent
from gateway.runtime.calls import CallResult
from gateway.runtime.context import RunContext
from gateway.runtime.failures import ToolError
from gateway.runtime.tools import ServerTool, server_tool
from protocol.errors import ProtocolError
from protocol.state import State
from protocol.values import ErrorInfo, FilePart
from tests.runtime.stage import Stage, types

SCAN = {"name": "scan", "parameters": {"type": "object", "properties": {}}}
ADD_OF_THE_PAGE = {"name": "add", "parameters": {"type": "object", "properties": {}}}


@server_tool
def add(a: int, b: int = 1) -> int:
    """Adds two numbers."""
    return a + b


@server_tool
def crash() -> None:
    """Always fails."""
    raise ValueError("division by cucumber")


@server_tool
def huge() -> int:
    """Returns what no JSON reader can keep."""
    return 2**70


@server_tool(timeout_s=0.01)
async def hang() -> None:
    """Never ends."""
    await asyncio.Event().wait()


@server_tool(approval=True)
def delete(name: str) -> str:
    """Deletes something."""
    return f"{name} is gone"


async def perform(
    wanted: list[tuple[str, dict[str, Any]]], tools: list[dict[str, Any]] | None = None
) -> tuple[Stage, State, list[CallResult]]:
    results: list[CallResult] = []

    async def call(run: RunContext) -> None:
        results.extend(await run.call_tools(wanted))

    stage = Stage([agent(name="a", tools=[add, crash, hang, huge, delete])(call)])
    await stage.create("a", tools)
    async with stage.worker():
        await stage.send("Hi")
        state = await stage.ended()
    return stage, state, results


async def test_a_server_tool_runs_on_the_worker() -> None:
    stage, _, results = await perform([("add", {"a": 2})])
    assert [r.unwrap() for r in results] == [3]
    assert types(await stage.events())[4:] == [
        "message.started",
        "tool_call.started",
        "message.completed",
        "tool_call.requested",
        "tool_call.completed",
        "run.completed",
    ]


async def test_errors_are_results() -> None:
    _, state, results = await perform(
        [
            ("crash", {}),
            ("hang", {}),
            ("add", {"a": "x"}),
            ("nope", {}),
            ("huge", {}),
            ("add", {"a": 1}),
        ]
    )
    codes = [r.error and r.error.code for r in results]
    assert codes == [
        "tool.failed",
        "tool.timeout",
        "tool.failed",
        "tool.unknown",
        "tool.failed",
        None,
    ]
    assert results[0].error == ErrorInfo("tool.failed", "division by cucumber")
    with pytest.raises(ToolError, match="cucumber"):
        results[0].unwrap()
    assert state.run is not None
    assert state.run.status == "completed"


async def test_no_calls_are_no_message() -> None:
    stage, _, results = await perform([])
    assert results == []
    assert types(await stage.events())[4:] == ["run.completed"]


async def test_the_agents_tool_wins_over_the_pages() -> None:
    _, state, results = await perform([("add", {"a": 1})], [ADD_OF_THE_PAGE])
    assert results[0].output == 2
    assert state.calls["c_1"].target == "server"


async def test_tools_of_both_sides_for_a_model() -> None:
    seen: list[Any] = []

    async def look(run: RunContext) -> None:
        seen.extend((t.name, t.description, t.approval) for t in run.tools)

    stage = Stage([agent(name="a", tools=[add, delete])(look)])
    await stage.create("a", [SCAN, ADD_OF_THE_PAGE])
    async with stage.worker():
        await stage.send("Hi")
        await stage.ended()
    assert seen == [
        ("add", "Adds two numbers.", False),
        ("delete", "Deletes something.", True),
        ("scan", None, False),
    ]


async def test_server_and_client_tools_at_once_run_at_once() -> None:
    release = asyncio.Event()

    @server_tool
    async def wait() -> str:
        """Waits for the tab."""
        await release.wait()
        return "waited"

    outputs: list[Any] = []

    async def call(run: RunContext) -> None:
        results = await run.call_tools([("wait", {}), ("scan", {})])
        outputs.extend((r.output, r.files) for r in results)

    stage = Stage([agent(name="a", tools=[wait])(call)])
    await stage.create("a", [SCAN])
    async with stage.worker():
        await stage.send("Hi")
        await stage.until(lambda s: "c_2" in s.calls and s.calls["c_2"].status == "requested")
        files = [{"kind": "file", "url": "https://x/y", "media_type": "image/png"}]
        await stage.command("tool.result", call="c_2", output="scanned", files=files)
        release.set()
        await stage.ended()
    assert outputs == [("waited", None), ("scanned", [FilePart("https://x/y", "image/png")])]
    assert "run.waiting" not in types(await stage.events())


@pytest.mark.parametrize("decision", ["approve", "deny"])
async def test_consent_comes_before_a_server_tool(decision: str) -> None:
    results: list[CallResult] = []

    async def call(run: RunContext) -> None:
        results.extend(await run.call_tools([("delete", {"name": "a"})]))

    stage = Stage([agent(name="a", tools=[delete])(call)])
    await stage.create("a")
    async with stage.worker():
        await stage.send("Hi")
        await stage.waiting()
        await stage.command(
            "approval.respond",
            approval="ap_1",
            decision=decision,
            arguments={"name": "b"} if decision == "approve" else None,
        )
        await stage.ended()
    if decision == "approve":
        assert results[0].output == "b is gone"
        assert types(await stage.events())[7:] == [
            "approval.requested",
            "run.waiting",
            "approval.resolved",
            "tool_call.requested",
            "tool_call.completed",
            "run.completed",
        ]
    else:
        assert results[0].error is not None
        assert results[0].error.code == "tool.denied"


# A worker that dies in mid-call


def counted(
    idempotent: bool, approval: bool = False
) -> tuple[ServerTool, list[int], asyncio.Event]:
    begun: list[int] = []
    started = asyncio.Event()

    async def work() -> str:
        begun.append(len(begun) + 1)
        started.set()
        if len(begun) == 1 and not approval:
            await asyncio.Event().wait()
        return f"attempt {len(begun)}"

    tool = ServerTool.of(work, description="x", idempotent=idempotent, approval=approval)
    return tool, begun, started


@pytest.mark.parametrize("resume", ["history", "replay"])
@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_lost_call_is_repeated_only_if_it_may_be(resume: Any, idempotent: bool) -> None:
    tool, begun, started = counted(idempotent)
    outputs: list[Any] = []

    async def call(run: RunContext) -> None:
        known = [c for m in run.messages for c in m.calls]
        if resume == "history" and known:
            outputs.append(known[0].output or known[0].error)
            return
        result = (await run.call_tools([("work", {})]))[0]
        outputs.append(result.output or result.error)

    stage = Stage([agent(name="a", resume=resume, tools=[tool])(call)])
    await stage.create("a")
    await stage.send("Hi")
    async with stage.lost_worker():
        await started.wait()
    stage.clock.advance(15.1)
    async with stage.worker():
        await stage.ended()
    if idempotent:
        assert outputs == ["attempt 2"]
    else:
        assert [o.code for o in outputs] == ["tool.outcome_unknown"]
        assert begun == [1]


async def test_a_call_approved_while_parked_runs_once() -> None:
    tool, begun, _ = counted(idempotent=False, approval=True)

    async def call(run: RunContext) -> Any:
        return await run.call_tool("work")

    stage = Stage([agent(name="a", resume="replay", tools=[tool])(call)])
    await stage.create("a")
    async with stage.worker(park_after_s=0.0) as worker:
        await stage.send("Hi")
        await stage.waiting()
        await stage.parked(worker)
        await stage.command("approval.respond", approval="ap_1", decision="approve")
        state = await stage.ended()
    assert state.run is not None
    assert state.run.output == "attempt 1"
    assert begun == [1]
    assert types(await stage.events()).count("run.resumed") == 1


def paying(paid: list[Any]) -> ServerTool:
    @server_tool(approval=True, idempotent=True)
    def pay(to: str, cents: list[int]) -> str:
        """Pays."""
        paid.append({"to": to, "cents": cents})
        return "paid"

    return pay


@pytest.mark.parametrize("edited", [None, {"to": "bob", "cents": [5]}])
async def test_what_runs_is_what_was_shown(edited: Any) -> None:
    """Or what the person made of it; whatever the agent does with its own dictionary."""
    paid: list[Any] = []
    mine: dict[str, Any] = {"to": "bob", "cents": [10]}

    async def call(run: RunContext) -> Any:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(run.call_tools([("pay", mine)]))
            await shown.wait()
            mine["to"], mine["cents"][0] = "mallory", 1_000
            changed.set()
        return asked.result()

    shown, changed = asyncio.Event(), asyncio.Event()
    stage = Stage([agent(name="a", tools=[paying(paid)])(call)])
    await stage.create("a")
    async with stage.worker():
        await stage.send("Hi")
        await stage.waiting()
        (request,) = [e for e in await stage.events() if e["type"] == "approval.requested"]
        assert request["arguments"] == {"to": "bob", "cents": [10]}
        shown.set()
        await changed.wait()
        answer = {"arguments": edited} if edited else {}
        await stage.command("approval.respond", approval="ap_1", decision="approve", **answer)
        await stage.ended()
    assert paid == [edited or {"to": "bob", "cents": [10]}]
    (requested,) = [e for e in await stage.events() if e["type"] == "tool_call.requested"]
    assert requested["arguments"] == paid[0]


async def test_another_worker_runs_what_was_shown_or_nothing() -> None:
    """The agent of the second attempt asks for something else under the same consent."""
    paid: list[Any] = []
    attempts = 0

    async def call(run: RunContext) -> Any:
        nonlocal attempts
        attempts += 1
        return await run.call_tools([("pay", {"to": "bob", "cents": [10**attempts]})])

    stage = Stage([agent(name="a", resume="replay", tools=[paying(paid)])(call)])
    await stage.create("a")
    async with stage.lost_worker():
        await stage.send("Hi")
        await stage.waiting()
    await stage.command("approval.respond", approval="ap_1", decision="approve")
    stage.clock.advance(15.1)
    async with stage.worker():
        state = await stage.ended()
    assert paid == []
    assert state.run is not None
    assert state.run.error is not None
    assert state.run.error.code == "run.diverged"


async def test_consent_of_another_session_or_run_is_none() -> None:
    paid: list[Any] = []

    async def call(run: RunContext) -> Any:
        return await run.call_tools([("pay", {"to": "bob", "cents": [1]})])

    stage = Stage([agent(name="a", tools=[paying(paid)])(call)])
    await stage.create("a")
    await stage.command("session.create", agent="a", session="s_other")
    async with stage.worker():
        await stage.send("Hi")
        await stage.waiting()
        with pytest.raises(ProtocolError, match=r"approval\.unknown"):
            await stage.command(
                "approval.respond", session="s_other", approval="ap_1", decision="approve"
            )
        await stage.command("run.interrupt")
        await stage.send("Again")
        await stage.waiting("r_2")
        with pytest.raises(ProtocolError, match=r"approval\.closed"):
            await stage.command("approval.respond", approval="ap_1", decision="approve")
        await stage.command("run.interrupt")
    assert paid == []
