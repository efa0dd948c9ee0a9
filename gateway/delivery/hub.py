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
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol

from gateway.broker.base import Broker, Head, News
from gateway.delivery.feed import Feed
from gateway.errors import BrokerError, EpochChanged, SessionMissing, Trimmed
from gateway.limits import Clock
from gateway.telemetry import Metrics
from protocol.state import State

FLUSH_S = 0.005
FLUSHES = 8
"""After so many the time is looked at."""
TICK_S = 1.0
AWAY_S = 0.3
"""The broker is away: until it is asked again."""
RECONCILE_LIVE_S = 10.0
RECONCILE_S = 60.0
FILL_EVENTS = 500
FILLS_AT_ONCE = 16

log = logging.getLogger("gateway.delivery")


class Subscriber(Protocol):
    """A connection, as the hub sees it. All synchronous; none may block."""

    def wake(self, session: str, /) -> None:
        """The session's feed has news, or is another."""
        ...

    def flush(self) -> None:
        """Write what waits, as far as the transport takes it."""
        ...

    def abort(self) -> None:
        """A flush failed: the connection cannot go on."""
        ...


def _nothing() -> None:
    """There is not one subscriber."""


class Counts:
    """What connections count; it goes to the metrics now and then."""

    __slots__ = ("bytes_down", "bytes_up", "frames_down", "frames_up")

    def __init__(self) -> None:
        self.frames_down = self.bytes_down = self.frames_up = self.bytes_up = 0

    def report(self, metrics: Metrics) -> None:
        """A counter of the metrics costs more than the rest of a frame."""
        metrics.frames_down.inc(self.frames_down)
        metrics.bytes_down.inc(self.bytes_down)
        metrics.frames_up.inc(self.frames_up)
        metrics.bytes_up.inc(self.bytes_up)
        self.frames_down = self.bytes_down = self.frames_up = self.bytes_up = 0


class _Follow:
    """A feed and who follows it."""

    __slots__ = (
        *("_hub", "checked", "confirming", "feed", "news", "only", "subscribers", "users"),
        "wake_only",
    )

    def __init__(self, hub: "Hub", feed: Feed, now: float) -> None:
        self._hub = hub
        self.feed = feed
        # whom news flushes -> what it calls before
        self.subscribers: dict[Subscriber, Callable[[], None]] = {}
        # of the subscribers and their calls, if it is one
        self.only: Subscriber | None = None
        self.wake_only: Callable[[], None] = _nothing
        self.users = 0  # follows asked for, also those not yet confirmed
        # held by who asks the broker; None: its news is delivered to us
        self.confirming: asyncio.Lock | None = asyncio.Lock()
        self.checked = now
        self.news = False  # its subscribers are not yet woken

    def __call__(self, news: News) -> None:
        """A `Follower`."""
        self._hub.tell(self, news)

    def hear(self, epoch: bytes, first: bytes, count: bytes, text: bytes) -> bool:
        """A `Hearer`."""
        if not self.feed.hear(epoch, first, count, text):
            return False
        hub, only = self._hub, self.only
        if only is not None:
            self.wake_only()
            hub.woken[only] = None
        elif not self.news:
            self.news = True
            hub.news_of.append(self)
        if not hub.flushing:
            hub.flush_later()
        return True

    def enter(self, subscriber: Subscriber, wake: Callable[[], None]) -> None:
        self.subscribers[subscriber] = wake
        self._count()

    def leave(self, subscriber: Subscriber) -> None:
        del self.subscribers[subscriber]
        self._count()

    def _count(self) -> None:
        self.only, self.wake_only = None, _nothing
        if len(self.subscribers) == 1:
            ((self.only, self.wake_only),) = self.subscribers.items()


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
        self.woken: dict[Subscriber, object] = {}
        self._turn: deque[Subscriber] = deque()  # those of them that are next, first come first
        self.flushing = False
        self.news_of: list[_Follow] = []
        self.counts = Counts()
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
            follow = self._follows[session] = _Follow(self, feed, self._clock())
            self._metrics.feeds.inc()
        follow.users += 1
        try:
            if follow.confirming is not None:
                await self._confirm(session, follow, follow.confirming)
        except BaseException:
            self._leave(session, follow)
            raise
        follow.enter(subscriber, partial(subscriber.wake, session))
        return follow.feed

    async def _confirm(self, session: str, follow: _Follow, confirming: asyncio.Lock) -> None:
        async with confirming:
            if follow.confirming is not None:
                await self._broker.follow(session, follow)
                follow.confirming = None

    def wake_by(self, session: str, subscriber: Subscriber, wake: Callable[[], None]) -> None:
        """News calls `wake` from now on, in place of the subscriber's own, while it follows."""
        follow = self._follows.get(session)
        if follow is not None and subscriber in follow.subscribers:
            follow.enter(subscriber, wake)

    def unfollow(self, session: str, subscriber: Subscriber) -> None:
        """Ends what `follow` began."""
        follow = self._follows.get(session)
        if follow is not None and subscriber in follow.subscribers:
            follow.leave(subscriber)
            self._leave(session, follow)

    def _leave(self, session: str, follow: _Follow) -> None:
        follow.users -= 1
        if follow.users == 0:
            del self._follows[session]
            self._behind.pop(session, None)
            self._metrics.feeds.dec()
            if follow.confirming is None:
                self._broker.unfollow(session, follow)

    # --- news and flushing

    def tell(self, follow: _Follow, news: News) -> None:
        """News of what is followed."""
        feed = follow.feed
        if self._follows.get(feed.session) is not follow:
            return
        if feed.accept(news) and not follow.news:
            follow.news = True
            self.news_of.append(follow)
            if not self.flushing:
                self.flush_later()
        if feed.doubted or feed.heard != feed.last:
            self._fill_if_behind(feed)

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
        """At the end of the turn, once however many news there were."""
        if not follow.news:
            follow.news = True
            self.news_of.append(follow)
        self.flush_later()

    def flush_soon(self, subscriber: Subscriber) -> None:
        """Flushes it after this turn of the loop, once however often it is asked for."""
        self.woken[subscriber] = None
        self.flush_later()

    def flush_later(self) -> None:
        """At the end of this turn of the loop."""
        if not self.flushing:
            self.flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _spread(self) -> None:
        """Wakes who follows a session with news."""
        for follow in self.news_of:
            follow.news = False
            for wake in follow.subscribers.values():
                wake()
            self.woken.update(follow.subscribers)
        self.news_of.clear()

    def _flush(self) -> None:
        clock, turn = self._clock, self._turn
        until, done = clock() + FLUSH_S, 0
        while True:
            if not turn:
                self._spread()
                if not self.woken:
                    break
                turn.extend(self.woken)
                self.woken.clear()
            subscriber = turn.popleft()
            try:
                subscriber.flush()
            except Exception:  # the top of a callback: one connection's fault is not another's
                log.exception("a flush failed")
                subscriber.abort()
            done += 1
            if done % FLUSHES == 0 and clock() > until and (turn or self.woken or self.news_of):
                asyncio.get_running_loop().call_soon(self._flush)
                return
        self.flushing = False

    # --- truth

    async def run(self) -> None:
        """Fills feeds that are behind and compares all with their heads, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._work.wait()
            self._work.clear()
            self.counts.report(self._metrics)
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
                await asyncio.sleep(AWAY_S)

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
