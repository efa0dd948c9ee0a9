"""Runs of other sessions, started by a run: made once, watched until they end.

A child's session belongs to the parent's principal. A child that outlives its parent is stopped by
the timers, not here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Literal, TypeVar

from msgspec import Struct

from gateway.auth import Grant
from gateway.broker.base import News
from gateway.errors import BrokerUnavailable
from gateway.runtime.failures import AgentError
from gateway.sessions.access import grant_of
from gateway.sessions.draft import Origin
from gateway.sessions.ids import derived_id
from gateway.sessions.session import Session
from gateway.sessions.store import Store
from protocol.commands import RunInterrupt
from protocol.errors import ProtocolError
from protocol.values import ErrorInfo

RETRY_S = 0.5
LOOK_AGAIN_S = 30.0
T = TypeVar("T")
ChildStatus = Literal["completed", "failed", "cancelled"]
FORGOTTEN = ErrorInfo("agent.failed", "The end of the child run is no longer known.")


class ChildResult(Struct, frozen=True, kw_only=True):
    """How a child run ended."""

    session: str
    run: str
    status: ChildStatus
    output: Any = None
    error: ErrorInfo | None = None


async def start(
    store: Store, parent: Session, agent: str, input_: Any, child: str
) -> tuple[str, str]:
    """(session, run) of a child; the same for the same `child` id. Waits for the broker.

    Raises:
        AgentError: it was refused (`agent.not_found`, …).
    """
    try:
        return await _reached(lambda: store.start_child(parent, agent, input_, child))
    except ProtocolError as error:
        raise AgentError(error.code, error.message) from error


async def ended(
    store: Store, parent: Session, session: str, run: str, *, cancelled: bool = False
) -> ChildResult:
    """Returns when the child run has ended. Waits for the broker.

    A session that is deleted cancels its run; `cancelled`: the parent's log says that it was.
    """
    grant = grant_of(parent.owner)
    news = _Bell()
    await _follow(store, session, news)
    try:
        while True:
            news.rung.clear()
            try:
                result = await _result(store, grant, session, run)
                if result is not None:
                    return result
                cancelled = True  # it was live: only a deletion ends it unseen
            except BrokerUnavailable:
                pass
            except ProtocolError:
                if cancelled:
                    return ChildResult(session=session, run=run, status="cancelled")
                return _forgotten(session, run)
            try:
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await news.rung.wait()
            except TimeoutError:
                pass
    finally:
        store.broker.unfollow(session, news)


async def is_over(store: Store, parent: Session, run: str) -> bool:
    """Whether the parent's own run has ended: then nobody finds this child again.

    Waits for the broker.
    """
    try:
        found = await _reached(lambda: store.load(parent.state.session, grant_of(parent.owner)))
    except ProtocolError:  # deleted
        return True
    known = found.state.run_of(run)
    return known is None or not known.live


async def stop(store: Store, parent: Session, session: str, run: str | None = None) -> None:
    """Interrupts a child whose result nobody waits for; it may have ended, or never begun.

    Waits for the broker.
    """
    command = RunInterrupt(
        id=derived_id("k", session, run or "", "abandoned"), session=session, run=run
    )
    with suppress(ProtocolError):
        await _reached(lambda: store.submit(command, Origin(grant_of(parent.owner), "")))


async def _reached(ask: Callable[[], Awaitable[T]]) -> T:
    """What the broker answers; asked again while it is away."""
    while True:
        try:
            return await ask()
        except BrokerUnavailable:
            await asyncio.sleep(RETRY_S)


class _Bell:
    """A follower that rings when a control event may have come."""

    def __init__(self) -> None:
        self.rung = asyncio.Event()
        self._version = -1

    def __call__(self, news: News) -> None:
        if not news.bodies or news.version != self._version:
            self._version = news.version
            self.rung.set()


async def _follow(store: Store, session: str, bell: _Bell) -> None:
    while True:
        try:
            return await store.broker.follow(session, bell)
        except BrokerUnavailable:
            await asyncio.sleep(RETRY_S)


async def _result(store: Store, grant: Grant, session: str, run: str) -> ChildResult | None:
    """None while it is live. Raises `ProtocolError`: there is no session."""
    state = (await store.load(session, grant)).state
    known = state.run_of(run)
    if known is None:
        return _forgotten(session, run)
    if known.status in ("queued", "running", "waiting"):
        return None
    return ChildResult(
        session=session,
        run=run,
        status=known.status,
        output=known.output,
        error=known.error,
    )


def _forgotten(session: str, run: str) -> ChildResult:
    return ChildResult(session=session, run=run, status="failed", error=FORGOTTEN)
