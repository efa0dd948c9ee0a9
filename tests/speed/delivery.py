"""The ways down and up: from news of the broker to sockets, and from sockets to the connection."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle

from gateway.broker.base import Follower, News
from gateway.broker.followers import Hearer
from gateway.broker.memory import MemoryBroker
from gateway.settings import Settings
from tests.speed.path import Path, Stage, body
from tests.speed.sockets import Tab, masked, tabs
from tests.support.inprocess import ManualClock, in_process

CONNECTIONS = 100
UNLIMITED = 1_000_000
SETTINGS = Settings(
    # Limits would refuse what is sent here without a pause; it is counted all the same.
    frames_per_s=UNLIMITED,
    frames_burst=UNLIMITED,
    # Full after the warm-up: then feeds no longer grow, as those of a busy gateway.
    feed_events=16,
)


class Tapped(MemoryBroker):
    """Tells whoever follows a session what the path says."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage
        # session -> (how its follower hears, its follower, its epoch)
        self._followed: dict[str, tuple[Hearer, Follower, str]] = {}
        # session -> the seq of what was told last
        self.seqs: dict[str, int] = {}

    async def follow(self, session: str, follower: Follower) -> None:
        await super().follow(session, follower)
        (head,) = await self.heads([session])
        assert head is not None
        hearer: object = follower
        assert isinstance(hearer, Hearer)
        self._followed[session] = (hearer, follower, head.epoch)
        self.seqs[session] = head.seq

    def tell(self, session: str, event: bytes) -> None:
        """News of the next event, as from Redis: as it is published, if the follower takes it."""
        self._stage(event)
        hearer, follower, epoch = self._followed[session]
        self.seqs[session] = seq = self.seqs[session] + 1
        if not hearer.hear(epoch.encode(), b"%d" % seq, b"1", event[1:]):
            follower(News(session, epoch, seq, seq, 1, (event,)))


class Stand:
    """A hundred connections, each subscribed to the sessions it was given."""

    def __init__(self, broker: Tapped, tabs: Sequence[Tab], given: Sequence[Sequence[str]]) -> None:
        self.broker = broker
        self.tabs = tabs
        self.given = given
        # How many events in a row they may not see.
        self.hidden = 0

    def check(self) -> None:
        """Each has the newest event of each of its sessions, or the one before a thought."""
        for tab, sessions in zip(self.tabs, self.given, strict=True):
            written = b"\n".join(tab.sink.written)
            assert b'"type":"error"' not in written
            for session in sessions:
                seq = self.broker.seqs[session]
                assert any(_frame(session, at) in written for at in (seq, seq - self.hidden))
            assert not self.hidden or b'"thinking"' not in written


def _frame(session: str, seq: int) -> bytes:
    return b'{"session":"%b","seq":%d,' % (session.encode(), seq)


@asynccontextmanager
async def _standing(
    stage: Stage, sessions: int, each: int, **options: object
) -> AsyncGenerator[Stand]:
    broker = Tapped(stage)
    # A clock that stands: no yielding to the loop after 5 ms, nothing that is due.
    async with in_process(broker=broker, settings=SETTINGS, clock=ManualClock()) as inside:
        names = [f"s_{n:022d}" for n in range(sessions)]
        for name in names:
            await inside.create(name)
        open_tabs = tabs(inside, CONNECTIONS)
        given = [
            [names[(at * each + n) % sessions] for n in range(each)] for at in range(CONNECTIONS)
        ]
        async with asyncio.TaskGroup() as group:
            for at, (tab, wanted) in enumerate(zip(open_tabs, given, strict=True)):
                group.create_task(tab.open(f"tab_{at}", wanted, **options))
        yield Stand(broker, open_tabs, given)


@asynccontextmanager
async def broadcast(stage: Stage) -> AsyncGenerator[Path]:
    """One session, 100 connections that see all of it, 16 events in a turn of the loop."""
    async with _standing(stage, 1, 1, detail="full") as stand:
        (session,) = stand.broker.seqs
        event = body()

        async def turn() -> None:
            for _ in range(16):
                for _ in range(16):
                    stand.broker.tell(session, event)
                await asyncio.sleep(0)

        yield Path(turn, 16 * 16 * CONNECTIONS, 10, stand.check)


@asynccontextmanager
async def multiplex(stage: Stage) -> AsyncGenerator[Path]:
    """1,000 sessions, 10 on each of 100 connections that see all of them, 256 events in a turn."""
    async with _multiplexed(stage, "full", [body()]) as path:
        yield path


@asynccontextmanager
async def multiplex_answer(stage: Stage) -> AsyncGenerator[Path]:
    """The same for connections that see the answer only: one event of three is a thought."""
    bodies = [body("thinking"), body(), body()]  # no divisor of 1,000: in every session
    async with _multiplexed(stage, "answer", bodies) as path:
        yield path


@asynccontextmanager
async def _multiplexed(stage: Stage, detail: str, bodies: Sequence[bytes]) -> AsyncGenerator[Path]:
    async with _standing(stage, 1_000, 10, detail=detail) as stand:
        tell = stand.broker.tell
        stand.hidden = 0 if detail == "full" else 1
        events = zip(cycle(list(stand.broker.seqs)), cycle(bodies), strict=False)

        async def turn() -> None:
            for _ in range(2):
                for _ in range(256):
                    tell(*next(events))
                await asyncio.sleep(0)

        yield Path(turn, 2 * 256, 1_000, stand.check)


@asynccontextmanager
async def up(stage: Stage) -> AsyncGenerator[Path]:
    """100 connections, each acknowledges every event and now and then sends a ping."""
    async with _standing(stage, 1, 1, detail="full", window=512) as stand:
        (session,) = stand.broker.seqs
        event = body()
        heard: list[bytes] = []

        async def prepare() -> None:
            heard.clear()
            for _ in range(4):
                stand.broker.tell(session, event)
                seq = stand.broker.seqs[session]
                heard.append(masked({"type": "ack", "session": session, "seq": seq}))
            heard.append(masked({"type": "ping"}))
            await asyncio.sleep(0)

        async def turn() -> None:
            for frame in heard:
                for tab in stand.tabs:
                    stage(event)
                    tab.hear(frame)
                await asyncio.sleep(0)

        def check() -> None:
            stand.check()
            assert all(tab.last.endswith(b'{"type":"pong"}') for tab in stand.tabs)

        yield Path(turn, 5 * CONNECTIONS, 30, check, prepare)
