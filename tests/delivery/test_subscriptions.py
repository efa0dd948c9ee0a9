"""A connection's subscriptions when the broker is away, slow, or of another mind.

What they do when all is well is told by `test_connection`.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.auth import Grant
from gateway.broker.base import Loaded
from gateway.broker.memory import MemoryBroker
from gateway.delivery import roster as roster_module
from gateway.delivery.subscriptions import granted
from gateway.errors import BrokerUnavailable
from gateway.settings import Settings
from protocol.events import MessageDelta
from protocol.values import Detail, Principal
from tests.delivery.doors import ANN_ANSWER, ANN_FULL, Doors
from tests.support.inprocess import DEV, TIME, ManualClock, SlowBroker, connected, delta, in_process
from tests.support.waiting import eventually


@pytest.mark.parametrize(
    ("wish", "most", "got"),
    [
        (None, "steps", "steps"),
        ("full", "answer", "answer"),
        ("answer", "full", "answer"),
        ("steps", "steps", "steps"),
    ],
)
def test_no_more_than_is_granted(wish: Detail | None, most: Detail, got: Detail) -> None:
    assert granted(wish, Grant(DEV, most)) == got


class Flaky(MemoryBroker):
    """Its log cannot be read while `away`."""

    away = False

    async def read(
        self, session: str, after: int, limit: int, *, epoch: str = ""
    ) -> Sequence[tuple[int, bytes]]:
        if self.away:
            raise BrokerUnavailable
        return await super().read(session, after, limit, epoch=epoch)


async def test_a_page_that_cannot_be_read_is_read_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster_module, "TICK_S", 0.01)
    broker = Flaky()
    settings = Settings(feed_events=10)
    async with in_process(broker=broker, settings=settings) as inside:
        await inside.create("s_1")
        hello = {"sessions": [{"session": "s_1"}]}
        async with connected(inside, hello=hello) as page:
            await page.get("subscribed")
            page.block()
            for _ in range(40):
                await inside.append("s_1", delta("x", part=0), delta("y", part=1))
            broker.away = True
            page.unblock()
            page.say({"type": "ping"})
            await page.get("pong")
            assert not page.find("message.delta")
            broker.away = False
            await page.get("message.delta", seq=81)
            assert [f["seq"] for f in page.find("message.delta")] == list(range(2, 82))


async def test_a_resume_that_cannot_be_read_is_refused_and_may_be_tried_again() -> None:
    broker = Flaky()
    async with in_process(broker=broker) as inside, connected(inside) as page:
        await inside.create("s_1")
        await inside.append("s_1", delta("x"))
        broker.away = True
        page.say({"type": "session.subscribe", "id": "k_1", "session": "s_1", "after": 0})
        error = await page.get("error", id="k_1")
        assert (error["code"], error["retryable"]) == ("broker.unavailable", True)
        assert inside.delivery.hub._follows == {}
        broker.away = False
        page.say({"type": "session.subscribe", "id": "k_2", "session": "s_1", "after": 0})
        await page.get("cursor", seq=2)


async def test_options_are_replaced_and_a_refused_change_leaves_the_old_ones() -> None:
    broker = Flaky()
    async with in_process(broker=broker) as inside:
        await inside.create("s_1")
        async with connected(inside, hello={"sessions": [{"session": "s_1"}]}) as page:
            await page.get("subscribed")
            page.say(
                {"type": "session.subscribe", "id": "k_1", "session": "s_1", "detail": "answer"}
            )
            await page.get("subscribed", id="k_1", detail="answer")
            broker.away = True
            page.say({"type": "session.subscribe", "id": "k_2", "session": "s_1", "after": 0})
            await page.get("error", id="k_2")
            await inside.append("s_1", delta("hm", kind="thinking"), delta("x", part=1))
            await page.get("message.delta", seq=3)
            assert not page.find("message.delta", seq=2)


async def test_of_a_log_that_never_agrees_with_its_news() -> None:
    async with in_process() as inside, connected(inside) as page:
        await inside.create("s_1")
        hub = inside.delivery.hub
        hub.begin = lambda feed, state: False  # the broker flickers
        page.say({"type": "session.subscribe", "id": "k_1", "session": "s_1"})
        assert (await page.get("error", id="k_1"))["code"] == "broker.unavailable"
        assert hub._follows == {}


async def test_a_page_of_a_log_that_is_gone_begins_anew() -> None:
    broker = Flaky()
    async with in_process(broker=broker, settings=Settings(feed_events=10)) as inside:
        await inside.create("s_1")
        async with connected(inside, hello={"sessions": [{"session": "s_1"}]}) as page:
            await page.get("subscribed")
            page.block()
            for n in range(40):
                await inside.append("s_1", delta(str(n)))
            broker._sessions["s_1"].trim(20)
            page.unblock()
            again = await page.get("subscribed", seq=41)
            assert again["recovered"] is False
            await inside.append("s_1", delta("live"))
            await page.get("message.delta", seq=42)


# --- what may not be seen any more


OWNER = Grant(DEV, "full")


class Anyone:
    """Whoever asks is the subject that its token says."""

    async def authenticate(self, token: str | None) -> Grant:
        assert token is not None
        subject, _, only = token.partition("/")
        sessions = frozenset({only}) if only else None
        return Grant(Principal("local", subject), "full", sessions=sessions)


async def test_who_was_let_in_by_a_share_looks_again_in_time() -> None:
    clock = ManualClock()
    async with in_process(auth=Anyone(), clock=clock) as inside:
        await inside.create("s_1")
        store = inside.delivery.store
        await store.sharing.set("s_1", OWNER, "eve", "act")
        subscribed = {"session": "s_1"}
        async with (
            connected(inside, hello={"token": "eve", "sessions": [subscribed]}) as guest,
            connected(inside, hello={"token": "dev", "sessions": [subscribed]}) as owner,
        ):
            await guest.get("subscribed")
            await owner.get("subscribed")
            await store.sharing.set("s_1", OWNER, "eve", None)  # and nobody is told
            for passed, ended in ((29.0, False), (2.0, True)):
                clock.now += passed
                for member in list(inside.delivery.roster._members):
                    member.tick(clock())
                if ended:
                    assert (await guest.get("error"))["code"] == "session.not_found"
            await inside.append("s_1", delta("x"))
            await owner.get("message.delta")
            assert not guest.find("message.delta")
            assert not owner.find("error")


@pytest.mark.parametrize("taken", ["share", "token"])
async def test_what_is_taken_back_while_a_subscription_begins_ends_it(taken: str) -> None:
    broker = SlowBroker()
    async with in_process(auth=Anyone(), broker=broker) as inside:
        await inside.create("s_1")
        await inside.append("s_1", delta("a"))
        store = inside.delivery.store
        await store.sharing.set("s_1", OWNER, "eve", "act")
        who = "eve" if taken == "share" else "dev"
        async with connected(inside, hello={"token": who}) as page:
            page.say({"type": "session.subscribe", "id": "k_1", "session": "s_1", "after": 0})
            await broker.begun.wait()
            if taken == "share":
                await store.sharing.set("s_1", OWNER, "eve", None)
                await inside.delivery.control.look_again("s_1")
            else:
                page.say({"type": "auth.refresh", "id": "k_2", "token": "dev/s_2"})
                await page.get("ok", id="k_2")
            await asyncio.sleep(0)  # the word is heard
            broker.go_on.set()
            assert (await page.get("error"))["code"] == "session.not_found"
            await inside.append("s_1", delta("secret"))
            page.say({"type": "ping"})
            await page.get("pong")
            assert not page.find("message.delta", delta="secret")


async def test_a_newer_token_that_is_not_for_a_session_ends_its_subscription() -> None:
    async with in_process(auth=Anyone()) as inside:
        for session in ("s_1", "s_2"):
            await inside.create(session)
        both = [{"session": "s_1"}, {"session": "s_2"}]
        async with connected(inside, hello={"token": "dev", "sessions": both}) as page:
            await page.get("subscribed", session="s_2")
            page.say({"type": "auth.refresh", "id": "k_1", "token": "dev/s_2"})
            error = await page.get("error")
            assert (error["code"], error["session"]) == ("session.not_found", "s_1")
            await inside.append("s_1", delta("x"))
            await inside.append("s_2", delta("y"))
            await page.get("message.delta", session="s_2")
            assert not page.find("message.delta", session="s_1")


class Loadless(MemoryBroker):
    """No session can be loaded while `away`."""

    away = False
    asked = 0

    async def load(self, session: str, **options: Any) -> Loaded:
        if self.away:
            self.asked += 1
            raise BrokerUnavailable
        return await super().load(session, **options)


def thought(text: str) -> MessageDelta:
    return MessageDelta(time=TIME, message="m_1", part=0, kind="thinking", delta=text)


async def test_a_lower_detail_holds_at_once_and_its_state_comes_when_the_broker_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(roster_module, "TICK_S", 0.01)
    broker = Loadless()
    async with in_process(broker=broker, auth=Doors()) as inside:
        await inside.create("s_1", Principal("acme", "ann"))
        hello = {"token": ANN_FULL, "sessions": [{"session": "s_1"}]}
        async with connected(inside, hello=hello) as page:
            await page.get("subscribed", detail="full")
            broker.away = True
            page.say({"type": "auth.refresh", "id": "k_1", "token": ANN_ANSWER})
            await page.get("ok", id="k_1")
            await inside.append("s_1", thought("secret"), delta("hi", part=1))
            await page.get("message.delta", delta="hi")
            broker.away = False
            await page.get("subscribed", detail="answer")
            await inside.append("s_1", thought("secret"), delta("ho", part=1))
            await page.get("message.delta", delta="ho")
            assert {f["kind"] for f in page.find("message.delta")} == {"text"}


async def test_a_subscription_that_was_replaced_does_not_come_back() -> None:
    """It had something left to do when the broker was away."""
    broker, clock = Loadless(), ManualClock()
    async with in_process(broker=broker, clock=clock) as inside:
        await inside.create("s_1")
        hello = {"client": "tab_A", "sessions": [{"session": "s_1"}]}
        async with connected(inside, hello=hello) as page:
            await page.get("subscribed")
            (member,) = inside.delivery.roster._members
            broker.away = True
            member.look_again("s_1")
            await eventually(lambda: broker.asked)
            broker.away = False
            page.say(
                {"type": "session.subscribe", "id": "k_2", "session": "s_1", "detail": "answer"}
            )
            await page.get("subscribed", detail="answer")
            await inside.append("s_1", thought("secret"), delta("hi", part=1))
            await page.get("message.delta", delta="hi")
            clock.now += 1
            member.tick(clock.now)
            page.say({"type": "ping"})
            await page.get("pong")
            assert [f["kind"] for f in page.find("message.delta")] == ["text"]
