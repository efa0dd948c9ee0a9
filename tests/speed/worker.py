"""A worker's way down: runs that write a token at a time, each its own append."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial

from gateway.auth import Grant
from gateway.broker.base import Answered, Append
from gateway.broker.memory import MemoryBroker
from gateway.runtime.agent import agent
from gateway.runtime.context import RunContext
from gateway.runtime.execution import Times
from gateway.runtime.worker import Worker, WorkerOptions
from gateway.sessions.store import Origin, Store
from protocol import commands as cmd
from protocol.values import Principal
from tests.speed.path import Path, Stage
from tests.support.inprocess import ManualClock
from tests.support.waiting import eventually

RUNS, ROUNDS = 50, 3
TOKEN = "abcd "


class Null(MemoryBroker):
    """Stores what a run says of itself and forgets its stream, in the next turn of the loop."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(clock=ManualClock())
        self._stage = stage
        self._seqs: dict[str, int] = {}
        self._unanswered: list[Callable[[], None]] = []
        self._wanted = 0
        self._reached = asyncio.Event()
        self.appended = 0
        self.newest = b""

    async def append(self, append: Append) -> int:
        session = append.session
        if append.control:
            return await super().append(append)
        if (seq := self._seqs.get(session)) is None:
            (head,) = await self.heads([session])
            assert head is not None
            seq = head.seq
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._take(append, seq + len(append.bodies), future.set_result)
        return await future

    def append_soon(self, append: Append, answered: Answered) -> None:
        seq = self._seqs[append.session] + len(append.bodies)  # the first one is `append`ed
        self._take(append, seq, answered)

    def _take(self, append: Append, seq: int, answered: Callable[[int], None]) -> None:
        self._seqs[append.session] = seq
        for event in append.bodies:
            self._stage(event)
        self.newest = append.bodies[-1]
        self.appended += 1
        if not self._unanswered:
            asyncio.get_running_loop().call_soon(self._answer)
        self._unanswered.append(partial(answered, seq))

    async def answered(self, appends: int) -> None:
        """Returns when so many were answered, and those who waited have gone on."""
        self._wanted = appends
        self._reached.clear()
        await self._reached.wait()

    def _answer(self) -> None:
        waiting, self._unanswered = self._unanswered, []
        for answer in waiting:
            answer()
        if self.appended == self._wanted:
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._reached.set)


class Gate:
    """Where the agents wait for their next token."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[None]] = []

    async def token(self) -> str:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        await future
        return TOKEN

    def let_through(self) -> None:
        waiting, self.waiting = self.waiting, []
        for future in waiting:
            future.set_result(None)


@asynccontextmanager
async def written(stage: Stage) -> AsyncGenerator[Path]:
    """50 runs; in a round each writes a token, which is an append of its own."""
    broker, gate = Null(stage), Gate()

    @agent(name="scripted")
    async def talker(run: RunContext) -> None:
        message = await run.open_message()
        while True:
            await message.text(await gate.token())

    store = Store(broker)
    options = WorkerOptions(max_runs=RUNS, times=Times(coalesce_s=0.001))
    # A clock that stands: whatever coalesces is due at once, no lease has to be renewed.
    worker = Worker(store, [talker], options, clock=ManualClock())
    origin = Origin(Grant(Principal("local", "dev"), "full"), "tab")

    async def round_() -> None:
        whole = broker.appended + RUNS
        gate.let_through()
        await broker.answered(whole)
        assert len(gate.waiting) == RUNS

    async def turn() -> None:
        for _ in range(ROUNDS):
            await round_()

    def check() -> None:
        assert TOKEN.encode() in broker.newest
        assert broker.appended % RUNS == 0

    async with asyncio.TaskGroup() as group:
        task = group.create_task(worker.run())
        for n in range(RUNS):
            session = f"s_{n:022d}"
            create = cmd.SessionCreate(id="c", agent="scripted", session=session)
            await store.submit(create, origin)
            await store.submit(cmd.MessageSend(id="m", session=session, content="x"), origin)
        await eventually(lambda: len(gate.waiting) == RUNS, what="every run waits for a token")
        yield Path(turn, ROUNDS * RUNS, RUNS, check)
        task.cancel()
