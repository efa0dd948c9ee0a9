"""The hub: one follow per session, one flush per turn, and the log when news is lost."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from gateway.broker.base import Follower, Head, News
from gateway.broker.memory import MemoryBroker
from gateway.delivery import hub as hub_module
from gateway.delivery.feed import Feed
from gateway.delivery.hub import Hub
from gateway.errors import BrokerUnavailable
from protocol.codec import encode
from protocol.state import State
from tests.support.inprocess import InProcess, ManualClock, delta, in_process
from tests.support.waiting import eventually


class LossyBroker(MemoryBroker):
    """News gets lost, and the broker goes away, when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.deaf = False
        self.away = False
        self.follows = 0
        self.unfollows = 0
        # what the hub gave -> what hears in its place
        self.ears: dict[Follower, Follower] = {}

    async def follow(self, session: str, follower: Follower) -> None:
        if self.away:
            raise BrokerUnavailable
        self.follows += 1
        self.ears[follower] = self.lossy(follower)
        await super().follow(session, self.ears[follower])

    def unfollow(self, session: str, follower: Follower) -> None:
        self.unfollows += 1
        super().unfollow(session, self.ears.pop(follower))

    async def heads(self, sessions: Sequence[str]) -> Sequence[Head | None]:
        if self.away:
            raise BrokerUnavailable
        return await super().heads(sessions)

    def lossy(self, follower: Follower) -> Follower:
        """Between the broker and the hub, where news gets lost."""
        return lambda news: None if self.deaf else follower(news)


class Watcher:
    """A subscriber that counts."""

    def __init__(self, *, fails: bool = False) -> None:
        self.woken: list[str] = []
        self.flushes = 0
        self.aborted = False
        self._fails = fails

    def wake(self, session: str) -> None:
        self.woken.append(session)

    def flush(self) -> None:
        self.flushes += 1
        if self._fails:
            raise RuntimeError("broken")

    def abort(self) -> None:
        self.aborted = True


@pytest.fixture
def broker() -> LossyBroker:
    return LossyBroker()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def inside(broker: LossyBroker, clock: ManualClock) -> AsyncIterator[InProcess]:
    async with in_process(broker=broker, clock=clock) as inside:
        await inside.create("s_1")
        yield inside


async def begun(inside: InProcess, *watchers: Watcher) -> Feed:
    feed = None
    for watcher in watchers:
        feed = await inside.delivery.hub.follow("s_1", watcher)
    (head,) = await inside.broker.heads(["s_1"])
    assert feed is not None
    assert head is not None
    assert inside.delivery.hub.begin(feed, State(session="s_1", epoch=head.epoch, seq=head.seq))
    return feed


@pytest.mark.parametrize("watchers", [1, 2])
async def test_what_is_published_wakes_and_flushes_once(inside: InProcess, watchers: int) -> None:
    watching = [Watcher() for _ in range(watchers)]
    feed = await begun(inside, *watching)
    follow = inside.delivery.hub._follows["s_1"]
    await inside.append("s_1", delta("a"))
    await eventually(lambda: all(watcher.flushes for watcher in watching))
    text, seen = encode(delta("a"))[1:], [watcher.flushes for watcher in watching]
    for seq in (b"3", b"4", b"5"):
        assert follow.hear(feed.epoch.encode(), seq, b"1", text)
    assert not follow.hear(feed.epoch.encode(), b"7", b"1", text)
    assert feed.last == 5
    await eventually(lambda: [watcher.flushes for watcher in watching] == [n + 1 for n in seen])
    assert all(watcher.woken for watcher in watching)


async def test_whoever_follows_says_how_it_is_woken(inside: InProcess) -> None:
    hub, watcher, woken = inside.delivery.hub, Watcher(), list[str]()
    await begun(inside, watcher)
    hub.wake_by("s_1", watcher, lambda: woken.append("s_1"))
    await inside.append("s_1", delta("a"))
    await eventually(lambda: watcher.flushes)
    assert (woken, watcher.woken) == (["s_1"], [])
    hub.unfollow("s_1", watcher)
    hub.wake_by("s_1", watcher, lambda: woken.append("s_1"))
    assert hub._follows == {}


async def test_followers_share_a_feed_and_one_follow(
    inside: InProcess, broker: LossyBroker
) -> None:
    hub, a, b = inside.delivery.hub, Watcher(), Watcher()
    async with asyncio.TaskGroup() as group:
        feeds = [group.create_task(hub.follow("s_1", w)) for w in (a, b)]
    assert feeds[0].result() is feeds[1].result()
    assert broker.follows == 1
    hub.unfollow("s_1", a)
    hub.unfollow("s_1", a)
    assert broker.unfollows == 0
    hub.unfollow("s_1", b)
    assert broker.unfollows == 1
    assert hub._follows == {}


async def test_a_follow_that_fails_leaves_nothing(inside: InProcess, broker: LossyBroker) -> None:
    broker.away = True
    with pytest.raises(BrokerUnavailable):
        await inside.delivery.hub.follow("s_1", Watcher())
    assert inside.delivery.hub._follows == {}
    assert broker.unfollows == 0
    broker.away = False
    await inside.delivery.hub.follow("s_1", Watcher())
    assert broker.follows == 1


async def test_many_events_of_one_turn_are_one_flush(inside: InProcess) -> None:
    watcher = Watcher()
    feed = await begun(inside, watcher)
    flushes = watcher.flushes
    await inside.append("s_1", delta("a"), delta("b"))
    await eventually(lambda: feed.last == 3 and watcher.flushes > flushes)
    await asyncio.sleep(0)
    assert watcher.flushes == flushes + 1
    assert watcher.woken == ["s_1"]


async def test_one_that_fails_does_not_keep_the_others(inside: InProcess) -> None:
    bad, good = Watcher(fails=True), Watcher()
    await begun(inside, bad, good)
    await inside.append("s_1", delta("a"))
    await eventually(lambda: good.flushes)
    assert bad.aborted
    assert not good.aborted


async def test_a_long_flush_yields_to_the_loop(
    inside: InProcess, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Watcher):
        def flush(self) -> None:
            super().flush()
            clock.now += 2 * hub_module.FLUSH_S

    monkeypatch.setattr(hub_module, "FLUSHES", 1)
    slow = [Slow() for _ in range(3)]
    for watcher in slow:
        inside.delivery.hub.flush_soon(watcher)
    await asyncio.sleep(0)
    assert [watcher.flushes for watcher in slow] == [1, 0, 0]
    await eventually(lambda: all(watcher.flushes for watcher in slow))


async def test_a_gap_is_filled_from_the_log(inside: InProcess, broker: LossyBroker) -> None:
    watcher = Watcher()
    feed = await begun(inside, watcher)
    broker.deaf = True
    await inside.append("s_1", *(delta(str(n)) for n in range(700)))
    await asyncio.sleep(0)
    broker.deaf = False
    await inside.append("s_1", delta("heard"))
    await eventually(lambda: feed.last == 702)
    assert feed.first == 2
    assert watcher.woken


async def test_a_gap_larger_than_the_feed_is_left_to_those_who_lag(
    inside: InProcess, broker: LossyBroker
) -> None:
    feed = await begun(inside, Watcher())
    broker.deaf = True
    await inside.append("s_1", *(delta(str(n)) for n in range(3000)))
    await asyncio.sleep(0)
    broker.deaf = False
    await inside.append("s_1", delta("heard"))
    await eventually(lambda: feed.last == 3002)
    assert feed.after(1) is None


async def test_silence_is_compared_with_the_head(
    inside: InProcess, broker: LossyBroker, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "TICK_S", 0.01)
    watcher = Watcher()
    feed = await begun(inside, watcher)
    broker.deaf = True
    await inside.append("s_1", delta("unheard"))
    await asyncio.sleep(0.05)
    assert feed.last == 1
    clock.now += hub_module.RECONCILE_S
    await eventually(lambda: feed.last == 2)
    feed.live = True
    await inside.append("s_1", delta("unheard"))
    clock.now += hub_module.RECONCILE_LIVE_S
    await eventually(lambda: feed.last == 3)


async def test_a_deaf_listener_makes_every_feed_look(
    inside: InProcess, broker: LossyBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "TICK_S", 0.01)
    feed = await begun(inside, Watcher())
    broker.deaf = True
    await inside.append("s_1", delta("unheard"))
    await asyncio.sleep(0)
    broker.deaf = False
    broker.away = True
    inside.delivery.hub._follows["s_1"](News("s_1", "", 0, 0, 0, ()))
    await asyncio.sleep(0.03)
    assert feed.last == 1
    broker.away = False
    await eventually(lambda: feed.last == 2)
    assert not feed.behind


async def test_a_log_that_is_gone(inside: InProcess, broker: LossyBroker) -> None:
    watcher = Watcher()
    feed = await begun(inside, watcher)
    epoch = feed.epoch
    del broker._sessions["s_1"]
    await inside.delivery.hub.check("s_1")
    assert feed.epoch not in ("", epoch)
    await eventually(lambda: watcher.woken == ["s_1"])


async def test_a_hub_begins_only_in_the_epoch_of_its_feed(broker: LossyBroker) -> None:
    hub = Hub(broker)
    feed = await hub.follow("s_1", Watcher())
    assert hub.begin(feed, State(session="s_1", epoch="e_1", seq=5))
    assert not hub.begin(feed, State(session="s_1", epoch="e_2", seq=1))


async def test_a_gap_that_the_log_no_longer_has(inside: InProcess, broker: LossyBroker) -> None:
    feed = await begun(inside, Watcher())
    broker.deaf = True
    await inside.append("s_1", *(delta(str(n)) for n in range(9)))
    await asyncio.sleep(0)
    broker.deaf = False
    broker._sessions["s_1"].trim(5)
    await inside.append("s_1", delta("heard"))
    await eventually(lambda: feed.last == 11)
    assert feed.after(11) == ()
    assert feed.after(1) is None


async def test_a_log_that_changes_while_a_gap_is_filled(
    inside: InProcess, broker: LossyBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = Watcher()
    feed = await begun(inside, watcher)
    read = broker.read

    async def too_late(*args: Any, **kwargs: Any) -> Any:
        broker._sessions["s_1"].epoch = "e_new"
        return await read(*args, **kwargs)

    monkeypatch.setattr(broker, "read", too_late)
    broker.deaf = True
    await inside.append("s_1", delta("unheard"))
    await asyncio.sleep(0)
    broker.deaf = False
    inside.delivery.hub._follows["s_1"](News("s_1", feed.epoch, 2, 2, 0, ()))
    await eventually(lambda: feed.epoch == "e_new")
    assert feed.last == 2


async def test_a_word_of_events_that_the_log_does_not_have(inside: InProcess) -> None:
    feed = await begun(inside, Watcher())
    inside.delivery.hub._follows["s_1"](News("s_1", feed.epoch, 7, 7, 0, ()))
    assert feed.behind
    await eventually(lambda: not feed.behind)
    assert feed.last == 1


async def test_a_failure_that_nobody_thought_of_is_tried_again(
    inside: InProcess, broker: LossyBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "TICK_S", 0.01)
    feed = await begun(inside, Watcher())
    heads = broker.heads

    async def broken(sessions: Sequence[str]) -> Any:
        monkeypatch.setattr(broker, "heads", heads)
        raise KeyError("a bug")

    monkeypatch.setattr(broker, "heads", broken)
    inside.delivery.hub._follows["s_1"](News("s_1", "", 0, 0, 0, ()))
    await eventually(lambda: not feed.behind)
