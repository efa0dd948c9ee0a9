"""A gateway without sockets: broker, store, workers and timers in this process.

Tests act as tabs do (commands in, events out) and compare whole sequences of events. Time is the
broker's: it moves when a test says so. Ids count up, as in the protocol's examples.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from gateway.auth import Grant
from gateway.broker.base import Answered, Append, Claimed, Follower, News
from gateway.broker.memory import MemoryBroker
from gateway.errors import BrokerUnavailable
from gateway.runtime.agent import Agent
from gateway.runtime.execution import Times
from gateway.runtime.timers import Timers
from gateway.runtime.worker import Worker, WorkerOptions
from gateway.sessions.draft import Origin
from gateway.sessions.store import Store
from protocol import commands as cmd
from protocol.frames import Ok
from protocol.state import State
from protocol.values import Principal
from tests.support.waiting import eventually

START = 1_767_225_600.0  # 2026-01-01
DEV = Grant(Principal("local", "dev"), "full")
PATIENCE_S = 20.0


class ManualClock:
    """Seconds that pass when told to."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Ids:
    """`m_1`, `m_2`, …, `r_1`, …"""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def __call__(self, prefix: str) -> str:
        self._counts[prefix] += 1
        return f"{prefix}_{self._counts[prefix]}"


class FaultyBroker(MemoryBroker):
    """The broker in memory, over a connection that a test can cut."""

    down = False
    lost_replies = 0
    """So many appends are stored, and their answers lost."""

    down_after = b"\0"
    """The connection is cut when an event with this in it was stored."""
    copies = 1
    """How often news arrive; 0: not at all."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock=clock, ids=lambda: "e_1")
        self._deliver_to: dict[Follower, Follower] = {}

    def _reach(self) -> None:
        if self.down:
            raise BrokerUnavailable("cut off")

    async def append(self, append: Append) -> int:
        self._reach()
        seq = await super().append(append)
        if any(self.down_after in body for body in append.bodies):
            self.down = True
        if self.lost_replies and append.fence is not None:
            self.lost_replies -= 1
            raise BrokerUnavailable("the reply was lost")
        return seq

    def append_soon(self, append: Append, answered: Answered) -> None:
        def hear(answer: int | BrokerUnavailable) -> None:
            if answer and any(self.down_after in body for body in append.bodies):
                self.down = True
            if answer and self.lost_replies:
                self.lost_replies -= 1
                answer = BrokerUnavailable("the reply was lost")
            answered(answer)

        if self.down:
            cut_off = BrokerUnavailable("cut off")
            asyncio.get_running_loop().call_soon(answered, cut_off)
        else:
            super().append_soon(append, hear)

    async def read(
        self, session: str, after: int, limit: int, *, epoch: str = ""
    ) -> Sequence[tuple[int, bytes]]:
        self._reach()
        return await super().read(session, after, limit, epoch=epoch)

    async def renew(self, session: str, fence: int, *, lease_s: float) -> float:
        self._reach()
        return await super().renew(session, fence, lease_s=lease_s)

    async def claim(self, worker: str, agents: Sequence[str], *, lease_s: float) -> Claimed | None:
        self._reach()
        return await super().claim(worker, agents, lease_s=lease_s)

    async def follow(self, session: str, follower: Follower) -> None:
        def deliver(news: News) -> None:
            for _ in range(self.copies):
                follower(news)

        self._deliver_to[follower] = deliver
        await super().follow(session, deliver)

    def unfollow(self, session: str, follower: Follower) -> None:
        super().unfollow(session, self._deliver_to.pop(follower))

    def followers(self) -> list[Follower]:
        """Whoever follows a session, reached even while nothing is delivered."""
        return list(self._deliver_to)

    async def due_timers(self, limit: int) -> Sequence[str]:
        self._reach()
        return await super().due_timers(limit)


class Stage:
    """One session `s_0`, its store, and as many workers as a test starts."""

    session = "s_0"

    def __init__(
        self,
        agents: Iterable[Agent],
        options: WorkerOptions | None = None,
        *,
        broker: Callable[[Callable[[], float]], FaultyBroker] = FaultyBroker,
    ) -> None:
        self.clock = ManualClock()
        self.broker = broker(self.clock)
        self.ids = Ids()
        self.store = Store(self.broker, new_id=self.ids)
        self.timers = Timers(self.store)
        self.agents: Sequence[Agent] = list(agents)
        self.options = options or WorkerOptions()
        self._changed = asyncio.Event()
        self._commands = 0

    async def create(self, agent: str, tools: list[dict[str, Any]] | None = None) -> None:
        """The session, followed."""
        await self.command("session.create", agent=agent, tools=tools, session=self.session)
        await self.broker.follow(self.session, self._hear)

    async def command(self, kind: str, *, client: str = "tab_A", **fields: Any) -> Ok:
        """A client's command; raises `ProtocolError` if it is refused."""
        self._commands += 1
        frame = {"type": kind, "id": f"k_{self._commands}", "session": self.session, **fields}
        frame = {k: v for k, v in frame.items() if v is not None}
        command = msgspec.convert(frame, cmd.DecidedCommand)
        return await self.store.submit(command, Origin(DEV, client))

    async def send(self, content: Any, **fields: Any) -> Ok:
        """A message; steps of `scripted` are sent as their JSON."""
        if not isinstance(content, str):
            content = msgspec.json.encode(content).decode()
        return await self.command("message.send", content=content, **fields)

    async def state(self) -> State:
        """The session now."""
        return (await self.store.load(self.session, DEV)).state

    async def events(self, after: int = 0) -> list[dict[str, Any]]:
        """The log: events with `seq`, without `time`."""
        found = await self.broker.read(self.session, after, 100_000)
        decoded = [(seq, msgspec.json.decode(body)) for seq, body in found]
        return [{"seq": seq, **{k: v for k, v in e.items() if k != "time"}} for seq, e in decoded]

    async def until(self, condition: Callable[[State], Any]) -> State:
        """The first state seen for which the condition holds."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self._changed.clear()
                state = await self.state()
                if condition(state):
                    return state
                await self._changed.wait()

    async def ended(self, run: str = "r_1") -> State:
        """When this run has ended."""
        return await self.until(lambda s: s.run is not None and s.run.id == run and not s.run.live)

    async def waiting(self, run: str = "r_1") -> State:
        """When this run waits for a tab or a person."""
        return await self.until(
            lambda s: s.run is not None and s.run.id == run and s.run.status == "waiting"
        )

    async def until_log(self, kind: str) -> None:
        """When the log holds such an event, whether or not it was published."""

        async def there() -> bool:
            return kind in types(await self.events())

        await eventually(there, what=kind)

    async def parked(self, worker: Worker) -> None:
        """When the worker has given every run away."""
        await eventually(lambda: worker.active == 0, what="parked")

    @asynccontextmanager
    async def worker(self, **options: Any) -> AsyncGenerator[Worker]:
        """A worker within the block; at its end it is stopped and drained."""
        worker = self.make_worker(**options)
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run())
            yield worker
            worker.stop()

    @asynccontextmanager
    async def lost_worker(self, **options: Any) -> AsyncGenerator[Worker]:
        """A worker within the block; at its end it is killed: it gives nothing back."""
        worker = self.make_worker(**options)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(worker.run())
            yield worker
            task.cancel()

    def make_worker(self, **options: Any) -> Worker:
        """A worker with these options changed; `Times` fields too, and its own `clock`."""
        given = {k: options.pop(k) for k in ("metrics", "clock") if k in options}
        times = {k: options.pop(k) for k in list(options) if k in Times.__struct_fields__}
        changed = msgspec.structs.replace(
            self.options,
            times=msgspec.structs.replace(self.options.times, **times),
            **options,
        )
        return Worker(self.store, self.agents, changed, new_id=self.ids, **given)

    def _hear(self, _news: News) -> None:
        self._changed.set()


def shown(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events without seq, neighbouring deltas of one part joined: cuts are not promised."""
    joined: list[dict[str, Any]] = []
    for event in events:
        bare = {k: v for k, v in event.items() if k != "seq"}
        last = joined[-1] if joined else {}
        same = bare["type"] == last.get("type") and all(
            bare.get(k) == last.get(k) for k in ("message", "part", "kind", "call")
        )
        if same and "delta" in bare:
            last["delta"] += bare["delta"]
        else:
            joined.append(bare)
    return joined


def types(events: Iterable[dict[str, Any]]) -> list[str]:
    """The events' types, neighbouring deltas as one."""
    return [e["type"] for e in shown(events)]
