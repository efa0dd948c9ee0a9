"""One attempt from claim to end: the agent's task beside its keeper, and what is left behind.

The worker's task runs this; the agent has a task of its own, which is cancelled when the run is
over for this worker. An agent that ignores that is abandoned: its recorder is closed, so it can
write nothing.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from math import inf
from typing import cast

import structlog
from msgspec import Struct

from gateway.broker.base import Claimed
from gateway.errors import (
    BrokerError,
    BrokerUnavailable,
    Conflict,
    EpochChanged,
    Fenced,
    GatewayError,
    SessionMissing,
    Trimmed,
)
from gateway.runtime.agent import Agent
from gateway.runtime.beat import Beat
from gateway.runtime.calls import OUTCOME_UNKNOWN, Calls
from gateway.runtime.children import stop as stop_child
from gateway.runtime.context import Hold, RunContext
from gateway.runtime.failures import NOT_THEIRS, AgentError
from gateway.runtime.keeper import Ear, End, Keeper
from gateway.runtime.lease import Lease, LeaseTimes
from gateway.runtime.plain import checked, clean, plain
from gateway.runtime.replay import CommittedChild, Replay, children_of
from gateway.runtime.tools import MAX_ERROR_CHARACTERS, describe
from gateway.sessions import inputs
from gateway.sessions.attempt import Attempt
from gateway.sessions.draft import NewId
from gateway.sessions.store import Store
from gateway.telemetry import Metrics
from protocol import events as ev
from protocol.codec import decode_event
from protocol.state import State
from protocol.values import ErrorInfo, Usage

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

RETRY_S = 0.5


class Times(Struct, frozen=True):
    """The times of an attempt, in seconds."""

    lease: LeaseTimes = LeaseTimes()
    park_after_s: float = 10.0
    coalesce_s: float = 0.02
    cancel_s: float = 10.0
    backoff_s: float = 1.0
    """Before the second retry in a row; doubled for each further one."""


class Execution:
    """Runs one claimed session's run on this worker."""

    def __init__(
        self,
        store: Store,
        agent: Agent,
        attempt: Attempt,
        *,
        times: Times,
        metrics: Metrics,
        since: float,
        new_id: NewId,
        beat: Beat,
    ) -> None:
        self._store = store
        self._agent = agent
        self._attempt = attempt
        self._times = times
        self._metrics = metrics
        self._new_id = new_id
        claimed = attempt.claimed
        self._keeper = Keeper(
            store.broker,
            attempt,
            Lease(store.broker, claimed, times.lease, since=since, clock=beat.time),
            coalesce_s=times.coalesce_s,
            park_after_s=inf if agent.resume == "none" else times.park_after_s,
            beat=beat,
        )
        self._calls = Calls(self._keeper, agent.tools, metrics, lost=claimed.lost, clock=beat.time)

    def leave(self, *, now: bool) -> None:
        """The worker shuts down: give the run away as soon as (`now`: wherever) it stands."""
        self._keeper.leave(now=now)

    async def run(self) -> str:
        """The whole attempt; returns how it ended, for people. Raises `BrokerUnavailable`."""
        claimed = self._attempt.claimed
        async with self._followed(claimed):
            try:
                step = inputs.ClaimRun(resume=self._agent.resume, lost=claimed.lost)
                decision = await self._attempt.step(step)
            except (Fenced, EpochChanged, SessionMissing):
                return "fenced"
            run = self._attempt.session.state.live_run
            if not decision.events:
                await self._give_back()
                return "nothing"
            if run is None:
                return "failed"
            return await self._attend(run.id)

    async def _attend(self, run: str) -> str:
        task = asyncio.create_task(self._drive(run))  # noqa: TID251 - ended by `_end_agent`
        task.add_done_callback(lambda _: self._keeper.wake())
        end: End | None = None
        try:
            end = await self._keeper.run(run)
        except BrokerError as error:  # begun, so not given back: the next claim must say "lost"
            self._metrics.broker_error(error)
            log.exception("attempt failed", session=self._attempt.claimed.session)
            return "lost"
        finally:
            await self._end_agent(task)
        await self._after(end)
        if end != "over":
            return end
        ended = self._attempt.session.state.run
        return ended.status if ended is not None and ended.id == run else "over"

    async def _after(self, end: End) -> None:
        if end == "handed_over":
            await self._hand_over()
        elif end == "epoch" and self._calls.unsure():
            claimed = self._attempt.claimed  # a lease of no time: the next claim says "lost"
            with contextlib.suppress(BrokerError):
                await self._store.broker.renew(claimed.session, claimed.fence, lease_s=0.0)
        elif end == "epoch":
            await self._release(self._store.broker.now())

    async def _end_agent(self, task: "asyncio.Task[None]") -> None:
        """Cancels the agent if it still runs, and waits for it, but not for ever."""
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=self._times.cancel_s)
        if not task.done():
            log.error(
                "agent ignores its cancellation and is abandoned; it can write nothing",
                agent=self._agent.name,
                session=self._attempt.claimed.session,
            )
        elif not task.cancelled() and (error := task.exception()) is not None:
            log.error("the agent's task failed", agent=self._agent.name, exc_info=error)

    # --- the agent's task

    async def _drive(self, run: str) -> None:
        step = await self._outcome(run)
        with contextlib.suppress(asyncio.CancelledError):  # over meanwhile: nothing to say
            await self._keeper.recorder.step(step)

    async def _outcome(self, run: str) -> inputs.CompleteRun | inputs.FailRun:
        try:
            context = await self._prepare(run)
            output = await self._agent(context)
            if context.diverged is not None:
                return inputs.FailRun(error=context.diverged.info)
            step = inputs.CompleteRun(
                output=plain(output, "output"),
                finish_reason=context.finish_reason,
                usage=context.usage or usage_of(self._keeper.state, run),
            )
            return checked(step, "end")
        except asyncio.CancelledError:
            if self._keeper.recorder.closed:
                raise
            return _failed("The agent cancelled itself.")
        except NOT_THEIRS:
            raise
        except BaseException as raised:  # whatever an agent raises ends its run
            error = _innermost(raised)
            if isinstance(error, AgentError):
                return _failed(error.message, error.code)
            if not isinstance(error, GatewayError):
                log.warning(
                    "agent failed",
                    agent=self._agent.name,
                    session=self._attempt.claimed.session,
                    error=type(error).__name__,
                    # a text without end would fill the log, and one that fails end the task
                    exc_info=error if len(describe(error)) <= MAX_ERROR_CHARACTERS else None,
                )
            return _failed(describe(error))

    async def _prepare(self, run: str) -> RunContext:
        """The context; what a lost attempt left open is settled first."""
        losses = self._keeper.ledger.losses
        if losses > 1:
            await asyncio.sleep(self._times.backoff_s * 2 ** (losses - 2))
        replay = None
        if self._agent.resume == "replay":
            children = await self._children(run)
            replay = Replay(self._keeper.state, children, self._keeper.ledger.shown)
        hold = Hold(
            keeper=self._keeper,
            calls=self._calls,
            store=self._store,
            replay=replay,
            new_id=self._new_id,
            preamble=self._agent.preamble,
        )
        if self._agent.resume == "history":
            await self._settle()
        live = self._keeper.state.live_run
        if live is None or live.id != run:  # stopped before it began: the keeper ends this task
            await self._keeper.until(lambda _: False)
        return RunContext(hold)

    async def _settle(self) -> None:
        """Every call has a result before the next model call, and no child is left to itself."""
        for child in list(self._keeper.ledger.children.values()):
            session = self._attempt.session
            await stop_child(self._store, session, child.session, child.run)
            step = inputs.ChildStep(
                child_session=child.session,
                child_run=child.run,
                agent=child.agent,
                call=child.call,
                status="cancelled",
            )
            await self._keeper.recorder.step(step)
        await self._calls.results(list(self._keeper.ledger.open_calls))

    async def _children(self, run: str) -> list[CommittedChild]:
        """Child runs of earlier attempts, from the log since the run was queued."""
        state = self._keeper.state
        if state.run is None or state.run.attempt <= 1:
            return []
        events = [e async for e in self._log(state.session, state.run.seq)]
        return children_of(run, events)

    async def _log(self, session: str, after: int) -> AsyncIterator[ev.Event]:
        while True:
            try:
                found = await self._store.broker.read(session, after, 1000)
            except Trimmed:
                return
            except BrokerUnavailable:
                await asyncio.sleep(RETRY_S)
                continue
            if not found:
                return
            for _, body in found:
                if b'"run.child"' in body and (event := decode_event(body)) is not None:
                    yield event
            after = found[-1][0]

    # --- the lease's end

    async def _hand_over(self) -> None:
        """Another worker goes on at once; calls that may have taken effect are not repeated."""
        try:
            for call in self._calls.unsure():
                step = inputs.ServerResult(call=call, error=OUTCOME_UNKNOWN)
                await self._attempt.step(step)
        except (Fenced, EpochChanged, SessionMissing):
            return
        await self._release(self._store.broker.now())

    async def _give_back(self) -> None:
        """There was nothing to run, unless something was queued just now."""
        claimed, broker = self._attempt.claimed, self._store.broker
        version = self._attempt.session.version
        try:
            await broker.release(
                claimed.session, claimed.fence, claimable_at=None, expect_version=version
            )
        except Conflict:
            await self._release(broker.now())
        except BrokerError as error:  # then it is free when the lease is out
            self._metrics.broker_error(error)

    async def _release(self, claimable_at: float | None) -> None:
        claimed = self._attempt.claimed
        with contextlib.suppress(BrokerError):  # then it is free when the lease is out
            await self._store.broker.release(
                claimed.session, claimed.fence, claimable_at=claimable_at
            )

    @contextlib.asynccontextmanager
    async def _followed(self, claimed: Claimed) -> AsyncGenerator[None]:
        ear = Ear(self._keeper)
        await self._store.broker.follow(claimed.session, ear)
        try:
            yield
        finally:
            self._store.broker.unfollow(claimed.session, ear)


def usage_of(state: State, run: str) -> Usage | None:
    """The model tokens of a run's messages together."""
    used = [m.usage for m in state.messages if m.run == run and m.usage is not None]
    if not used:
        return None
    return Usage(sum(u.input_tokens for u in used), sum(u.output_tokens for u in used))


def _innermost(error: BaseException) -> BaseException:
    """What task groups wrapped, if it is one error."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return _innermost(group.exceptions[0]) if len(group.exceptions) == 1 else group


def _failed(text: str, code: str = "agent.failed") -> inputs.FailRun:
    """The end of a run whose agent failed; whatever the error says, this can be stored."""
    text = clean(str(text))
    if len(text) > MAX_ERROR_CHARACTERS:
        text = text[: MAX_ERROR_CHARACTERS - 1] + "…"
    return inputs.FailRun(error=ErrorInfo(clean(str(code))[:64], text))
