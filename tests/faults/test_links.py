"""Faults, rows N: a real network that loses, delays and forgets packets."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.broker.redis.opening import opened
from tests.faults.clients import Client
from tests.faults.links import FAR, FAR_GOOD, HERE_GOOD, Link, linked
from tests.faults.producer import Story, script
from tests.faults.test_worker import CALL, READ
from tests.faults.trial import trial
from tests.support.http import http_client
from tests.support.processes import GatewayProcess, Valkey, find_program
from tests.support.waiting import eventually

pytestmark = pytest.mark.netns

LOSS, DELAY_S = 0.1, 0.2
HEARTBEAT_MS = 2_000
SILENCE_S = 3 * HEARTBEAT_MS / 1000
PING_AND_PONG_SECONDS = 60


class FarGateway(GatewayProcess):
    """A gateway in the far namespace: clients come by the bad link, everything else is near."""

    def __init__(self, namespace: str, folder: Path, *options: str) -> None:
        super().__init__(folder, *options, "--host=0.0.0.0", "--insecure")
        self.arguments = [find_program("ip"), "netns", "exec", namespace, *self.arguments]

    @property
    def http_url(self) -> str:
        return f"http://{FAR_GOOD}:{self.port}"

    @property
    def url(self) -> str:
        return f"ws://{FAR}:{self.port}/v1/ws"

    async def connections(self) -> float:
        """How many clients it thinks it has."""
        async with http_client() as http:
            metrics = (await http.get(f"{self.http_url}/metrics")).text
        lines = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if line[:1] != "#")
        return float(lines["agent_gateway_connections"])


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    async with linked() as made:
        yield made


@pytest.fixture
async def near(tmp_path: Path, link: Link) -> AsyncIterator[Valkey]:
    """A Valkey that the far namespace reaches by the good link."""
    options = {"bind": f"127.0.0.1 {HERE_GOOD}", "protected-mode": "no"}
    server = Valkey(tmp_path / "valkey", options=options)
    await server.start()
    yield server
    await server.kill()


@pytest.fixture
async def far(tmp_path: Path, link: Link, near: Valkey) -> AsyncIterator[FarGateway]:
    process = FarGateway(
        link.name, tmp_path, "--broker", f"redis://{HERE_GOOD}:{near.port}/0",
        "--agents=scripted", f"--heartbeat-ms={HEARTBEAT_MS}",
    )  # fmt: skip
    await process.start()
    yield process
    if process.running:
        await process.terminate()
    process.assert_clean()


async def told(client: Client, session: str, story: Story) -> None:
    """A run that tells a story and calls a tool of the page."""
    run = (await client.send(session, script(story, CALL)))["run"]
    await client.tool_result(await client.event("tool_call.requested", run=run, within=40), 1)
    assert (await client.run_end(run, within=60))["type"] == "run.completed"


@pytest.mark.timeout(150)
async def test_N12_a_tenth_of_the_packets_is_lost(
    link: Link, near: Valkey, far: FarGateway
) -> None:
    """And the others are late: nobody is taken for dead, nothing is lost or comes twice."""
    link.loss, link.delay_s = LOSS, DELAY_S
    async with opened(near.url) as reader, trial(reader) as t:

        async def live(client: Client) -> None:
            session = await client.create(tools=[READ])
            story = Story(200, 30)
            await told(client, session, story)
            story.assert_told(client.text(session))
            assert set(client.close_codes) == {None}

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(live(await t.client(far.url)))
        assert link.lost > 0.03 * link.carried


@pytest.mark.timeout(150)
async def test_N4_the_link_goes_away_without_a_word(
    link: Link, near: Valkey, far: FarGateway
) -> None:
    """The client finds out by silence, the gateway by its pings; then it is as if nothing was."""
    story = Story(200, 20)
    async with opened(near.url) as reader, trial(reader) as t:
        client = await t.client(far.url, silence_s=SILENCE_S)
        session = await client.create(tools=[READ])
        run = (await client.send(session, script(story)))["run"]
        await client.deltas(5)
        link.down = True
        await client.until(lambda: not client.connected, what="the silence is noticed")

        async def freed() -> bool:
            return await far.connections() == 0

        await eventually(freed, within=PING_AND_PONG_SECONDS, what="the gateway has noticed")
        link.down = False
        await client.run_end(run)
        story.assert_told(client.text(session))
        assert client.connections == 2
