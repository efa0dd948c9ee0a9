"""What the gateway itself adds: time to a tool call's round trip, CPU to an event.

The figures are written out (`pytest -rP`); the bounds are far above them, since machines differ.
"""

import statistics
import sys
from pathlib import Path

import pytest

from tests.conftest import StartGateway
from tests.support.processes import Valkey
from tests.support.wire import Frame, Tab

AGENT = """
import time

async def timed(run):
    times = []
    for n in range(60):
        began = time.perf_counter()
        await run.call_tool("add", a=n, b=1)
        times.append((time.perf_counter() - began) * 1000)
    await run.output(times[10:])
"""
ADD: Frame = {"name": "add", "parameters": {"type": "object"}}
MAX_ROUND_TRIP_MS = 10


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")


@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_a_round_trip_through_the_browser(
    gateway: StartGateway, valkey: Valkey, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "timed_agents.py").write_text(AGENT)
    broker = valkey.url if kind == "redis" else "memory://"
    served = await gateway("--agents", "timed_agents:timed", "--broker", broker)
    async with Tab(served.url) as tab:
        session = await tab.create("timed", tools=[ADD])
        await tab.subscribe(session, tools=["*"])
        run = (await tab.message(session, "go"))["run"]
        since, ended = 0, ("run.completed", "run.failed")
        while True:
            frame = await tab.wait_for(("tool_call.requested", *ended), since=since)
            since = tab.frames.index(frame, since) + 1
            if frame["type"] in ended:
                break
            about = {"type": "tool.result", "session": session, "call": frame["call"]}
            sums = frame["arguments"]["a"] + frame["arguments"]["b"]
            await tab.send({**about, "id": f"k_{frame['call']}", "output": sums})
        assert frame["type"] == "run.completed", frame
        assert frame["run"] == run
        times: list[float] = sorted(frame["output"])
        median, p95 = statistics.median(times), times[int(len(times) * 0.95)]
        tell(f"{kind}: call_tool to the browser and back: median {median:.2f}, p95 {p95:.2f} ms")
        assert median < MAX_ROUND_TRIP_MS


@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_the_cpu_of_an_event(gateway: StartGateway, valkey: Valkey, kind: str) -> None:
    broker = valkey.url if kind == "redis" else "memory://"
    served = await gateway("--agents", "scripted", "--broker", broker)
    steps = [{"say": "word " * 2_000, "chunk": 5, "interval_ms": 1}]
    async with Tab(served.url) as tab:
        sessions = [await tab.create() for _ in range(10)]
        for session in sessions:
            await tab.subscribe(session)
        before, began = served.cpu_seconds(), tab.mark()
        runs = [(await tab.script(session, *steps))["run"] for session in sessions]
        for session, run in zip(sessions, runs, strict=True):
            assert (await tab.run_end(session, run, within=50))["type"] == "run.completed"
        used, events = served.cpu_seconds() - before, tab.mark() - began
        deltas = 10 * 2_000
        tell(
            f"{kind}: {used / deltas * 1e6:.0f} µs of CPU a delta of the agent (agent, log and "
            f"delivery in one process), {used / events * 1e6:.0f} µs an event sent ({events})"
        )
        assert used / deltas < 0.001
