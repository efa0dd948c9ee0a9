"""The subscriptions of one connection: begun, resumed, caught up from the log, begun anew.

Whatever waits for the broker is a job in the lane of its session, so a subscription keeps its
place among the commands. No frame is read here and no socket written: what is to go down goes
into the outbox.
"""

import time
from collections.abc import Awaitable, Callable
from functools import partial

from gateway.auth import Grant
from gateway.delivery.feed import Feed
from gateway.delivery.hub import Hub, Subscriber
from gateway.delivery.lanes import Job
from gateway.delivery.outbox import Outbox
from gateway.delivery.refusal import refusal
from gateway.delivery.subscription import Need, Subscription
from gateway.errors import (
    BrokerError,
    BrokerUnavailable,
    EpochChanged,
    SessionMissing,
    Trimmed,
)
from gateway.limits import Clock
from gateway.sessions.access import Facts
from gateway.sessions.store import Store
from protocol.codec import encode, error_frame
from protocol.commands import SessionSubscribe, SubscriptionOptions
from protocol.detail import LEVELS, View
from protocol.errors import ProtocolError
from protocol.frames import Subscribed
from protocol.state import State, newest
from protocol.values import Detail

LOOK_AGAIN_S = 30.0
"""So long after it was taken away a permission may still be used, if no word of it comes."""
PAGE_EVENTS = 256
EPOCHS_IN_A_ROW = 3

Options = SubscriptionOptions | SessionSubscribe
Fetch = Callable[[Subscription], Awaitable[None]]


def granted(wish: Detail | None, grant: Grant) -> Detail:
    """The detail wished for, but no more than the token allows."""
    if wish is None or LEVELS[wish] > LEVELS[grant.detail]:
        return grant.detail
    return wish


class Subscriptions:
    """By session; `work` queues a job in a session's lane, `subscriber` is the connection."""

    __slots__ = (
        *("_all", "_clock", "_count", "_fetching", "_hub", "_looked", "_most", "_places"),
        *("_store", "_stuck", "_subscriber", "_work", "grant", "outbox"),
    )

    def __init__(
        self,
        hub: Hub,
        store: Store,
        subscriber: Subscriber,
        work: Callable[[str, Job], None],
        grant: Grant,
        *,
        most: int = 64,
        count: Callable[[int], None] = lambda _: None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._hub = hub
        self._store = store
        self._subscriber = subscriber
        self._work = work
        self.grant = grant
        self._most = most
        self._count = count
        self._clock = clock
        self._all: dict[str, Subscription] = {}
        self._places: set[str] = set()  # sessions subscribed or about to be
        self._fetching: set[Subscription] = set()  # a job for it is in its lane
        self._stuck: list[tuple[Subscription, Fetch]] = []  # broker away; again at a tick
        self._looked = clock()
        self.outbox = Outbox(self._need)

    def __len__(self) -> int:
        return len(self._all)

    def view(self, session: str) -> View | None:
        """What this connection's subscription of a session sees; None without one."""
        subscription = self._all.get(session)
        return None if subscription is None else subscription.view

    def wake(self, session: str, /) -> None:
        """There is news of a session."""
        subscription = self._all.get(session)
        if subscription is not None and not subscription.in_line:
            subscription.in_line = True
            self.outbox.line.append(subscription)

    def ack(self, session: str, seq: int) -> None:
        """The page has everything up to `seq`. Raises `ProtocolError` `cursor.invalid`."""
        subscription = self._all.get(session)
        if subscription is None:
            raise ProtocolError("cursor.invalid", "There is no such subscription.", session=session)
        was_full = subscription.full
        if not subscription.ack(seq):
            text = f"No seq {seq} was sent."
            raise ProtocolError("cursor.invalid", text, session=session)
        if was_full and not subscription.full:
            self.outbox.ready(subscription)

    def tick(self, now: float, ack_timeout_s: float) -> bool:
        """A second has passed; True if a client acknowledges nothing, its window full."""
        stuck, self._stuck = self._stuck, []
        for subscription, fetch in stuck:
            self._work(subscription.feed.session, partial(self._fetch, subscription, fetch))
        if now - self._looked >= LOOK_AGAIN_S:
            self._looked = now
            for subscription in self._all.values():
                self._doubt(subscription)
        return any(
            s.full and s.full_since is not None and now - s.full_since > ack_timeout_s
            for s in self._all.values()
        )

    def close(self) -> None:
        """Ends all of them."""
        for session in list(self._all):
            self.unsubscribe(session)

    # --- beginning and ending

    async def subscribe(self, options: Options, id: str | None) -> None:  # noqa: A002 - the wire's name
        """Subscribes, or replaces the options; queues the `subscribed` frame.

        Raises `ProtocolError` `session.not_found`, `limit.exceeded`, or `BrokerError`; a
        subscription that there was before goes on then.
        """
        session = options.session
        if session not in self._places and len(self._places) >= self._most:
            text = f"At most {self._most} subscriptions per connection."
            raise ProtocolError("limit.exceeded", text)
        self._places.add(session)
        old = self._all.get(session)
        try:
            feed = await self._hub.follow(session, self._subscriber) if old is None else old.feed
            try:
                await self._begin(options, id, feed)
            finally:
                if session not in self._all:
                    self._hub.unfollow(session, self._subscriber)
        finally:
            if session not in self._all:
                self._places.discard(session)

    async def _begin(self, options: Options, id: str | None, feed: Feed) -> None:  # noqa: A002 - the wire's name
        state, facts = await self._load(feed)
        head, epoch, after = state.seq, state.epoch, options.after
        resumed = (
            after is not None
            and after <= head
            and (options.epoch == epoch or (options.epoch is None and after == 0))
        )
        page = None
        if resumed and after is not None and after < head and not feed.reaches(after):
            try:
                page = await self._store.broker.read(feed.session, after, PAGE_EVENTS, epoch=epoch)
            except (Trimmed, EpochChanged, SessionMissing):
                resumed = False
                state, facts = await self._load(feed)
        # no await from here on: the state is of this moment
        subscription = Subscription(
            feed,
            View(granted(options.detail, self.grant), options.tools),
            facts=facts,
            epoch=epoch,
            cursor=head,
            window=options.window,
            messages=options.messages,
        )
        if (old := self._all.get(feed.session)) is not None:
            self.outbox.forget(old)
        else:
            self._count(1)
        subscription.line = self.outbox.line
        self._all[feed.session] = subscription
        self._hub.wake_by(feed.session, self._subscriber, subscription.wake)
        if resumed and after is not None:
            self._resume(subscription, id, epoch, after, head)
            if page:
                subscription.offer(page)
        else:
            self._tell(subscription, id, state)

    def _resume(
        self,
        subscription: Subscription,
        id: str | None,  # noqa: A002 - the wire's name
        epoch: str,
        after: int,
        head: int,
    ) -> None:
        frame = Subscribed(
            id=id,
            session=subscription.feed.session,
            epoch=epoch,
            seq=after,
            recovered=True,
            detail=subscription.view.detail,
        )
        self.outbox.control(encode(frame))
        subscription.restart(epoch, after, replay_to=head)
        self.outbox.ready(subscription)

    def _tell(self, subscription: Subscription, id: str | None, state: State) -> None:  # noqa: A002 - the wire's name
        """The whole state: what the client has is of no use."""
        frame = Subscribed(
            id=id,
            session=subscription.feed.session,
            epoch=state.epoch,
            seq=state.seq,
            recovered=False,
            detail=subscription.view.detail,
            state=subscription.view.state(newest(state, subscription.messages)),
        )
        self.outbox.control(encode(frame))
        subscription.restart(state.epoch, state.seq, replay_to=None)
        self.outbox.ready(subscription)

    async def _load(self, feed: Feed) -> tuple[State, Facts]:
        """The session's state, of the feed's epoch; valid until the next await."""
        for _ in range(EPOCHS_IN_A_ROW):
            session, facts = await self._store.look(feed.session, self.grant)
            if self._hub.begin(feed, session.state):
                return session.state, facts
            await self._hub.check(feed.session)
        raise ProtocolError("broker.unavailable", session=feed.session)

    def unsubscribe(self, session: str) -> None:
        """Ends one; harmless if there is none."""
        if (subscription := self._all.pop(session, None)) is not None:
            self._count(-1)
            self.outbox.forget(subscription)
            self._places.discard(session)
            self._hub.unfollow(session, self._subscriber)

    def allow(self, grant: Grant) -> None:
        """A newer token: what sees more than it allows begins anew with less, or ends."""
        self.grant = grant
        for session in self._places - self._all.keys():
            self.look_again(session)
        for session, subscription in self._all.items():
            self._doubt(subscription)
            view = subscription.view
            if granted(view.detail, grant) != view.detail:
                subscription.view = View(grant.detail, sorted(view.tools))  # from now on
                self._work(session, partial(self._fetch, subscription, self._begin_anew))

    def look_again(self, session: str) -> None:
        """Perhaps it may not be seen any more; what begins just now is looked at when it has."""
        if session in self._places:
            self._work(session, partial(self._look, session))

    async def _look(self, session: str) -> None:
        if (subscription := self._all.get(session)) is not None:
            await self._fetch(subscription, self._look_again)

    def _doubt(self, subscription: Subscription) -> None:
        """Looks again where something may have changed: a share, or what the grant allows."""
        facts = subscription.facts
        if facts.share is not None or not self._store.allows(self.grant, facts):
            self.look_again(facts.session)

    async def _look_again(self, subscription: Subscription) -> None:
        try:
            _, subscription.facts = await self._store.look(subscription.facts.session, self.grant)
        except ProtocolError as error:
            self._end(subscription, error)

    def _end(self, subscription: Subscription, error: ProtocolError) -> None:
        """The client is told why. Raises `BrokerUnavailable` if it is to be tried again."""
        if error.retryable:
            raise BrokerUnavailable from error
        session = subscription.feed.session
        self.unsubscribe(session)
        self.outbox.control(error_frame(refusal(error, None, session)))

    # --- what a pull could not do by itself

    def _need(self, subscription: Subscription, need: Need) -> None:
        if need is Need.ACK and subscription.full_since is None:
            subscription.full_since = self._clock()
        elif need in (Need.LOG, Need.STATE) and subscription not in self._fetching:
            self._fetching.add(subscription)
            fetch = self._read_page if need is Need.LOG else self._begin_anew
            self._work(subscription.feed.session, partial(self._fetch, subscription, fetch))

    async def _fetch(self, subscription: Subscription, fetch: Fetch) -> None:
        """Carries one out for a subscription that is still there, again at a tick if it fails."""
        try:
            await self.outbox.room()
            if self._all.get(subscription.feed.session) is subscription:
                await fetch(subscription)
                if self._all.get(subscription.feed.session) is subscription:
                    self.outbox.ready(subscription)
        except BrokerError:
            self._stuck.append((subscription, fetch))
        finally:
            self._fetching.discard(subscription)
        self._hub.flush_soon(self._subscriber)

    async def _read_page(self, subscription: Subscription) -> None:
        session = subscription.feed.session
        try:
            events = await self._store.broker.read(
                session, subscription.cursor, PAGE_EVENTS, epoch=subscription.epoch
            )
        except (Trimmed, EpochChanged, SessionMissing):
            await self._begin_anew(subscription)
            return
        if not subscription.offer(events):
            # the feed heard of events that the log does not have: look where it stands
            await self._hub.check(session)
            raise BrokerUnavailable

    async def _begin_anew(self, subscription: Subscription) -> None:
        try:
            state, subscription.facts = await self._load(subscription.feed)
        except ProtocolError as error:
            self._end(subscription, error)
            return
        view = subscription.view
        subscription.view = View(granted(view.detail, self.grant), sorted(view.tools))
        self._tell(subscription, None, state)
