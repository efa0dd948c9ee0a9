"""Faults, R9 and R10: a master that Sentinels replace, while events are appended."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.broker.base import Broker
from gateway.errors import BrokerUnavailable, ConfigurationError, EpochChanged
from tests.broker.driving import Ear, Session, make
from tests.broker.redis.constellations import Watched, ask, attached, replicated, watched
from tests.broker.redis.opening import opened
from tests.support.processes import KeyValueServer, free_port
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Watched]:
    async with watched(tmp_path) as made:
        yield made


@dataclass
class Writer:
    """Appends 1, 2, 3 … as an attempt does: what was not answered is sent again, the same."""

    session: Session
    fence: int
    # (epoch, seq, text) of each answered append
    acked: list[tuple[str, int, bytes]] = field(default_factory=list[tuple[str, int, bytes]])
    longest_s: float = 0.0
    longest_verb_s: float = 0.0

    async def write(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        n, answered = 1, loop.time()
        while True:
            asked = loop.time()
            try:
                seq = await self.session.append(str(n), fence=self.fence, n=n)
            except BrokerUnavailable:
                await asyncio.sleep(0.02)
            except EpochChanged as changed:
                self.session.epoch = changed.epoch
            else:
                now = loop.time()
                self.longest_s, answered = max(self.longest_s, now - answered), now
                self.acked.append((self.session.epoch, seq, b"%d" % n))
                n += 1
                await asyncio.sleep(0.002)
            self.longest_verb_s = max(self.longest_verb_s, loop.time() - asked)


async def writer(broker: Broker) -> Writer:
    session = await make(broker)
    await session.append(claimable_at=0.0)
    return Writer(session, (await session.claim(lease_s=3600)).fence)


async def assert_true(broker: Broker, wrote: Writer) -> str:
    """What was acknowledged in the epoch that lasts is stored, and the others were told."""
    loaded = await broker.load(wrote.session.id)
    stored = dict(loaded.events)
    for epoch, seq, text in wrote.acked:
        if epoch == loaded.head.epoch:
            assert stored[seq] == text
    assert wrote.acked[-1][0] == loaded.head.epoch
    assert sorted(stored) == list(range(1, loaded.head.seq + 1))
    return loaded.head.epoch


@pytest.mark.cluster
async def test_r9_the_master_dies(service: Watched) -> None:
    async with opened(service.url) as broker, opened(service.url) as other:
        wrote, ear = await writer(broker), Ear()
        first = wrote.session.epoch
        await other.follow(wrote.session.id, ear)
        writing = asyncio.create_task(wrote.write())  # noqa: TID251 - cancelled below
        await eventually(lambda: len(wrote.acked) > 100)
        dead = await service.master()
        safe = {text for _, _, text in wrote.acked}
        await replicated(dead)
        await dead.kill()
        killed, seen = asyncio.get_running_loop().time(), len(wrote.acked)

        async def elected() -> bool:
            return await service.master() is not dead

        await eventually(elected, within=30, what="another master")
        election_s = asyncio.get_running_loop().time() - killed  # the Sentinels' own time
        await eventually(lambda: len(wrote.acked) > seen + 100, within=30, what="it goes on")
        writing.cancel()
        await asyncio.wait((writing,))
        assert wrote.longest_s < election_s + 5
        assert wrote.longest_verb_s < 15
        assert await assert_true(broker, wrote) != first, "what readers have may be lost"
        # What the replica had was not.
        stored = {text for _, text in (await broker.load(wrote.session.id)).events}
        assert safe <= stored
        # Whoever reads on in the old epoch hears that it is over; the listener followed.
        with pytest.raises(EpochChanged):
            await other.read(wrote.session.id, 1, 9, epoch=first)
        await eventually(lambda: other.healthy)
        last = await wrote.session.append("last")
        await eventually(lambda: ear.events()[-1:] == [(last, b"last")])
        assert ear.told_to_look


@pytest.mark.cluster
async def test_r10_two_masters(service: Watched) -> None:
    """The old one hangs, is replaced, and takes writes again until it hears of it."""
    old = await service.master()
    async with opened(service.url) as broker, opened(old.url) as cut_off:
        session = await make(broker, "1", "2")
        # A writer that knows nothing of Sentinels: the other side of the split.
        behind = Session(cut_off, session.id, session.owner, session.agent, session.epoch)
        old.pause()

        async def replaced() -> bool:
            return (await service.master()).port != old.port

        await eventually(replaced, within=20, what="the Sentinels have another master")

        async def goes_on() -> bool:
            try:
                await session.append("kept")
            except BrokerUnavailable:
                return False
            except EpochChanged as changed:
                session.epoch = changed.epoch
                return False
            return True

        await eventually(goes_on, within=10, what="the writer is at the new master")
        # The Sentinels must not tell it before it has said yes to something.
        for sentinel in service.sentinels:
            sentinel.pause()
        old.resume()
        lost = await appended(behind, "lost")
        for sentinel in service.sentinels:
            sentinel.resume()
        await eventually(lambda: attached(old), within=30, what="the old master is a replica")
        assert session.epoch != behind.epoch
        loaded = await broker.load(session.id)
        assert (lost, b"lost") not in loaded.events
        assert [text for _, text in loaded.events][:2] == [b"1", b"2"]
        for reader in (broker, cut_off):
            with pytest.raises((EpochChanged, BrokerUnavailable)):
                await reader.read(session.id, 2, 9, epoch=behind.epoch)
        with pytest.raises(BrokerUnavailable):
            await behind.append("never")


async def appended(session: Session, text: str) -> int:
    async def attempt() -> int:
        try:
            return await session.append(text)
        except BrokerUnavailable:
            return 0

    return await eventually(attempt, what="the old master says yes")


@pytest.mark.cluster
async def test_a_sentinel_that_is_gone_is_not_missed(service: Watched) -> None:
    await service.sentinels[0].kill()
    service.sentinels[1].pause()
    async with opened(service.url) as broker:
        session = await make(broker)
        assert await session.append("a") == 2
    service.sentinels[1].resume()


@pytest.mark.cluster
async def test_an_unknown_service_names_itself(
    service: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """It is waited for, as amid a fail-over nobody knows a master either."""
    url = service.url.rpartition("/")[0] + "/other"
    async with opened(url) as broker:
        assert "'other'" in caplog.text
        assert not broker.healthy


async def test_nobody_there(caplog: pytest.LogCaptureFixture) -> None:
    """It is waited for."""
    async with opened(f"redis+sentinel://127.0.0.1:{free_port()}/main") as broker:
        assert "Redis at 127" in caplog.text
        assert not broker.healthy


async def test_a_plain_server_is_one_server(server: KeyValueServer) -> None:
    with pytest.raises(ConfigurationError):
        async with opened(f"redis+cluster://127.0.0.1:{server.port}"):
            pass
    assert await ask(server, "DBSIZE") == 0
