"""A worker's hold on one session: its private copy, and appends that only this attempt can make.

An append carries (epoch, fence, n) and one is in flight at a time, so a lost reply duplicates
nothing: the very same append is sent again until the broker answers. The copy runs ahead of the
log by what is in flight; when the log turns out otherwise the copy is folded anew.
"""

import asyncio
from collections.abc import Callable, Sequence
from math import inf

from gateway.broker.base import Append, Broker, Claimed, News
from gateway.errors import BrokerUnavailable, Conflict, EpochChanged, SessionMissing, Trimmed
from gateway.sessions import inputs
from gateway.sessions.by_time import next_deadline
from gateway.sessions.decide import decide_step
from gateway.sessions.draft import Decision, NewId, RuleBrokenError, Rules
from gateway.sessions.loading import Snapshots, fold_loaded, fold_on
from gateway.sessions.session import Session
from protocol import events as ev
from protocol.codec import encode

RETRY_S = (0.05, 0.1, 0.2, 0.5, 1.0)


class Attempt:
    """One try of a run on one worker. `session` is the copy; treat it as read-only."""

    def __init__(
        self,
        broker: Broker,
        claimed: Claimed,
        session: Session,
        snapshots: Snapshots,
        *,
        new_id: NewId,
        rules: Rules,
        appended: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.claimed = claimed
        self.session = session
        self._broker = broker
        self._snapshots = snapshots
        self._new_id = new_id
        self._rules = rules
        self._appended = appended
        self._n = 0
        self._in_flight = False

    @classmethod
    async def open(
        cls,
        broker: Broker,
        claimed: Claimed,
        snapshots: Snapshots,
        *,
        new_id: NewId,
        rules: Rules,
        appended: Callable[[int], None] = lambda _: None,
    ) -> "Attempt":
        """Loads the claimed session. Raises `SessionMissing`, `BrokerUnavailable`."""
        loaded = await broker.load(claimed.session)
        if loaded.deleted:
            raise SessionMissing(claimed.session)
        session = fold_loaded(claimed.session, loaded)
        return cls(
            broker, claimed, session, snapshots, new_id=new_id, rules=rules, appended=appended
        )

    async def step(self, step: inputs.AnyStep, stream: Sequence[ev.StreamEvent] = ()) -> Decision:
        """Appends stream events and then what the step does, atomically.

        Cancelling leaves it unknown whether it was stored: the attempt must then end. Raises
        `Fenced`, `EpochChanged`, `SessionMissing`, `RuleBrokenError`.
        """
        while True:
            version = self.session.version
            for event in stream:
                self.session.apply(event, self.session.state.seq + 1)
            try:
                decision = decide_step(
                    self.session,
                    step,
                    now=self._broker.now(),
                    new_id=self._new_id,
                    rules=self._rules,
                )
            except RuleBrokenError:
                await self._reload()  # the copy is half changed
                raise
            events = [*stream, *decision.events]
            if not events:
                return decision
            deadline = next_deadline(self.session, self._rules)
            try:
                await self._append(
                    events,
                    expect_version=version,
                    raise_fence=decision.raise_fence,
                    claimable_at=decision.claimable_at,
                    timer_at=inf if deadline is None else deadline,
                )
            except Conflict:
                await self._reload()
            else:
                await self._snapshots.after(self.session, ended=decision.raise_fence)
                return decision

    async def stream(self, events: Sequence[ev.StreamEvent]) -> None:
        """Appends stream events; the fence alone guards them. Raises like `step`."""
        for event in events:
            self.session.apply(event, self.session.state.seq + 1)
        await self._append(events)
        await self._snapshots.after(self.session, ended=False)

    async def take(self, news: News) -> bool:
        """Folds what was published; returns whether anything new was in it.

        Not while an append is in flight. What is missing is read from the log. Raises
        `EpochChanged`, `SessionMissing`, `BrokerUnavailable`.
        """
        assert not self._in_flight, "news must wait while an append is in flight"
        if news.epoch and news.epoch != self.claimed.epoch:
            raise EpochChanged(news.epoch)
        before = self.session.state.seq
        if not news.bodies or news.first > before + 1:
            await self._read_on()
        else:
            events = zip(range(news.first, news.last + 1), news.bodies, strict=True)
            fold_on(self.session, [(seq, body) for seq, body in events if seq > before])
        return self.session.state.seq > before

    async def _append(
        self,
        events: Sequence[ev.Event],
        *,
        expect_version: int | None = None,
        raise_fence: bool = False,
        claimable_at: float | None = None,
        timer_at: float | None = None,
    ) -> None:
        assert not self._in_flight, "one append of an attempt at a time"
        append = Append(
            session=self.claimed.session,
            epoch=self.claimed.epoch,
            bodies=[encode(e) for e in events],
            control=sum(isinstance(e, ev.ControlEvent) for e in events),
            expect_version=expect_version,
            fence=self.claimed.fence,
            n=self._n + 1,
            raise_fence=raise_fence,
            claimable_at=claimable_at,
            timer_at=timer_at,
        )
        self._in_flight = True
        try:
            seq = await self._send(append)
        finally:
            self._in_flight = False
        self._n += 1
        self._appended(len(append.bodies))
        if seq != self.session.state.seq:  # something else was stored in between
            await self._reload()

    async def _send(self, append: Append) -> int:
        """The same append again and again until the broker answers."""
        tries = 0
        while True:
            try:
                return await self._broker.append(append)
            except BrokerUnavailable:
                await asyncio.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])
                tries += 1

    async def _read_on(self) -> None:
        """Folds the log from the cursor on; anew, if it no longer reaches back."""
        try:
            while events := await self._broker.read(
                self.claimed.session, self.session.state.seq, 1000, epoch=self.claimed.epoch
            ):
                fold_on(self.session, events)
        except Trimmed:
            await self._reload()

    async def _reload(self) -> None:
        tries = 0
        while True:
            try:
                loaded = await self._broker.load(self.claimed.session)
                break
            except BrokerUnavailable:
                await asyncio.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])
                tries += 1
        if loaded.deleted:
            raise SessionMissing(self.claimed.session)
        if loaded.head.epoch != self.claimed.epoch:
            raise EpochChanged(loaded.head.epoch)
        self.session = fold_loaded(self.claimed.session, loaded)
