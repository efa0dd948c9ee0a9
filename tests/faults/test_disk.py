"""Faults, Resource exhaustion: the disk that Redis writes its append-only file to is full."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.broker.redis.opening import opened
from tests.faults.clients import Client
from tests.faults.conftest import Replica, Replicate
from tests.faults.disk import Disk, small_disk
from tests.faults.producer import Story, script
from tests.faults.test_redis import refused_in_time, streaming, told_in_the_end
from tests.faults.trial import trial
from tests.support.processes import Valkey
from tests.support.waiting import eventually
from tests.support.wire import Tab

STORY = Story(300, 30)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk") as made:
        yield made


@pytest.fixture(params=["everysec", "always"])
async def server(
    request: pytest.FixtureRequest, tmp_path: Path, disk: Disk
) -> AsyncIterator[Valkey]:
    """A Valkey whose append-only file, and nothing else, is on that disk."""
    options = {"dir": str(disk.path), "appendfsync": request.param}
    made = Valkey(tmp_path / "server", append_only=True, options=options)
    await made.start()
    yield made
    await made.kill()


async def paused(replica: Replica, client: Client, session: str) -> None:
    """Commands are refused in time, what was said before is all that comes."""

    async def refused() -> bool:
        async with Tab(replica.url) as tab:
            answer = await tab.ask({"type": "session.update", "session": session, "metadata": {}})
            return answer.get("code") == "broker.unavailable"

    await eventually(refused, what="the full disk is noticed")
    await refused_in_time(replica, session)
    seen = len(client.events)
    await refused_in_time(replica, session)
    assert len(client.events) == seen
    assert not client.seen("run.failed", "run.cancelled", "run.completed")


async def test_X9_the_disk_is_full(replicate: Replicate, server: Valkey, disk: Disk) -> None:
    """With `everysec` Redis refuses writes until there is room; with `always` it ends itself."""
    replica = await replicate(server.url)
    always = "always" in server.arguments
    async with opened(server.url) as reader, trial(reader) as t:
        t.durable = True
        client, session, run = await streaming(t, replica, STORY)
        epoch, _ = client.cursor(session)
        disk.fill()
        await paused(replica, client, session)
        assert server.running is not always
        disk.free()
        if always:  # as its supervisor does
            await server.start()
        await told_in_the_end(client, session, run, STORY)
        assert client.close_codes == [None], "the socket stays open"
        assert (client.cursor(session)[0] == epoch) is not always
        after = (await client.send(session, script(Story(3, 0))))["run"]
        await client.run_end(after)
        await eventually(lambda: replica.gateway.unready() is None, what="ready again")
