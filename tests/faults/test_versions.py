"""Faults, Deploy: two versions of the gateway beside each other, over one Redis and on one run."""

import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from pathlib import Path

import pytest

from gateway.broker.redis.broker import RedisBroker
from tests.broker.redis.opening import QUICK
from tests.faults.conftest import LEASE_OPTIONS, SCALE
from tests.faults.producer import Story, script
from tests.faults.trial import trial
from tests.support.processes import ROOT, GatewayProcess, Valkey
from tests.support.wire import Frame

pytestmark = list(SCALE)

# The last commit whose gateways the present ones promise to work beside; with a release, its tag.
OLDER = "774496b"
READ: Frame = {"name": "read_heading", "parameters": {"type": "object"}}
CALL: Frame = {"call_tool": {"name": "read_heading"}}

Start = Callable[[bool], GatewayProcess]
"""A gateway of the older version, or not; it runs agents, too."""


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of the older version."""
    folder = tmp_path_factory.mktemp("older")
    made = subprocess.run(
        ["git", "archive", OLDER, "gateway", "protocol"], cwd=ROOT, capture_output=True, check=True
    )
    with tarfile.open(fileobj=BytesIO(made.stdout)) as archive:
        archive.extractall(folder, filter="data")
    asked = [sys.executable, "-c", "import gateway; print(gateway.__file__)"]
    told = subprocess.run(
        asked, cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, check=True
    )
    assert told.stdout.startswith(str(folder).encode()), told.stdout
    return folder


@pytest.fixture
async def start(older: Path, valkey: Valkey, tmp_path: Path) -> AsyncIterator[Start]:
    made: list[GatewayProcess] = []

    def make(old: bool) -> GatewayProcess:
        options = ("--broker", valkey.url, "--agents", "scripted", *LEASE_OPTIONS)
        environment = {"PYTHONPATH": str(older)} if old else {}
        made.append(GatewayProcess(tmp_path, *options, environment=environment))
        return made[-1]

    yield make
    for process in made:
        await process.kill()
        process.assert_clean()


@pytest.fixture
async def reader(valkey: Valkey) -> AsyncIterator[RedisBroker]:
    broker = RedisBroker(valkey.url, rhythm=QUICK)
    await broker.start()
    yield broker
    await broker.close()


@pytest.mark.parametrize("first_is_old", [True, False], ids=["old-new", "new-old"])
async def test_S5_two_versions_share_a_run(
    start: Start, reader: RedisBroker, first_is_old: bool
) -> None:
    """Commands on one side, events on the other; then the side that executes is killed."""
    story, tail = Story(200, 20), Story(5, 0, name="tail")
    first = await start(first_is_old).start()
    async with trial(reader) as t:
        one = await t.client(first.url)
        session = await one.create(tools=[READ])
        run = (await one.send(session, script(Story(2, 0), CALL, story, tail)))["run"]
        call = await one.event("tool_call.requested")
        second = await start(not first_is_old).start()
        two = await t.client(second.url)
        await two.follow(session)
        await one.tool_result(call, "heading")
        await two.deltas(5)
        # a stop from the other side reaches the worker, and what is queued goes on
        queued = (await two.send(session, script(Story(2, 0)), if_busy="enqueue"))["run"]
        await one.must({"type": "run.interrupt", "session": session, "run": queued})
        roaming = await t.client(first.url, second.url)
        await roaming.follow(session)
        await roaming.deltas(3)
        await first.kill()  # its client is gone with it; another version goes on with the run
        assert (await two.run_end(run, within=30))["type"] == "run.completed"
        assert [e["attempt"] for e in two.seen("run.retrying")] == [2]
        assert two.text(session).endswith(tail.text)
        await roaming.back(1)
        await roaming.run_end(run, within=30)
        await first.start()
        await one.back(1)
        after = (await one.send(session, script(Story(3, 0))))["run"]
        assert (await two.run_end(after))["type"] == "run.completed"
        assert len(two.seen("run.cancelled", run=queued)) == 1
