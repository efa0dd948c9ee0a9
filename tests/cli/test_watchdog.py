"""G4: a process that hangs ends itself and says where; one that was only stopped goes on."""

import signal
from pathlib import Path

import httpx2
import pytest

from tests.conftest import StartGateway
from tests.faults.producer import Story, script
from tests.support.processes import GatewayProcess
from tests.support.waiting import eventually
from tests.support.wire import Tab

HANGING = """
import asyncio, pathlib, threading, time

async def blocker(run):
    time.sleep(600)

async def stubborn(run):
    await run.say("Here I am.")
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass
"""


@pytest.fixture
def agents(tmp_path: Path) -> str:
    (tmp_path / "hanging.py").write_text(HANGING)
    return "hanging:blocker,hanging:stubborn,scripted"


async def begin(served: GatewayProcess, agent: str) -> None:
    async with Tab(served.url) as tab:
        session = await tab.create(agent)
        await tab.subscribe(session)
        await tab.message(session, "Hi")
        await tab.wait_for("message.completed", session=session)


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_a_blocked_loop_ends_the_process(
    gateway: StartGateway, agents: str, log_format: str
) -> None:
    served = await gateway("--agents", agents, "--stall-ms=3000", f"--log-format={log_format}")
    async with Tab(served.url) as tab:
        session = await tab.create("blocker")
        await tab.send({"type": "message.send", "id": "k_1", "session": session, "content": "Hi"})
        assert await served.wait(within=30) == 70
    assert "loop_stands_still" in served.output()
    assert "in blocker" in served.output()  # the stack names who


async def test_a_stopped_process_has_not_hung(gateway: StartGateway, agents: str) -> None:
    served = await gateway("--agents", agents, "--stall-ms=1500")
    story = Story(20, 1)
    async with Tab(served.url) as tab:
        session = await tab.create("scripted")
        await tab.subscribe(session)
        served.pause()
        with pytest.raises(AssertionError):
            await eventually(lambda: not served.running, within=3)
        served.resume()
        ok = await tab.message(session, script(story))
        await tab.run_end(session, ok["run"])
        assert tab.text(session) == story.text


async def test_the_lag_is_measured(gateway: StartGateway, agents: str) -> None:
    served = await gateway("--agents", agents)
    async with httpx2.AsyncClient(base_url=served.http_url, trust_env=False) as client:

        async def beats() -> float:
            text = (await client.get("/metrics")).text
            (line,) = [x for x in text.splitlines() if "loop_lag_seconds_count" in x]
            return float(line.split()[1])

        seen = await beats()

        async def more() -> bool:
            return await beats() > seen

        await eventually(more, what="beats")


async def test_an_agent_that_ignores_everything_does_not_keep_the_process(
    gateway: StartGateway, agents: str
) -> None:
    served = await gateway("--agents", agents, "--drain-ms=500", "--cancel-ms=100")
    await begin(served, "stubborn")
    served.send_signal(signal.SIGTERM)
    assert await served.wait(within=40) == 70
    assert "end_takes_too_long" in served.output()
    assert "stubborn" in served.output()
