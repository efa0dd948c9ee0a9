"""Claims runs for the agents it has, and executes them, as many at a time as it may.

One claim loop and one task per run, in one group. Nothing of a run is decided here.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import cast

import structlog
from msgspec import Struct

from gateway.broker.base import Claimed
from gateway.errors import BrokerError, BrokerUnavailable, SessionMissing
from gateway.runtime.agent import Agent
from gateway.runtime.beat import Beat
from gateway.runtime.execution import Execution, Times
from gateway.runtime.lease import LeaseTimes
from gateway.sessions.attempt import Attempt
from gateway.sessions.draft import NewId
from gateway.sessions.ids import random_id
from gateway.sessions.store import Store
from gateway.settings import WorkerSettings
from gateway.telemetry import Metrics

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class WorkerOptions(Struct, frozen=True):
    """How many runs at a time, and how long what may take."""

    max_runs: int = 100
    times: Times = Times()
    drain_s: float = 15.0
    hand_over_s: float = 5.0
    """For handing over what has not ended in `drain_s`."""
    poll_s: float = 1.0
    """How long a claim is waited for before asking again."""
    retry_s: float = 0.5
    """After the broker failed."""

    @classmethod
    def of(cls, settings: WorkerSettings) -> "WorkerOptions":
        """As the settings say."""
        lease = LeaseTimes(
            lease_s=settings.lease_ms / 1000,
            renew_s=settings.lease_renew_ms / 1000,
            stop_s=settings.lease_stop_ms / 1000,
        )
        return cls(
            max_runs=settings.max_runs,
            times=Times(
                lease=lease,
                park_after_s=settings.park_after_ms / 1000,
                coalesce_s=settings.coalesce_ms / 1000,
                cancel_s=settings.cancel_ms / 1000,
            ),
            drain_s=settings.drain_ms / 1000 * 0.75,
            hand_over_s=settings.drain_ms / 1000 * 0.25,
        )


class Worker:
    """Executes runs until it is stopped. Agents' names must differ."""

    def __init__(
        self,
        store: Store,
        agents: Mapping[str, Agent] | Iterable[Agent],
        options: WorkerOptions | None = None,
        *,
        metrics: Metrics | None = None,
        new_id: NewId = random_id,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = new_id("w")
        self._store = store
        self._agents = _by_name(agents)
        self._options = options or WorkerOptions()
        self._metrics = metrics or Metrics()
        self._new_id = new_id
        self._clock = clock
        self._beat = Beat(clock)
        self._slots = asyncio.Semaphore(self._options.max_runs)
        # Held while a claim is in flight: cut off, it might hold a session that nobody runs.
        self._claiming = asyncio.Lock()
        self._executions: set[Execution] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    @property
    def active(self) -> int:
        """How many runs it executes."""
        return len(self._executions)

    def stop(self) -> None:
        """Claims nothing more; runs end within `drain_s` or are given away. Idempotent."""
        self._stopping.set()

    async def run(self) -> None:
        """Until `stop`, and then until every run has ended here.

        Cancelled, it drops its runs: their leases run out, and others take them over.
        """
        async with asyncio.TaskGroup() as runs:
            async with asyncio.TaskGroup() as claiming:
                loop = claiming.create_task(self._claim_on(runs))
                await self._stopping.wait()
                async with self._claiming:
                    loop.cancel()
            await self._drain()

    async def _claim_on(self, runs: asyncio.TaskGroup) -> None:
        agents = tuple(self._agents)
        while agents:
            await self._slots.acquire()
            try:
                claimed, since = await self._claim(agents)
            except BaseException:
                self._slots.release()
                raise
            task = runs.create_task(self._execute(claimed, since))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _claim(self, agents: tuple[str, ...]) -> tuple[Claimed, float]:
        """The next claim, and when it was asked for."""
        broker, lease_s = self._store.broker, self._options.times.lease.lease_s
        while True:
            since = self._clock()
            try:
                async with self._claiming:
                    claimed = await broker.claim(self.name, agents, lease_s=lease_s)
                if claimed is not None:
                    return claimed, since
                await broker.wait_claimable(agents, self._options.poll_s)
            except BrokerUnavailable as error:
                self._metrics.broker_error(error)
                await asyncio.sleep(self._options.retry_s)

    async def _execute(self, claimed: Claimed, since: float) -> None:
        """One attempt; whatever goes wrong in it ends it and nothing else."""
        self._metrics.runs_active.inc()
        end = "lost"
        try:
            end = await self._attempt(claimed, since)
        except SessionMissing:
            end = "nothing"
        except BrokerError as error:
            self._metrics.broker_error(error)
            log.warning("attempt could not begin", session=claimed.session, error=repr(error))
            await self._give_back(claimed)
        except Exception:  # a bug: the lease runs out, and after a few losses the run fails
            log.exception("attempt failed", session=claimed.session)
        finally:
            self._metrics.runs_active.dec()
            self._metrics.run(end)
            self._slots.release()

    async def _attempt(self, claimed: Claimed, since: float) -> str:
        attempt = await self._open(claimed, since)
        execution = Execution(
            self._store,
            self._agents[attempt.session.state.agent],
            attempt,
            times=self._options.times,
            metrics=self._metrics,
            since=since,
            new_id=self._new_id,
            beat=self._beat,
        )
        self._executions.add(execution)
        if self._stopping.is_set():
            execution.leave(now=False)
        try:
            return await execution.run()
        finally:
            self._executions.discard(execution)

    async def _open(self, claimed: Claimed, since: float) -> Attempt:
        """Loads the session; as long as the lease lasts it may be tried again."""
        while True:
            try:
                return await self._store.attempt(claimed)
            except BrokerUnavailable:
                if self._clock() > since + self._options.times.lease.stop_s:
                    raise
                await asyncio.sleep(self._options.retry_s)

    async def _give_back(self, claimed: Claimed) -> None:
        """For another try soon; lost before this claim, it is so to the next one, too."""
        broker, soon_s = self._store.broker, self._options.retry_s
        session, fence = claimed.session, claimed.fence
        with suppress(BrokerError):  # then it is free, as a loss, when the lease is out
            if claimed.lost:
                await broker.renew(session, fence, lease_s=soon_s)
            else:
                await broker.release(session, fence, claimable_at=broker.now() + soon_s)

    async def _drain(self) -> None:
        """Lets runs end or park; what is left is handed over, or in the end dropped."""
        for execution in self._executions:
            execution.leave(now=False)
        if await self._emptied(self._options.drain_s):
            return
        for execution in self._executions:
            execution.leave(now=True)
        if not await self._emptied(self._options.hand_over_s):
            for task in self._tasks:
                task.cancel()

    async def _emptied(self, within_s: float) -> bool:
        if not self._tasks:
            return True
        _, left = await asyncio.wait(self._tasks, timeout=within_s)
        return not left


def _by_name(agents: Mapping[str, Agent] | Iterable[Agent]) -> dict[str, Agent]:
    """A mapping's names win over the agents' own."""
    if isinstance(agents, Mapping):
        return dict(cast("Mapping[str, Agent]", agents))
    return {a.name: a for a in agents}
