"""The hub: one per process, between the broker's news and the connections that follow sessions.

News goes into the session's feed; each connection that follows it is woken, and once per turn of
the loop every woken connection is flushed, synchronously. Pub/sub is a fast path, never the truth:
a feed that is behind is filled from the log, and all are compared with their heads now and then.
No frame is read or made here.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from gateway.broker.base import Broker, Head, News
from gateway.delivery.feed import Feed
from gateway.errors import BrokerError, EpochChanged, SessionMissing, Trimmed
from gateway.limits import Clock
from gateway.telemetry import Metrics
from protocol.state import State

FLUSH_S = 0.005
TICK_S = 1.0
RECONCILE_LIVE_S = 10.0
RECONCILE_S = 60.0
FILL_EVENTS = 500
FILLS_AT_ONCE = 16

log = logging.getLogger("gateway.delivery")


class Subscriber(Protocol):
    """A connection, as the hub sees it. All synchronous; none may block."""

    def wake(self, session: str) -> None:
        """The session's feed has news, or is another."""
        ...

    def flush(self) -> None:
        """Write what waits, as far as the transport takes it."""
        ...

    def abort(self) -> None:
        """A flush failed: the connection cannot go on."""
        ...


class _Follow:
    """A feed and who follows it."""

    __slots__ = ("checked", "confirmed", "confirming", "feed", "subscribers", "users")

    def __init__(self, feed: Feed, now: float) -> None:
        self.feed = feed
        self.subscribers: dict[Subscriber, None] = {}
        self.users = 0  # follows asked for, also those not yet confirmed
        self.confirmed = False  # the broker delivers its news to us
        self.confirming = asyncio.Lock()
        self.checked = now


class Hub:
    """Feeds by session, reference-counted; `run` keeps them true and must run while it is used."""

    def __init__(
        self,
        broker: Broker,
        *,
        max_events: int = 2048,
        max_bytes: int = 4 << 20,
        metrics: Metrics | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._broker = broker
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._metrics = metrics or Metrics()
        self._clock = clock
        self._follows: dict[str, _Follow] = {}
        self._woken: dict[Subscriber, None] = {}
        self._turn: deque[Subscriber] = deque()  # those of them that are next, first come first
        self._flushing = False
        self._frames_down = 0
        self._bytes_down = 0
        self._behind: dict[str, None] = {}
        self._work = asyncio.Event()
        self._looked = clock()

    # --- following

    async def follow(self, session: str, subscriber: Subscriber) -> Feed:
        """The session's feed, live from now on; once per subscriber and session.

        Raises `BrokerError`; then nothing is followed. Cancelling it undoes it.
        """
        follow = self._follows.get(session)
        if follow is None:
            feed = Feed(session, max_events=self._max_events, max_bytes=self._max_bytes)
            follow = self._follows[session] = _Follow(feed, self._clock())
            self._metrics.feeds.inc()
        follow.users += 1
        try:
            async with follow.confirming:
                if not follow.confirmed:
                    await self._broker.follow(session, self._news)
                    follow.confirmed = True
        except BaseException:
            self._leave(session, follow)
            raise
        follow.subscribers[subscriber] = None
        return follow.feed

    def unfollow(self, session: str, subscriber: Subscriber) -> None:
        """Ends what `follow` began."""
        follow = self._follows.get(session)
        if follow is not None and subscriber in follow.subscribers:
            del follow.subscribers[subscriber]
            self._leave(session, follow)

    def _leave(self, session: str, follow: _Follow) -> None:
        follow.users -= 1
        if follow.users == 0:
            del self._follows[session]
            self._behind.pop(session, None)
            self._metrics.feeds.dec()
            if follow.confirmed:
                self._broker.unfollow(session, self._news)

    # --- news and flushing

    def _news(self, news: News) -> None:
        follow = self._follows.get(news.session)
        if follow is None:
            return
        if follow.feed.accept(news):
            self._wake_all(follow)
        self._fill_if_behind(follow.feed)

    def begin(self, feed: Feed, state: State) -> bool:
        """The feed is followed and the session was loaded since: where both stand.

        False if they are of different epochs: `check`, and load again.
        """
        if not feed.begin(state.epoch, state.seq):
            return False
        feed.calls.learn(state)
        if state.seq >= feed.last:
            feed.live = state.live_run is not None
        self._fill_if_behind(feed)
        return True

    def _fill_if_behind(self, feed: Feed) -> None:
        if feed.behind:
            self._behind[feed.session] = None
            self._work.set()

    def _wake_all(self, follow: _Follow) -> None:
        session = follow.feed.session
        for subscriber in follow.subscribers:
            subscriber.wake(session)
        self._woken.update(follow.subscribers)
        self._flush_later()

    def flush_soon(self, subscriber: Subscriber) -> None:
        """Flushes it after this turn of the loop, once however often it is asked for."""
        self._woken[subscriber] = None
        self._flush_later()

    def count(self, frames: int, size: int) -> None:
        """So much went down; told to the metrics once per turn."""
        self._frames_down += frames
        self._bytes_down += size

    def _flush_later(self) -> None:
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        until = self._clock() + FLUSH_S
        turn = self._turn
        while turn or self._woken:
            if not turn:
                turn.extend(self._woken)
                self._woken.clear()
            subscriber = turn.popleft()
            try:
                subscriber.flush()
            except Exception:  # the top of a callback: one connection's fault is not another's
                log.exception("a flush failed")
                subscriber.abort()
            if self._clock() > until and (turn or self._woken):
                asyncio.get_running_loop().call_soon(self._flush)
                return
        self._flushing = False
        self._metrics.frames_down.inc(self._frames_down)
        self._metrics.bytes_down.inc(self._bytes_down)
        self._frames_down = self._bytes_down = 0

    # --- truth

    async def run(self) -> None:
        """Fills feeds that are behind and compares all with their heads, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._work.wait()
            self._work.clear()
            self._look_for_overdue()
            sessions = list(self._behind)
            self._behind.clear()
            try:
                await self._reconcile(sessions)
            except Exception:  # the top of a task: feeds stay behind, and are filled later
                log.exception("feeds could not be compared with the log")
                self._behind.update(dict.fromkeys(sessions))
                await asyncio.sleep(TICK_S)

    def _look_for_overdue(self) -> None:
        now = self._clock()
        if now - self._looked < TICK_S:
            return
        self._looked = now
        for session, follow in self._follows.items():
            every = RECONCILE_LIVE_S if follow.feed.live else RECONCILE_S
            if now - follow.checked >= every:
                self._behind[session] = None

    async def _reconcile(self, sessions: Sequence[str]) -> None:
        """Compares feeds with their heads and fills them, some at a time."""
        for at in range(0, len(sessions), FILLS_AT_ONCE):
            some = sessions[at : at + FILLS_AT_ONCE]
            try:
                heads = await self._broker.heads(some)
                async with asyncio.TaskGroup() as group:
                    for session, head in zip(some, heads, strict=True):
                        group.create_task(self._settle(session, head))
            except* BrokerError as errors:
                for error in errors.exceptions:
                    self._metrics.broker_error(error)
                self._behind.update(dict.fromkeys(some))
                await asyncio.sleep(TICK_S)  # the broker is away; no hurry

    async def check(self, session: str) -> None:
        """Compares one feed with its head now. Raises `BrokerError`."""
        (head,) = await self._broker.heads([session])
        await self._settle(session, head)

    async def _settle(self, session: str, head: Head | None) -> None:
        """Brings a feed to where the log stands; wakes those who follow if that moved it."""
        follow = self._follows.get(session)
        if follow is None or not follow.feed.epoch:
            return
        feed = follow.feed
        follow.checked = self._clock()
        before = (feed.epoch, feed.last)
        if head is None:
            if not feed.deleted:
                feed.lose()
        elif head.epoch != feed.epoch:
            feed.restart(head.epoch, head.seq)
        else:
            feed.stands_at(head.seq)
            await self._fill(feed)
        if (feed.epoch, feed.last) != before:
            self._wake_all(follow)

    async def _fill(self, feed: Feed) -> None:
        epoch = feed.epoch
        while feed.behind and feed.epoch == epoch:
            if feed.heard - feed.last > self._max_events:
                # it would not fit: those who lag read the log themselves
                feed.restart(epoch, feed.heard)
                return
            try:
                events = await self._broker.read(feed.session, feed.last, FILL_EVENTS, epoch=epoch)
            except Trimmed:
                feed.restart(epoch, feed.heard)
                return
            except (EpochChanged, SessionMissing):
                self._look_again(feed)
                return
            if feed.epoch == epoch and not feed.extend(events) and not events:
                feed.heard = feed.last  # a word of events that the log does not have
                return

    def _look_again(self, feed: Feed) -> None:
        feed.doubt()
        self._fill_if_behind(feed)
