"""The protocol of one connection, frame by frame, over a peer in memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.auth import Grant
from gateway.broker.memory import MemoryBroker
from gateway.delivery.connection import Connection
from gateway.delivery.outbox import CONTROL_LIMIT_FRAMES
from gateway.errors import BrokerUnavailable
from gateway.settings import Settings
from protocol.features import NAMES
from protocol.values import Principal
from tests.delivery.doors import ANN_ANSWER, ANN_FULL, BOB, Doors
from tests.sessions.replicas import Faults
from tests.support.inprocess import (
    DEV,
    InProcess,
    ManualClock,
    MemoryPeer,
    connected,
    delta,
    in_process,
)
from tests.support.waiting import eventually


@pytest.fixture
async def guarded() -> AsyncIterator[InProcess]:
    async with in_process(auth=Doors()) as inside:
        yield inside


# --- hello


async def test_welcome_says_who_and_what(inside: InProcess) -> None:
    async with connected(inside, hello={"client": "tab_A"}) as page:
        (welcome,) = page.frames
    assert welcome.pop("connection").startswith("x_")
    assert welcome.pop("server").keys() == {"name", "version"}
    assert welcome == {
        "type": "welcome",
        "client": "tab_A",
        "principal": {"tenant": "local", "subject": "dev"},
        "heartbeat_ms": 25_000,
        "limits": {"max_frame_bytes": 1_048_576, "max_subscriptions": 64},
        "features": NAMES,
    }


async def test_before_hello_and_twice_is_malformed_and_it_lives_on(inside: InProcess) -> None:
    async with connected(inside, hello={}) as page:
        page.say({"type": "session.list", "id": "k_1"}, {"type": "ping"}, {"type": "hello"})
        await page.get("welcome")
        page.say({"type": "hello"}, {"type": "ping"})
        await page.get("pong")
        assert [f["type"] for f in page.frames] == ["error", "error", "welcome", "error", "pong"]
        assert page.frames[0]["id"] == "k_1"
        assert {f["code"] for f in page.find("error")} == {"frame.malformed"}
        assert page.closed is None


async def test_no_hello_in_time() -> None:
    async with in_process(settings=Settings(hello_ms=20)) as inside:
        async with connected(inside, hello={}) as page:
            await eventually(lambda: page.closed)
        assert page.closed == 4454


@pytest.mark.parametrize(("token", "code"), [(None, "auth.required"), ("x", "auth.invalid")])
async def test_who_is_not_known_is_told_and_closed(
    guarded: InProcess, token: str | None, code: str
) -> None:
    async with connected(guarded, hello={}) as page:
        page.say({"type": "hello", **({"token": token} if token else {})})
        await eventually(lambda: page.closed)
    assert page.closed == 4401
    assert [f["code"] for f in page.frames] == [code]


async def test_the_same_client_again_supersedes(guarded: InProcess) -> None:
    me = {"client": "tab_A", "token": ANN_FULL}
    async with connected(guarded, hello=me) as old, connected(guarded, hello=me) as new:
        await eventually(lambda: old.closed)
        assert (old.closed, new.closed) == (4409, None)
        async with connected(guarded, hello={**me, "token": BOB}):
            assert new.closed is None  # a client id belongs to its principal


async def test_a_draining_process_takes_nobody(inside: InProcess) -> None:
    inside.delivery.roster.draining = True
    async with connected(inside, hello={}) as page:
        page.say({"type": "hello"})
        await eventually(lambda: page.closed)
    assert page.closed == 1012
    assert page.frames[0]["code"] == "server.draining"


# --- bad frames


BAD: list[tuple[str | bytes, str]] = [
    ("", "frame.malformed"),
    ("{", "frame.malformed"),
    (b"\x00", "frame.malformed"),
    ('{"type":"message.send","id":"k_1","session":"s_1"}', "frame.malformed"),
    ('{"type":"session.fork","id":"k_1","session":"s_1"}', "frame.unknown_type"),
]


@pytest.mark.parametrize(("message", "code"), BAD)
async def test_a_bad_frame_is_told(inside: InProcess, message: str | bytes, code: str) -> None:
    async with connected(inside) as page:
        page.say(message)
        error = await page.get("error")
        assert error["code"] == code
        if "k_1" in str(message):
            assert (error["id"], error["session"]) == ("k_1", "s_1")
        assert page.closed is None


async def test_ten_malformed_frames_are_abuse_and_unknown_ones_are_not(inside: InProcess) -> None:
    async with connected(inside) as page:
        page.say("\n".join(['{"type":"x"}'] * 30 + ["{"] * 9))
        page.say({"type": "ping"})
        await page.get("pong")
        assert page.closed is None
        page.say("{\n{\n{")
        await eventually(lambda: page.closed)
    assert page.closed == 4400
    assert len(page.find("error", code="frame.malformed")) == 10


async def test_a_flood_is_limited_and_then_cut() -> None:
    settings = Settings(frames_per_s=1, frames_burst=10)
    async with in_process(settings=settings) as inside, connected(inside) as page:
        page.say("\n".join(['{"type":"session.list","id":"k_1"}'] * 30))
        error = await page.get("error", code="rate.limited")
        assert (error["id"], error["retryable"]) == ("k_1", True)
        assert page.closed is None
        page.say("\n".join(['{"type":"session.list","id":"k_1"}'] * 60))
        await eventually(lambda: page.closed)
        assert page.closed == 4479


# --- commands and their order


async def test_a_full_lane_is_told_and_others_are_not_touched() -> None:
    async with in_process(settings=Settings(command_queue=2)) as inside, connected(inside) as page:
        frames = [
            {"type": "session.create", "id": f"k_{n}", "agent": "a", "session": "s_1"}
            for n in range(9)
        ]
        page.say(*frames, {"type": "session.list", "id": "k_list"})
        await page.get("ok", id="k_list")
        refused = await page.get("error", code="rate.limited")
        assert refused["session"] == "s_1"
        answered = len(page.find("ok", session="s_1")) + len(page.find("error"))
        assert answered == 9


async def test_list_messages_update_delete(inside: InProcess) -> None:
    async with connected(inside) as page:
        page.say(
            {"type": "session.create", "id": "k_1", "agent": "echo"},
        )
        session = (await page.get("ok", id="k_1"))["session"]
        page.say(
            {"type": "message.send", "id": "k_2", "session": session, "content": "hi"},
            {"type": "session.messages", "id": "k_3", "session": session},
            {"type": "session.update", "id": "k_4", "session": session, "metadata": {"title": "T"}},
        )
        messages = await page.get("ok", id="k_3")
        assert messages["messages"][0]["parts"] == [{"kind": "text", "text": "hi"}]
        assert messages["more"] is False
        await page.get("ok", id="k_4")
        page.say({"type": "session.list", "id": "k_5"})
        rows = (await page.get("ok", id="k_5"))["sessions"]
        assert [(row["session"], row["metadata"]) for row in rows] == [(session, {"title": "T"})]
        page.say(
            {"type": "session.delete", "id": "k_6", "session": session},
            {"type": "session.subscribe", "id": "k_7", "session": session},
        )
        await page.get("ok", id="k_6")
        assert (await page.get("error", id="k_7"))["code"] == "session.not_found"


async def test_somebody_elses_session_does_not_exist(guarded: InProcess) -> None:
    await guarded.create("s_1", Principal("acme", "ann"))
    async with connected(guarded, hello={"token": BOB, "sessions": [{"session": "s_1"}]}) as page:
        page.say({"type": "session.subscribe", "id": "k_1", "session": "s_none"})
        theirs, none = await page.get("error", session="s_1"), await page.get("error", id="k_1")
        assert "id" not in theirs
        assert theirs["message"].replace("s_1", "s_none") == none["message"]
        assert theirs["code"] == none["code"] == "session.not_found"


# --- subscriptions


async def epoch_of(inside: InProcess, session: str) -> str:
    (head,) = await inside.broker.heads([session])
    assert head is not None
    return head.epoch


async def test_resume_or_state(inside: InProcess) -> None:
    await inside.create("s_1")
    await inside.append("s_1", delta("a"), delta("b"))
    epoch = await epoch_of(inside, "s_1")
    wishes: list[tuple[dict[str, Any], tuple[bool, int]]] = [
        ({}, (False, 3)),
        ({"after": 0}, (True, 0)),
        ({"after": 2, "epoch": epoch}, (True, 2)),
        ({"after": 3, "epoch": epoch}, (True, 3)),
        ({"after": 4, "epoch": epoch}, (False, 3)),
        ({"after": 2}, (False, 3)),
        ({"after": 2, "epoch": "e_0"}, (False, 3)),
        ({"after": 0, "epoch": "e_0"}, (False, 3)),
    ]
    for wish, expected in wishes:
        async with connected(inside) as page:
            page.say({"type": "session.subscribe", "id": "k_1", "session": "s_1", **wish})
            answer = await page.get("subscribed", id="k_1")
            assert (answer["recovered"], answer["seq"]) == expected, wish
            assert ("state" in answer) is not expected[0]
            if expected[0]:
                assert (await page.get("cursor"))["seq"] == 3
            await inside.append("s_1")  # nothing
            page.say({"type": "ping"})
            await page.get("pong")
            assert bool(page.find("cursor")) is expected[0]
            covered = [
                seq
                for f in page.find("message.delta")
                for seq in range(f.get("from_seq", f["seq"]), f["seq"] + 1)
            ]
            assert covered == [seq for seq in (2, 3) if expected[0] and seq > expected[1]]


async def test_a_long_replay_comes_in_pages_without_a_hole(inside: InProcess) -> None:
    await inside.create("s_1")
    for n in range(10):
        await inside.append("s_1", *(delta(f"{n}.{m} ", part=m % 2) for m in range(100)))
    async with connected(inside, hello={"sessions": [{"session": "s_1", "after": 0}]}) as page:
        assert (await page.get("cursor"))["seq"] == 1001
        await inside.append("s_1", delta("live"))
        await page.get("message.delta", seq=1002)
        assert [f["seq"] for f in page.frames if "time" in f] == list(range(1, 1003))


async def test_trimmed_is_told_as_state(inside: InProcess) -> None:
    await inside.create("s_1")
    await inside.append("s_1", *(delta(str(n)) for n in range(20)))
    epoch = await epoch_of(inside, "s_1")
    snapshot = await inside.delivery.store.load("s_1", Grant(DEV, "full"))
    await inside.delivery.store.snapshots.after(snapshot, ended=True)
    inside.broker._sessions["s_1"].trim(10)  # type: ignore[attr-defined]
    hello = {"sessions": [{"session": "s_1", "after": 4, "epoch": epoch}]}
    async with connected(inside, hello=hello) as page:
        answer = await page.get("subscribed")
        assert (answer["recovered"], answer["seq"]) == (False, 21)


async def test_detail_is_lowered_to_what_is_granted(guarded: InProcess) -> None:
    await guarded.create("s_1", Principal("acme", "ann"))
    subscription = {"session": "s_1", "detail": "full"}
    low = {"token": ANN_ANSWER, "sessions": [subscription]}
    high = {"token": ANN_FULL, "sessions": [subscription]}
    async with connected(guarded, hello=low) as b, connected(guarded, hello=high) as a:
        assert (await b.get("subscribed"))["detail"] == "answer"
        assert (await a.get("subscribed"))["detail"] == "full"
        await guarded.append("s_1", delta("hm", kind="thinking"), delta("Dune", part=1))
        await b.get("message.delta", seq=3)
        await a.get("message.delta", seq=3)
        assert not b.find("message.delta", seq=2)
        assert a.find("message.delta", seq=2)


async def test_subscriptions_are_limited() -> None:
    async with in_process(settings=Settings(max_subscriptions=2)) as inside:
        for n in range(4):
            await inside.create(f"s_{n}")
        wanted = [{"session": f"s_{n}"} for n in range(3)]
        async with connected(inside, hello={"sessions": wanted}) as page:
            error = await page.get("error")
            assert (error["code"], error["session"]) == ("limit.exceeded", "s_2")
            page.say(
                {"type": "session.subscribe", "id": "k_0", "session": "s_0"},
                {"type": "session.unsubscribe", "id": "k_1", "session": "s_0"},
            )
            await page.get("subscribed", id="k_0")
            await page.get("ok", id="k_1")
            page.say({"type": "session.subscribe", "id": "k_3", "session": "s_3"})
            await page.get("subscribed", id="k_3")


async def test_a_session_of_another_epoch_begins_anew(inside: InProcess) -> None:
    await inside.create("s_1")
    async with connected(inside, hello={"sessions": [{"session": "s_1"}]}) as page:
        await page.get("subscribed")
        log = inside.broker._sessions["s_1"]  # type: ignore[attr-defined]
        log.epoch = "e_new"
        await inside.append("s_1", delta("of the new log"))
        again = await eventually(lambda: page.find("subscribed", epoch="e_new"))
        assert "id" not in again[0]
        assert (again[0]["recovered"], again[0]["seq"]) == (False, 2)
        await inside.append("s_1", delta("more"))
        await page.get("message.delta", seq=3)


async def test_a_lost_session_is_told(inside: InProcess) -> None:
    await inside.create("s_1")
    async with connected(inside, hello={"sessions": [{"session": "s_1"}]}) as page:
        await page.get("subscribed")
        del inside.broker._sessions["s_1"]  # type: ignore[attr-defined]
        await inside.delivery.hub.check("s_1")
        assert (await page.get("error"))["code"] == "session.not_found"
        page.say({"type": "ack", "session": "s_1", "seq": 1})
        await page.get("error", code="cursor.invalid")


async def test_what_waited_while_the_broker_failed_is_told_at_once() -> None:
    faults = Faults(MemoryBroker())
    silence = asyncio.Event()

    async def hang() -> None:
        await silence.wait()
        raise BrokerUnavailable("no answer")

    update = {"type": "session.update", "session": "s_1", "metadata": {"a": 1}}
    async with in_process(broker=faults.broker) as inside:
        await inside.create("s_1")
        async with connected(inside) as page:
            faults.on_append.append(hang)
            page.say(*[{**update, "id": f"k_{number}"} for number in range(3)])
            page.say({"type": "session.subscribe", "id": "k_3", "session": "s_1"})
            await eventually(lambda: faults.appends)
            silence.set()
            for number in range(4):
                error = await page.get("error", id=f"k_{number}")
                assert (error["code"], error["session"]) == ("broker.unavailable", "s_1")
            assert len(faults.appends) == 1
            page.say({**update, "id": "k_0"})
            await page.get("ok", id="k_0")


async def test_a_window_holds_back_until_it_is_acknowledged(inside: InProcess) -> None:
    await inside.create("s_1")
    hello = {"sessions": [{"session": "s_1", "window": 2}]}
    async with connected(inside, hello=hello) as page:
        await page.get("subscribed")
        for n in range(6):
            await inside.append("s_1", delta(str(n)))
        await page.get("message.delta", seq=3)
        page.say({"type": "ack", "session": "s_1", "seq": 9}, {"type": "ping"})
        await page.get("pong")
        assert page.find("error", code="cursor.invalid")
        assert [f["seq"] for f in page.find("message.delta")] == [2, 3]
        page.say({"type": "ack", "session": "s_1", "seq": 3})
        merged = await page.get("message.delta", seq=7)
        assert (merged["from_seq"], merged["delta"]) == (4, "2345")


async def test_an_ack_as_our_clients_write_it(inside: InProcess) -> None:
    await inside.create("s_1")
    hello = {"sessions": [{"session": "s_1", "window": 2}]}
    async with connected(inside, hello=hello) as page:
        await page.get("subscribed")
        for n in range(6):
            await inside.append("s_1", delta(str(n)))
        await page.get("message.delta", seq=3)
        for wrong in ("s_1", "s_2"):
            page.say(f'{{"type":"ack","session":"{wrong}","seq":9}}')
            await page.get("error", code="cursor.invalid", session=wrong)
        for session, seq in (("s_1", "03"), ("s.1", "3"), ("s_1", "-3"), ("s_1", "3,")):
            page.say(f'{{"type":"ack","session":"{session}","seq":{seq}}}')
            await page.get("error", code="frame.malformed")
        assert [f["seq"] for f in page.find("message.delta")] == [2, 3]
        page.say('{"type":"ack","session":"s_1","seq":3}')
        await page.get("message.delta", seq=7)


async def test_acks_are_metered() -> None:
    settings = Settings(frames_per_s=1, frames_burst=3)
    async with (
        in_process(settings=settings, clock=ManualClock()) as inside,
        connected(inside) as page,
    ):
        for _ in range(20):
            page.say('{"type":"ack","session":"s_1","seq":3}')
        await eventually(lambda: len(page.find("error", code="cursor.invalid")) >= 19)
        page.say('{"type":"ack","session":"s_1","seq":3}')
        await page.get("error", code="rate.limited")


async def test_while_the_socket_drains_news_piles_up_as_a_cursor(inside: InProcess) -> None:
    await inside.create("s_1")
    async with connected(inside, hello={"sessions": [{"session": "s_1"}]}) as page:
        await page.get("subscribed")
        page.block()
        for n in range(100):
            await inside.append("s_1", delta(str(n % 10)))
        messages = len(page.messages)
        page.unblock()
        await page.get("message.delta", seq=101)
        assert len(page.messages) == messages + 1


async def test_nothing_is_left_of_a_connection(inside: InProcess) -> None:
    await inside.create("s_1")
    before = asyncio.all_tasks()
    async with connected(inside, hello={"sessions": [{"session": "s_1"}]}) as page:
        await page.get("subscribed")
    assert len(inside.delivery.roster) == 0
    assert inside.delivery.hub._follows == {}
    assert asyncio.all_tasks() <= before


async def test_nor_of_one_that_had_news(inside: InProcess) -> None:
    await inside.create("s_1")
    async with connected(inside, hello={"sessions": [{"session": "s_1"}]}) as page:
        await page.get("subscribed")
        page.block()
        seq = await inside.append("s_1", delta("never sent"))
        feed = inside.delivery.hub._follows["s_1"].feed
        await eventually(lambda: feed.last == seq)
    assert len(inside.delivery.roster) == 0
    assert inside.delivery.hub._follows == {}


# --- time


class Aging:
    """A connection under a clock of the test's."""

    def __init__(self, inside: InProcess, page: MemoryPeer, clock: ManualClock) -> None:
        self.page = page
        self._inside = inside
        self._clock = clock

    def pass_seconds(self, seconds: float) -> None:
        """The clock moves, and the roster tells everybody."""
        self._clock.now += seconds
        for member in list(self._inside.delivery.roster._members):
            member.tick(self._clock.now)


@pytest.fixture
async def aging() -> AsyncIterator[Aging]:
    clock = ManualClock()
    async with in_process(auth=Doors(), clock=clock, wall=clock) as inside:
        await inside.create("s_1", Principal("acme", "ann"))
        token = f"acme/ann/full/{clock.now + 100}"
        hello = {"token": token, "sessions": [{"session": "s_1", "window": 1}]}
        async with connected(inside, hello=hello) as page:
            await page.get("subscribed")
            yield Aging(inside, page, clock)


async def test_ping_every_25_s(aging: Aging) -> None:
    aging.pass_seconds(24)
    aging.pass_seconds(1)
    await aging.page.get("ping")
    aging.pass_seconds(24)
    assert len(aging.page.find("ping")) == 1


async def test_a_token_that_ends_is_announced_and_then_ends_the_connection(aging: Aging) -> None:
    aging.pass_seconds(39)
    assert not aging.page.find("auth.expiring")
    aging.pass_seconds(1)
    assert (await aging.page.get("auth.expiring"))["in_ms"] == 60_000
    aging.pass_seconds(84)
    assert aging.page.closed is None
    aging.pass_seconds(1)
    assert aging.page.closed == 4401
    assert len(aging.page.find("auth.expiring")) == 1


async def test_a_newer_token_prolongs_and_may_lower_the_detail(aging: Aging) -> None:
    page = aging.page
    page.say({"type": "auth.refresh", "id": "k_1", "token": "acme/ann/answer/"})
    await page.get("ok", id="k_1")
    assert "id" not in await page.get("subscribed", detail="answer")
    aging.pass_seconds(1000)
    assert page.closed is None


async def test_a_token_of_somebody_else(aging: Aging) -> None:
    aging.page.say({"type": "auth.refresh", "id": "k_1", "token": "nonsense"})
    assert (await aging.page.get("error", id="k_1"))["code"] == "auth.invalid"
    aging.page.say({"type": "auth.refresh", "id": "k_2", "token": BOB})
    await eventually(lambda: aging.page.closed)
    assert aging.page.closed == 4403


async def test_a_write_that_never_drains(aging: Aging) -> None:
    aging.page.block()
    aging.pass_seconds(1)
    aging.pass_seconds(10)
    assert aging.page.closed is None
    aging.pass_seconds(1)
    assert aging.page.closed == 4458


async def test_a_slow_write_that_drains_now_and_then(aging: Aging) -> None:
    for _ in range(5):
        aging.page.block()
        aging.pass_seconds(1)
        aging.pass_seconds(9)
        aging.page.unblock()
    assert aging.page.closed is None


async def test_a_full_window_without_an_ack(aging: Aging) -> None:
    for _ in range(3):
        await aging._inside.append("s_1", delta("x"))
    await aging.page.get("message.delta")
    aging.pass_seconds(30)
    assert aging.page.closed is None
    aging.pass_seconds(1)
    assert aging.page.closed == 4458


async def test_going_away_is_announced(inside: InProcess) -> None:
    async with connected(inside) as page:
        page.say({"type": "ping"})
        await page.get("pong")
        await inside.delivery.roster.drain(0.01)
        goaway = await page.get("goaway")
        assert (goaway["reason"], goaway["reconnect_after_ms"]) == ("restart", 0)


async def test_a_bug_of_ours_ends_one_connection_alone(
    inside: InProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(inside) as other, connected(inside) as page:
        members = [m for m in inside.delivery.roster._members if isinstance(m, Connection)]
        (connection,) = [member for member in members if member._peer is page]
        monkeypatch.setattr(connection, "_inbox", None)
        page.say({"type": "ping"})
        await eventually(lambda: page.closed)
        assert page.closed == 1012
        other.say({"type": "ping"})
        await other.get("pong")
    assert "failed" in caplog.text


async def test_pongs_and_pings_need_no_answer_but_a_pong(inside: InProcess) -> None:
    async with connected(inside) as page:
        page.say({"type": "pong"}, {"type": "ping"}, {"type": "pong"})
        await page.get("pong")
        assert [f["type"] for f in page.frames] == ["welcome", "pong"]


async def test_answers_that_nobody_takes_end_the_connection(inside: InProcess) -> None:
    async with connected(inside) as page:
        page.block()
        (connection,) = inside.delivery.roster._members
        assert isinstance(connection, Connection)
        for _ in range(CONTROL_LIMIT_FRAMES):
            connection._send(b'{"type":"pong"}')
        assert page.closed is None
        connection._send(b'{"type":"pong"}')
        assert page.closed == 4458


async def send(page: MemoryPeer, command: str, session: str, text: str) -> None:
    """A message without a run."""
    page.say(
        {"type": "message.send", "id": command, "session": session, "content": text, "start": False}
    )
    await page.get("ok", id=command)


async def test_large_answers_end_no_connection(
    inside: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page is as large as it is; the next is worked out when there is room."""
    names = [f"s_{n}" for n in range(4)]
    store, at_once = inside.delivery.store, list[int]()
    working = 0

    async def messages(*given: Any) -> Any:
        nonlocal working
        working += 1
        at_once.append(working)
        await asyncio.sleep(0)  # another one could begin now
        working -= 1
        return await found(*given)

    found = store.messages
    monkeypatch.setattr(store, "messages", messages)
    async with connected(inside) as page:
        for name in names:
            await inside.create(name)
            for n in range(2):
                await send(page, f"k_{name}_{n}", name, "x" * 900_000)
        page.block()
        for name in names:
            page.say({"type": "session.messages", "id": f"k_{name}", "session": name})
        page.say({"type": "session.messages", "id": "k_none", "session": "s_none"})
        await eventually(lambda: at_once)
        page.unblock()
        for name in names:
            answer = await page.get("ok", id=f"k_{name}")
            assert (len(answer["messages"]), answer["more"]) == (1, True)
        assert (await page.get("error", id="k_none"))["code"] == "session.not_found"
        assert page.closed is None
    assert set(at_once) == {1}


async def test_the_states_of_a_hello_end_no_connection(
    inside: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"s_{n}" for n in range(20)]
    async with connected(inside) as page:
        for name in names:
            await inside.create(name)
            await send(page, f"k_{name}", name, "x" * 200_000)
    look, looked, all_look = inside.delivery.store.look, list[str](), asyncio.Event()

    async def look_together(session: str, grant: Grant) -> Any:
        looked.append(session)
        if len(looked) == len(names):
            all_look.set()
        await all_look.wait()
        return await look(session, grant)

    monkeypatch.setattr(inside.delivery.store, "look", look_together)
    async with connected(inside, hello={}) as page:
        page.block()
        page.say({"type": "hello", "sessions": [{"session": name} for name in names]})
        await all_look.wait()
        page.say({"type": "ping"})
        (connection,) = inside.delivery.roster._members
        assert isinstance(connection, Connection)
        await eventually(lambda: len(connection._subscriptions or ()) == len(names))
        page.unblock()
        for name in names:
            await page.get("subscribed", session=name)
        await page.get("pong")
        assert page.closed is None
