"""Runs on their own, against a real gateway."""

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from gateway.client.blocking import Client
from gateway.client.client import AsyncClient
from gateway.client.errors import GatewayError
from gateway.client.run import AsyncRun, Update, merged, task_of
from protocol.values import Progress
from tests.client.conftest import AGENTS, Join
from tests.client.odd import WELCOME, odd, say, subscribed
from tests.conftest import StartGateway
from tests.support.processes import GatewayProcess
from tests.support.waiting import eventually


def script(*steps: dict[str, Any]) -> str:
    return json.dumps(steps)


WORK = script(
    {"activity": "preparing"},
    {"log": "one"},
    {"progress": [1, 2]},
    {"output": {"half": True}},
    {"say": "Said.", "chunk": 2},
    {"log": "two"},
    {"output": {"whole": True}},
)


async def test_updates_tell_what_is_new(served: GatewayProcess, join: Join) -> None:
    client = await join(served)
    updates = [
        update async for update in client.run({"app": "scripted", "input": WORK}, stream=True)
    ]
    assert updates[0].status == "queued"
    assert updates[-1] == Update(status="completed", output={"whole": True})
    assert [log for update in updates for log in update.logs] == ["one", "two"]
    assert "preparing" in [update.status for update in updates]
    assert Progress(current=1, total=2) in [update.progress for update in updates]
    assert {"half": True} in [update.partial_output for update in updates]
    assert [update.text for update in updates if update.text][-1] == "Said."
    assert client.sessions == {}  # it listens to nothing any more


async def test_without_a_stream_all_is_one(served: GatewayProcess, join: Join) -> None:
    done = await (await join(served)).run({"agent": "scripted", "input": WORK})
    assert (done.status, done.output, done.logs) == ("completed", {"whole": True}, ["one", "two"])
    assert done.text == "Said."


async def test_what_does_not_complete_raises(served: GatewayProcess, join: Join) -> None:
    client = await join(served)
    with pytest.raises(GatewayError) as failed:
        await client.run({"app": "scripted", "input": script({"fail": "Broken."})})
    assert (failed.value.code, failed.value.message) == ("agent.failed", "Broken.")
    endless = {"app": "scripted", "input": script({"sleep_ms": 60_000})}
    with pytest.raises(TimeoutError):
        await client.run(endless, timeout=2)
    rows = await client.list_sessions()
    assert [row.status for row in rows if row.status == "running"] == []


class Slow:
    """A gateway that answers `run.start` when `go_on` is set."""

    def __init__(self) -> None:
        self.started, self.go_on = asyncio.Event(), asyncio.Event()
        self.stopped: list[str] = []

    async def talk(self, peer: ServerConnection, frame: dict[str, Any]) -> None:
        ok = {"type": "ok", "id": frame.get("id")}
        match frame["type"]:
            case "hello":
                await say(peer, WELCOME)
            case "session.create" | "session.unsubscribe":
                await say(peer, ok)
            case "session.subscribe":
                await say(peer, subscribed(frame))
            case "run.start":
                self.started.set()
                await self.go_on.wait()
                await say(peer, {**ok, "run": "r_1", "seq": 2})
            case "run.interrupt":
                self.stopped.append(frame["run"])
                await say(peer, ok)
            case _:
                raise AssertionError(frame)


async def test_a_timeout_stops_also_what_is_not_answered_yet() -> None:
    gateway = Slow()
    async with odd(gateway.talk) as url, AsyncClient(url) as client:
        seconds = 0.2
        while not gateway.started.is_set():
            with pytest.raises(TimeoutError):
                await client.run("echo", timeout=seconds)
            seconds *= 2
        assert gateway.stopped == []
        assert client.sessions == {}
        gateway.go_on.set()
        await eventually(lambda: gateway.stopped == ["r_1"])


async def test_cancelling_waits_for_a_run_that_is_being_started() -> None:
    gateway = Slow()
    async with odd(gateway.talk) as url, AsyncClient(url) as client:
        run = client.run("echo", stream=True)
        reading = client.tasks.start(anext(run))
        await gateway.started.wait()
        stopping = client.tasks.start(run.cancel())
        gateway.go_on.set()
        await stopping
        assert gateway.stopped == ["r_1"]
        reading.cancel()


async def test_closing_the_client_ends_a_run_that_is_being_started() -> None:
    gateway = Slow()
    async with odd(gateway.talk) as url, asyncio.TaskGroup() as group:
        client = AsyncClient(url)
        running = group.create_task(_refused(client.run("echo")))
        await gateway.started.wait()
        await client.close()
        assert await running == "client.closed"
        gateway.go_on.set()


async def test_a_timeout_does_not_wait_for_a_gateway_that_is_away(
    gateway: StartGateway, join: Join
) -> None:
    served = await gateway(*AGENTS)
    client = await join(served)
    endless = {"app": "scripted", "input": script({"log": "begun"}, {"sleep_ms": 60_000})}
    run = client.run(endless, stream=True)
    await anext(run)
    await served.kill()
    async with asyncio.timeout(20):
        with pytest.raises(TimeoutError):
            await run.outcome(timeout=0.1)
    assert client.status != "closed"


async def test_it_can_be_stopped_and_left(served: GatewayProcess, join: Join) -> None:
    client = await join(served)
    endless = {"app": "scripted", "input": script({"log": "begun"}, {"sleep_ms": 60_000})}
    run = client.run(endless, stream=True)
    assert isinstance(run, AsyncRun)
    await run.cancel()  # nothing to stop yet
    statuses: list[str] = []
    async for update in run:
        statuses.append(update.status)
        if update.logs:
            await run.cancel()
    assert statuses[-1] == "cancelled"
    left = await anext(client.run({"app": "scripted", "input": WORK}, stream=True))
    assert left.status == "queued"


async def test_many_run_side_by_side(served: GatewayProcess, join: Join) -> None:
    client = await join(served)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_outcome(client.run({"app": "scripted", "input": _output(n)})))
            for n in range(3)
        ]
    assert [task.result().output for task in tasks] == [0, 1, 2]


async def _refused(work: Any) -> str:
    with pytest.raises(GatewayError) as refused:
        await work
    return refused.value.code


async def _outcome(work: Any) -> Update:
    return await work


def _output(number: int) -> str:
    return script({"output": number})


async def test_the_blocking_client_has_them_too(served: GatewayProcess) -> None:
    def program() -> tuple[list[str], Any]:
        with Client(served.http_url) as client:
            stream = client.run({"app": "scripted", "input": WORK}, stream=True)
            statuses = [update.status for update in stream]
            endless = client.run(
                {"app": "scripted", "input": script({"sleep_ms": 60_000})}, stream=True
            )
            for update in endless:
                if update.status == "running":
                    endless.cancel()
                statuses.append(update.status)
            return statuses, client.run({"app": "scripted", "input": WORK}).output

    statuses, output = await asyncio.to_thread(program)
    assert "completed" in statuses
    assert statuses[-1] == "cancelled"
    assert output == {"whole": True}


@pytest.mark.parametrize("task", [{}, {"app": "x", "inputs": 1}])
def test_a_task_that_makes_no_sense(task: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as refused:
        task_of(task)
    assert refused.value.code == "client.usage"


def test_a_name_is_a_task() -> None:
    assert task_of("echo") == task_of({"app": "echo"}) == task_of({"agent": "echo"})


def test_merged_keeps_what_was_said() -> None:
    first = Update(status="running", logs=["a"], text="So")
    assert merged(first, Update(status="completed", logs=["b"], output=1)) == Update(
        status="completed", logs=["a", "b"], text="So", output=1
    )
