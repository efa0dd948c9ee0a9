"""Runs on their own, against a real gateway."""

import asyncio
import json
from typing import Any

import pytest

from gateway.client.blocking import Client
from gateway.client.errors import GatewayError
from gateway.client.run import AsyncRun, Update, merged, task_of
from protocol.values import Progress
from tests.client.conftest import Join
from tests.support.processes import GatewayProcess


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
        await client.run(endless, timeout=0.3)
    rows = await client.list_sessions()
    assert [row.status for row in rows if row.status == "running"] == []


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
