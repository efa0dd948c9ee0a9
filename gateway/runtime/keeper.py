"""What goes on beside the agent in one attempt: appends, the lease, news, parking, the end.

One task runs the keeper and only the keeper touches the attempt, so an append is never cut off by
an agent that cancels what it awaits, and news are never folded while an append is in flight. The
agent reaches it through the recorder, and waits for the session to change with `until`.

While an agent streams, the keeper does nothing but append, and its task sleeps: the callback that
finds something due begins the append, its answer's callback looks for more. That is the way of
every token, and kept short. The task looks around, in a whole turn, only when something asked for
its attention, and does what has to wait: steps, news, the lease, appends that went wrong, parking.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import inf
from typing import Literal

from gateway.broker.base import Broker, News
from gateway.errors import (
    BrokerUnavailable,
    Conflict,
    EpochChanged,
    Fenced,
    SessionMissing,
)
from gateway.runtime.beat import EARLY_S, Beat
from gateway.runtime.lease import Lease
from gateway.runtime.recorder import Recorder
from gateway.sessions.attempt import Attempt
from gateway.sessions.draft import RuleBrokenError
from gateway.sessions.session import Ledger, Session
from protocol.state import State
from protocol.values import time_text

End = Literal["over", "fenced", "epoch", "parked", "handed_over"]
"""`over`: the run ended. `fenced`: stopped or taken over. `epoch`: the log is another one.
`parked` and `handed_over`: the run goes on elsewhere; only the latter still holds the lease."""

RETRY_S = 0.5
Condition = Callable[[Session], bool]


@dataclass(slots=True, eq=False)
class _Waiter:
    condition: Condition
    answer: "asyncio.Future[None]"
    things: frozenset[str] | None
    """The calls and approvals waited for; None: something else, never parked."""


class Ear:
    """The broker's follower of one keeper; a `Hearer` (gateway/broker/followers.py)."""

    __slots__ = ("_attempt", "_keeper")

    def __init__(self, keeper: "Keeper") -> None:
        self._keeper = keeper
        self._attempt = keeper.attempt

    def __call__(self, news: News) -> None:
        self._keeper.hear(news)

    def hear(self, epoch: bytes, first: bytes, count: bytes, text: bytes) -> bool:
        """Drops what the attempt has appended itself, before anything is made of it."""
        attempt = self._attempt
        return (
            int(first) + int(count) - 1 <= attempt.seq
            and bool(text)
            and epoch.decode() == attempt.claimed.epoch
        )


class Keeper:
    """Runs one attempt's side of things until it is over; see `End`."""

    def __init__(
        self,
        broker: Broker,
        attempt: Attempt,
        lease: Lease,
        *,
        coalesce_s: float = 0.02,
        park_after_s: float = inf,
        beat: Beat | None = None,
    ) -> None:
        self.beat = beat or Beat()
        self._clock = self.beat.time
        self.recorder = Recorder(self._recorded, coalesce_s=coalesce_s, clock=self._clock)
        self.attempt = attempt
        self.lease = lease
        self._broker = broker
        self._park_after_s = park_after_s
        self._run = ""
        # Whether a whole turn is asked for.
        self._attention = True
        # Whether the recorder has something due.
        self._ripe = False
        # Where the task waits, if it does.
        self._sleep: asyncio.Future[None] | None = None
        # What a callback must not raise.
        self._fault: Exception | None = None
        # What calls for attention next, and when.
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = inf
        self._news: list[News] = []
        self._news_at = inf
        self._waiters: list[_Waiter] = []
        self._seen_version = ("", -1)
        # What the run has announced to wait for since it waits; closed ones stay in it.
        self._announced: set[str] = set()
        self._idle_since: float | None = None
        self._park_not_before = -inf
        self._leaving = False

    # --- for the agent's side

    @property
    def state(self) -> State:
        """The session as this attempt knows it; read-only, valid until the next await."""
        return self.attempt.session.state

    @property
    def ledger(self) -> Ledger:
        """The ledger beside it."""
        return self.attempt.session.ledger

    def time(self) -> str:
        """Now, by the broker's clock, as events carry it."""
        return time_text(self._broker.now())

    async def until(self, condition: Condition, things: Collection[str] | None = None) -> None:
        """Returns when `condition` holds; `things` are the calls and approvals it depends on.

        While the agent waits for nothing but `things` it may be parked. Cancel-safe.
        """
        if condition(self.attempt.session):
            return
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(condition, answer, None if things is None else frozenset(things))
        self._waiters.append(waiter)
        self.wake()
        try:
            await answer
        finally:
            self._waiters.remove(waiter)

    # --- for the worker's side

    def wake(self) -> None:
        """Makes the keeper look around."""
        self._attention = True
        if not self.attempt.flying:  # else its answer does
            self._stir()

    def hear(self, news: News) -> None:
        """News of the session. Echoes of this attempt's own appends are dropped at once."""
        attempt = self.attempt
        if news.bodies and news.last <= attempt.seq and news.epoch == attempt.claimed.epoch:
            return
        self._news.append(news)
        self._news_at = -inf
        self.wake()

    def leave(self, *, now: bool) -> None:
        """The worker shuts down: park as soon as possible, or (`now`) hand over at once."""
        self._park_after_s = 0.0 if self._park_after_s < inf else inf
        self._leaving = now
        self.wake()

    async def run(self, run: str) -> End:
        """Keeps the attempt at `run` until it is over; the recorder is closed then."""
        self._run = run
        try:
            while True:
                if self._fault is not None:
                    raise self._fault
                if self.attempt.flying:
                    await self._rest()
                elif self.attempt.unsettled:
                    await self._settle()
                elif self._attention:
                    self._attention = False
                    end = await self._turn()
                    if end is not None:
                        return end
                    self._set_alarm()
                elif self._ripe:
                    await self._append()
                else:
                    await self._rest()
        except (Fenced, SessionMissing):
            return "fenced"
        except EpochChanged:
            return "epoch"
        finally:
            self.recorder.close()
            if self._alarm is not None:
                self._alarm.cancel()

    # --- waiting

    def _recorded(self) -> None:
        """The recorder has something due, now or later."""
        if self.attempt.flying:  # its answer looks
            return
        due = self.recorder.due
        if due == -inf:  # in the task: what else this turn of the loop says goes with it
            self._ripe = True
            self._stir()
        else:
            self.beat.at(due, self._ripen_if_due)

    def _ripen_if_due(self) -> None:
        # else what was due was taken meanwhile, with a step or the beginning of a part
        if self.recorder.due - EARLY_S <= self._clock():
            self._ripen()

    def _ripen(self) -> None:
        self._ripe = True
        if self.attempt.flying or self._sleep is None or self._sleep.done():
            return  # its answer looks, or the task, which is up
        if self._attention or self.attempt.unsettled or self.recorder.wishes:
            self._stir()
        else:
            self._append_soon()

    def _append_soon(self) -> None:
        """What is ripe, without a step in it, while the task sleeps."""
        try:
            batch = self.recorder.take(self.time())
            self._ripe = False
            if batch.stream:
                self.attempt.stream_soon(batch.stream, self._heard)
        except Exception as error:  # noqa: BLE001 - the task raises it
            self._fault = error
            self._stir()

    def _heard(self) -> None:
        """The answer to it."""
        due = self.recorder.due
        if due < inf:
            if due - EARLY_S <= self._clock():
                self._ripe = True
            else:
                self.beat.at(due, self._ripen_if_due)
        if self._attention or self.attempt.unsettled:
            self._stir()
        elif self._ripe:
            self._ripen()

    async def _rest(self) -> None:
        self._sleep = self.beat.loop.create_future()
        await self._sleep

    def _stir(self) -> None:
        sleep = self._sleep
        if sleep is not None and not sleep.done():
            sleep.set_result(None)

    def _set_alarm(self) -> None:
        at = min(self.lease.due, self._news_at, self._park_at())
        if at == self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm, self._alarm_at = None, at
        if at < inf:
            delay = max(0.0, at - self._clock()) + EARLY_S
            self._alarm = asyncio.get_running_loop().call_later(delay, self._ring)

    def _ring(self) -> None:
        self._alarm, self._alarm_at = None, inf
        self.wake()

    # --- one turn

    async def _turn(self) -> End | None:
        if self._clock() >= self.lease.due:
            await self.lease.renew()
            # News may get lost: whoever still holds the lease also looks at the log.
            self.hear(News(self.state.session, "", 0, 0, 0, ()))
        await self._take_news()
        if self._ripe and not self._over():
            await self._append()
        if self._over():
            return "over"
        self._answer()
        if self._leaving:
            await self._flush()
            return "handed_over"
        return await self._park()

    async def _append(self) -> None:
        batch = self.recorder.take(self.time())
        self._ripe = self.recorder.due == -inf
        wish = batch.wish
        if wish is None:
            if batch.stream:
                reloads = self.attempt.reloads
                await self.attempt.stream(batch.stream)
                if self.attempt.reloads != reloads:
                    self._attention = True
            return
        self._attention = True
        try:
            decision = await self.attempt.step(wish.step, batch.stream)
        except RuleBrokenError as error:
            if not wish.answer.done():
                wish.answer.set_exception(error)
            if batch.stream:  # what was said before it is not at fault
                await self.attempt.stream(batch.stream)
        except BaseException:
            wish.answer.cancel()
            raise
        else:
            if not wish.answer.done():
                wish.answer.set_result(decision)

    async def _settle(self) -> None:
        reloads = self.attempt.reloads
        await self.attempt.settle()
        if self.attempt.reloads != reloads:
            self._attention = True

    async def _flush(self) -> None:
        while self.recorder.due < inf:
            await self._append()

    async def _take_news(self) -> None:
        if self._clock() < self._news_at:
            return
        self._news_at = inf
        while self._news:
            try:
                await self.attempt.take(self._news[0])
            except BrokerUnavailable:
                self._news_at = self._clock() + RETRY_S
                return
            del self._news[0]

    def _over(self) -> bool:
        run = self.state.run
        return run is None or run.id != self._run or not run.live

    def _answer(self) -> None:
        """Wakes those whose condition holds now."""
        session = self.attempt.session
        version = self.attempt.claimed.epoch, session.version
        if version == self._seen_version:
            return
        self._seen_version = version
        for waiter in self._waiters:
            if not waiter.answer.done() and waiter.condition(session):
                waiter.answer.set_result(None)

    # --- parking

    def _park_at(self) -> float:
        if self._idle_since is None:
            return inf
        return max(self._idle_since + self._park_after_s, self._park_not_before)

    async def _park(self) -> End | None:
        if not self._idle():
            self._idle_since = None
            return None
        if self._idle_since is None:
            self._idle_since = self._clock()
        if self._clock() < self._park_at() or self.recorder.due < inf:
            return None
        session = self.attempt.session
        try:
            await self._broker.release(
                session.state.session,
                self.attempt.claimed.fence,
                claimable_at=None,
                expect_version=session.version,
            )
        except Conflict:  # something happened that will be heard of in a moment
            self._park_not_before = self._clock() + RETRY_S
            return None
        except BrokerUnavailable:
            self._park_not_before = self._clock() + RETRY_S
            return None
        return "parked"

    def _idle(self) -> bool:
        """Whether only what the agent waits for, all of it open, can move the run.

        A closed thing that nobody waits for any more means that its waiter is at work.
        """
        run = self.state.live_run
        if run is None or run.status != "waiting":
            self._announced.clear()
            return False
        self._announced |= set(run.on or ())
        if not self._waiters:
            return False
        wanted: set[str] = set()
        for waiter in self._waiters:
            if waiter.things is None or waiter.answer.done():
                return False
            wanted |= waiter.things
        approvals = self.state.approvals
        return all(
            x in wanted or ((asked := approvals.get(x)) is not None and asked.call in wanted)
            for x in self._announced
        )
