"""A worker's hold on one session: its private copy, and appends that only this attempt can make.

An append carries (epoch, fence, n) and one is in flight at a time, so a lost reply duplicates
nothing: the very same append is sent again until the broker answers. The copy runs ahead of the
log by what is in flight; when the log turns out otherwise the copy is folded anew.

When the log's epoch changes (docs/architecture.md) and all that was acknowledged to this attempt is
still in it, under the same fence, the attempt goes on in the new epoch.

Tokens are the bulk of what a worker stores, and nobody looks at the copy while they stream: stream
events wait in a backlog, and are folded when the copy is looked at.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from math import inf

from msgspec import structs

from gateway.broker.base import Append, Broker, Claimed, Loaded, News
from gateway.errors import (
    BrokerUnavailable,
    Conflict,
    EpochChanged,
    Fenced,
    SessionMissing,
    Trimmed,
)
from gateway.sessions import inputs, quotas
from gateway.sessions.by_time import next_deadline
from gateway.sessions.decide import decide_step
from gateway.sessions.draft import Decision, NewId, RuleBrokenError, Rules
from gateway.sessions.loading import Snapshots, fold_loaded, fold_on
from gateway.sessions.quotas import busy
from gateway.sessions.session import Session
from protocol import events as ev
from protocol.codec import encode
from protocol.state import joined

RETRY_S = (0.05, 0.1, 0.2, 0.3)


class Attempt:
    """One try of a run on one worker."""

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
        self._session = session
        # Stream events after the copy: appended, or in flight.
        self._backlog: list[ev.StreamEvent] = []
        self._broker = broker
        self._snapshots = snapshots
        self._new_id = new_id
        self._rules = rules
        self._appended = appended
        self._n = 0
        self._opened_at = session.state.seq
        # Of the last append that was acknowledged: its seq, and its last body.
        self._last: tuple[int, bytes] | None = None
        self._in_flight = False
        # Begun by `stream_soon`, until it is settled.
        self._begun: Append | None = None
        self._answer: int | BrokerUnavailable = 0
        self._heard: Callable[[], None] | None = None
        self.flying = False
        """Whether `stream_soon` has no answer yet; nothing else may be asked meanwhile."""
        self.unsettled = False
        """Whether it has one that `settle` must look at before anything else."""
        self.reloads = 0
        """How often the log was not what the copy said."""

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

    @property
    def session(self) -> Session:
        """The copy; treat it as read-only."""
        if self._backlog:
            self._fold_backlog()
        return self._session

    @property
    def seq(self) -> int:
        """Where the copy stands; costs less than to look at it."""
        return self._session.state.seq + len(self._backlog)

    async def step(self, step: inputs.AnyStep, stream: Sequence[ev.StreamEvent] = ()) -> Decision:
        """Appends stream events and then what the step does, atomically.

        Cancelling leaves it unknown whether it was stored: the attempt must then end. Raises
        `Fenced`, `EpochChanged`, `SessionMissing`, `RuleBrokenError`.
        """
        while True:
            session = self.session
            version = session.version
            for event in stream:
                session.apply(event, session.state.seq + 1)
            try:
                decision = decide_step(
                    session,
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
            deadline = next_deadline(session, self._rules)
            append = Append(
                session=self.claimed.session,
                epoch=self.claimed.epoch,
                bodies=[encode(e) for e in events],
                control=sum(isinstance(e, ev.ControlEvent) for e in events),
                expect_version=version,
                fence=self.claimed.fence,
                n=self._n + 1,
                raise_fence=decision.raise_fence,
                claimable_at=decision.claimable_at,
                timer_at=inf if deadline is None else deadline,
            )
            try:
                await self._append(append)
            except Conflict:
                await self._reload()
            else:
                return decision

    def stream(self, events: Sequence[ev.StreamEvent]) -> Awaitable[None]:
        """Appends stream events; the fence alone guards them. Raises like `step`."""
        return self._append(self._streamed(events))

    def stream_soon(self, events: Sequence[ev.StreamEvent], heard: Callable[[], None]) -> None:
        """Begins to append stream events; `heard` is called, in a later turn, with the answer.

        What `stream` does without a task, as long as nothing goes wrong; see `unsettled`.
        """
        self._begun = append = self._streamed(events)
        self._heard = heard
        self._in_flight = self.flying = True
        self._broker.append_soon(append, self._answered)

    async def settle(self) -> None:
        """Goes on with an append whose answer was not as usual. Raises like `step`."""
        assert self._begun is not None, "`unsettled` says when"
        append, answer = self._begun, self._answer
        self._begun, self.unsettled, self._in_flight = None, False, False
        if isinstance(answer, BrokerUnavailable):
            await self._append(append, lost=True)
        elif answer == 0:
            await self._append(append)
        else:
            await self._acknowledged(append, answer)

    async def take(self, news: News) -> bool:
        """Folds what was published; returns whether anything new was in it.

        Not while an append is in flight. What is missing is read from the log. Raises
        `EpochChanged`, `Fenced`, `SessionMissing`, `BrokerUnavailable`.
        """
        assert not self._in_flight, "news must wait while an append is in flight"
        before = self.seq
        if news.epoch and news.epoch != self.claimed.epoch:
            await self._reload()
            return True
        if not news.bodies or news.first > before + 1:
            await self._read_on()
        else:
            events = zip(range(news.first, news.last + 1), news.bodies, strict=True)
            fold_on(self.session, [(seq, body) for seq, body in events if seq > before])
        return self.seq > before

    def _fold_backlog(self) -> None:
        backlog, self._backlog = self._backlog, []
        for seq, event in joined(zip(count(self._session.state.seq + 1), backlog, strict=False)):
            self._session.apply(event, seq)

    def _streamed(self, events: Sequence[ev.StreamEvent]) -> Append:
        assert not self._in_flight, "one append of an attempt at a time"
        claimed = self.claimed
        append = Append(
            session=claimed.session,
            epoch=claimed.epoch,
            bodies=[encode(e) for e in events],
            control=0,
            fence=claimed.fence,
            n=self._n + 1,
        )
        self._backlog += events
        return append

    def _answered(self, answer: int | BrokerUnavailable) -> None:
        append, heard = self._begun, self._heard
        assert append is not None, "`stream_soon` has set it"
        assert heard is not None, "`stream_soon` has set it"
        self.flying = False
        seq = self.seq
        if answer == seq and not self._snapshots.due(self._session, seq):
            self._in_flight = False
            self._note(append, seq)
        else:
            self._answer, self.unsettled = answer, True
        heard()

    async def _append(self, append: Append, *, lost: bool = False) -> None:
        """Stores what is in the copy or the backlog already; `lost`: sent, without an answer."""
        assert not self._in_flight, "one append of an attempt at a time"
        self._in_flight = True
        try:
            try:
                if lost:
                    seq = await self._send_again(append)
                else:
                    seq = await self._broker.append(append)
            except BrokerUnavailable:
                seq = await self._send_again(append)
            except EpochChanged:
                seq = await self._send_anew(append)
        finally:
            self._in_flight = False
        await self._acknowledged(append, seq)

    def _note(self, append: Append, seq: int) -> None:
        self._n += 1
        self._last = seq, append.bodies[-1]
        self._appended(len(append.bodies))

    async def _acknowledged(self, append: Append, seq: int) -> None:
        self._note(append, seq)
        if seq != self.seq:  # something else was stored in between
            await self._reload()
        if append.raise_fence or self._snapshots.due(self._session, seq):
            await self._snapshots.after(self.session, ended=append.raise_fence)
        if append.raise_fence and not busy(self.session):
            await quotas.end(self._broker, self.session)

    async def _send_again(self, append: Append) -> int:
        """The same append again and again until the broker answers."""
        tries = 0
        while True:
            await asyncio.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])
            try:
                return await self._broker.append(append)
            except BrokerUnavailable:
                tries += 1
            except EpochChanged:
                return await self._send_anew(append)

    async def _send_anew(self, append: Append) -> int:
        """An append that met a new epoch, and may be stored; a step that is not is a `Conflict`."""
        await self._reload()
        seq = await self._stored_at(append.bodies)
        if seq is not None:
            return seq
        if append.expect_version is not None:  # a version means nothing in another epoch
            raise Conflict
        again = structs.replace(append, epoch=self.claimed.epoch)
        try:
            return await self._broker.append(again)
        except BrokerUnavailable:
            return await self._send_again(again)
        except EpochChanged:
            return await self._send_anew(again)

    async def _stored_at(self, bodies: Sequence[bytes]) -> int | None:
        """The last seq of these bodies, if they came after the last acknowledged append."""
        found = await self._read(self._opened_at if self._last is None else self._last[0])
        size = len(bodies)
        for at in range(len(found) - size + 1):
            if all(found[at + i][1] == bodies[i] for i in range(size)):
                return found[at + size - 1][0]
        return None

    async def _check_kept(self, loaded: Loaded) -> None:
        """Raises unless the new epoch holds the attempt and all that was acknowledged to it."""
        if loaded.head.fence != self.claimed.fence:
            raise Fenced
        if self._last is None:
            return
        seq, body = self._last
        found = await self._read(seq - 1)
        if not found or found[0] != (seq, body):
            raise EpochChanged(loaded.head.epoch)

    async def _read_on(self) -> None:
        """Folds the log from the cursor on; anew, if it no longer reaches back."""
        try:
            while events := await self._broker.read(
                self.claimed.session, self.session.state.seq, 1000, epoch=self.claimed.epoch
            ):
                fold_on(self.session, events)
        except (Trimmed, EpochChanged):
            await self._reload()

    async def _read(self, after: int) -> list[tuple[int, bytes]]:
        """The log after a seq, in whatever epoch it is; empty if it no longer reaches back."""
        found: list[tuple[int, bytes]] = []
        tries = 0
        while True:
            try:
                more = await self._broker.read(self.claimed.session, after + len(found), 1000)
            except BrokerUnavailable:
                await asyncio.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])
                tries += 1
                continue
            except Trimmed:
                return []
            if not more:
                return found
            found += more

    async def _reload(self) -> None:
        """The copy, folded anew; in the log's new epoch if it has one that holds the attempt."""
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
            await self._check_kept(loaded)
            self.claimed = structs.replace(self.claimed, epoch=loaded.head.epoch)
        self._session = fold_loaded(self.claimed.session, loaded)
        self._backlog.clear()
        self.reloads += 1
