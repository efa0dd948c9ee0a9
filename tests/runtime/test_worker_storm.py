"""Workers die, tabs meddle, news and replies get lost: what holds whatever happens."""

import asyncio
import random
from typing import Any

import pytest

from gateway.agents.scripted import scripted
from gateway.runtime.lease import LeaseTimes
from protocol.errors import ProtocolError
from protocol.state import State
from tests.runtime.stage import Stage
from tests.support.waiting import eventually

SCAN = {"name": "scan", "parameters": {"type": "object", "properties": {}}, "idempotent": True}
STEPS: list[dict[str, Any]] = [
    {"think": "Hm.", "chunk": 1},
    {"say": "One moment.", "interval_ms": 1},
    {"call_tool": {"name": "scan", "arguments": {"n": 1}}},
    {"say": "1: {last} "},
    {"call_tools": [{"name": "scan", "arguments": {"n": n}} for n in (2, 3)]},
    {"approve": {"title": "Sure?"}},
    {"say": "2: {last}", "chunk": 2, "interval_ms": 1},
    {"output": "done"},
]
SAID = 'One moment.1: 1 2: {"decision":"approve"}'
QUICK = LeaseTimes(lease_s=15.0, renew_s=0.02, stop_s=10.0, retry_s=0.02)
END = {"run.completed", "run.failed", "run.cancelled"}


async def answer(stage: Stage, chance: random.Random, done: asyncio.Event) -> None:
    """A tab and a person: answer what is open, sometimes late, sometimes twice."""
    while not done.is_set():
        state = await stage.state()
        for call in list(state.calls.values()):
            if call.status == "requested" and chance.random() < 0.5:
                await attempt(stage, "tool.result", call=call.id, output=call.arguments["n"])
        for approval in list(state.approvals.values()):
            if approval.decision is None and chance.random() < 0.5:
                await attempt(stage, "approval.respond", approval=approval.id, decision="approve")
        if chance.random() < 0.2:
            await attempt(stage, "session.update", metadata={"n": chance.random()})
        await asyncio.sleep(chance.random() * 0.01)


async def attempt(stage: Stage, kind: str, **fields: Any) -> None:
    try:
        await stage.command(kind, **fields)
    except ProtocolError as error:
        assert error.code in {"tool.closed", "approval.closed", "run.not_active"}  # noqa: PT017


def settled(state: State) -> bool:
    return not state.queue and state.live_run is None and state.run is not None


def check(events: list[dict[str, Any]]) -> None:
    """What every log keeps to (docs/agents.md)."""
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    live = ""
    of_message: dict[str, str] = {}
    open_things: set[str] = set()
    results: set[str] = set()
    ended: set[str] = set()
    for event in events:
        kind = event["type"]
        run = event.get("run") or of_message.get(event.get("message", ""), "")
        assert run not in ended, f"{event} after the end of its run"
        if kind == "run.started":
            assert live == ""
            live = event["run"]
        if kind == "message.started":
            of_message[event["message"]] = event["run"]
            open_things.add(event["message"])
        if kind == "tool_call.requested":
            open_things.add(event["call"])
        if kind == "tool_call.completed":
            assert event["call"] not in results
            results.add(event["call"])
        if kind in ("message.completed", "tool_call.completed"):
            open_things.discard(event["message" if kind[0] == "m" else "call"])
        if kind in END and event["run"] == live:
            assert not open_things
            live = ""
        if kind in END:
            ended.add(event["run"])


def said(events: list[dict[str, Any]], run: str) -> str:
    """The text of a run's messages that were not discarded."""
    mine = [e["message"] for e in events if e["type"] == "message.started" and e["run"] == run]
    gone = {e["message"] for e in events if e.get("status") == "discarded"}
    return "".join(
        e["delta"]
        for e in events
        if e["type"] == "message.delta" and e["kind"] == "text" and e["message"] in set(mine) - gone
    )


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens(seed: int) -> None:
    chance = random.Random(seed)
    stage = Stage([scripted])
    await stage.create("scripted", [SCAN])
    done = asyncio.Event()
    options: dict[str, Any] = {"lease": QUICK, "backoff_s": 0.0, "retry_s": 0.01}
    async with asyncio.TaskGroup() as group:
        group.create_task(answer(stage, chance, done))
        for n in range(12):
            park = chance.choice([0.0, 0.005, 10.0])
            kill = chance.random() < 0.6
            stage.broker.copies = chance.choice([0, 1, 1, 2])
            make = stage.lost_worker if kill else stage.worker
            async with make(park_after_s=park, drain_s=chance.random() * 0.02, **options):
                await stage.send(STEPS, if_busy="enqueue")
                if chance.random() < 0.5:
                    stage.broker.lost_replies = chance.randrange(3)
                if n % 4 == 3:
                    await asyncio.sleep(chance.random() * 0.02)
                    await attempt(stage, "run.interrupt")
                await asyncio.sleep(chance.random() * 0.05)
            stage.clock.advance(16.0 if kill else 0.0)
            await stage.timers.fire()
        stage.broker.copies = 1
        async with stage.worker(**options):
            for _ in range(5):  # leases of calls, and timers
                stage.clock.advance(1.0)
                await stage.timers.fire()

            async def quiet() -> bool:
                return settled(await stage.state())

            await eventually(quiet, within=60)
        done.set()
    events = await stage.events()
    check(events)
    completed = [e["run"] for e in events if e["type"] == "run.completed"]
    assert completed
    assert [said(events, run) for run in completed] == [SAID] * len(completed)
    assert all(e["output"] == "done" for e in events if e["type"] == "run.completed")
    failed = [e["error"]["code"] for e in events if e["type"] == "run.failed"]
    assert set(failed) <= {"worker.lost"}
