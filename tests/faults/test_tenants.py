"""Faults, Cross-tenant access: a stranger cannot tell what is another's from what is not there.

T1 is generated: every frame with an id field and every route, with Ann's ids and with made-up
ones, must be answered alike but for the id itself.
"""

import json
import time
import typing
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import msgspec
import pytest

from gateway.auth.token import mint_token
from gateway.broker.base import KEPT_S
from gateway.broker.memory import MemoryBroker
from gateway.broker.redis import layout
from gateway.broker.redis.broker import RedisBroker
from gateway.delivery import subscriptions
from protocol.commands import AnySessionCommand, AnyUp
from tests.broker.redis.opening import asking
from tests.faults.clients import Client
from tests.faults.conftest import Replica, Replicate
from tests.faults.producer import Story, script
from tests.faults.trial import Trial, trial
from tests.support.http import http_client
from tests.support.processes import Valkey
from tests.support.wire import Frame, Tab, new_id

SECRET = "0123456789abcdef" * 3
READ: Frame = {
    "name": "read_heading",
    "description": "Reads a heading",
    "parameters": {"type": "object"},
}
CALL: Frame = {"call_tool": {"name": "read_heading", "arguments": {}}}
APPROVE: Frame = {"approve": {"title": "Really?"}}
SAMPLES: Frame = {
    "content": "hi", "decision": "approve", "seq": 0, "agent": "scripted", "token": "t",
}  # fmt: skip
APART = ("session.create", "session.unsubscribe", "ack")
"""Frames that are no question about a session: each has a test of its own."""
THINGS = ("session", "call", "approval", "run", "message", "before", "after")
ROUNDS, MOST_RATIO = 40, 2.0
STRANGERS = {"another tenant": ("evil", "ann"), "another subject": ("acme", "bob")}


def token(tenant: str, subject: str) -> str:
    return mint_token(SECRET, subject=subject, tenant=tenant, detail="full")


@dataclass
class House:
    """Ann's session with everything in it that has an id, and where it is served."""

    replica: Replica
    trial: Trial
    ann: Client
    ids: dict[str, str]

    def made_up(self) -> dict[str, str]:
        """Ids as Ann's look, of nothing."""
        return {name: f"{name}-of-nobody" for name in self.ids}


@pytest.fixture
async def house(replicate: Replicate) -> AsyncIterator[House]:
    replica = await replicate(auth="jwt", auth_secret=SECRET)
    async with trial(replica.gateway.broker) as t:
        ann = await t.client(replica.url, token=token("acme", "ann"), principal="acme:ann")
        session = await ann.create(tools=[READ])
        first = (await ann.send(session, script(Story(3, 0))))["run"]
        await ann.run_end(first)
        sent = await ann.send(session, script(Story(2, 0), CALL, APPROVE))
        call = (await ann.event("tool_call.requested"))["call"]
        other = await ann.create()
        asked = (await ann.send(other, script(APPROVE)))["run"]
        approval = (await ann.event("approval.requested", run=asked))["approval"]
        made = House(
            replica,
            t,
            ann,
            {
                "session": session,
                "call": call,
                "approval": approval,
                "run": sent["run"],
                "message": sent["message"],
                "before": sent["message"],
                "after": sent["message"],
            },
        )
        before = {s: (await t.log(s)).head for s in (session, other)}
        yield made
        for each, head in before.items():
            assert (await t.log(each)).head == head, "a stranger has left a trace"
        for each in (session, other):
            await ann.must({"type": "run.interrupt", "session": each})


def probes(union: Any, ids: dict[str, str]) -> list[Frame]:
    """Every frame that names a session, with its required ids; then with each optional one."""
    found: list[Frame] = []
    for struct in typing.get_args(union):
        fields = {f.name: f for f in msgspec.structs.fields(struct)}
        tag = struct.__struct_config__.tag
        if "session" not in fields or tag in APART:
            continue
        samples = {**SAMPLES, **ids}
        frame = {name: samples[name] for name, f in fields.items() if f.required and name != "id"}
        frame = {"type": tag, "session": ids["session"], **frame}
        found.append(frame)
        # a message's own new id names nothing that exists
        optional = [n for n in fields if n in THINGS and n not in frame and n != "message"]
        if tag == "session.subscribe":
            optional = []
            found.append({**frame, "after": 1, "epoch": "e_1"})
        found += [{**frame, name: ids[name]} for name in optional]
    return found


def blurred(answer: Frame, ids: dict[str, str]) -> str:
    """An answer without the ids that were asked about."""
    text = json.dumps({k: v for k, v in answer.items() if k != "id"}, sort_keys=True)
    for id_ in sorted(ids.values(), key=len, reverse=True):
        text = text.replace(id_, "*")
    return text


def test_T1_every_frame_with_a_session_is_probed() -> None:
    probed = {frame["type"] for frame in probes(AnyUp, dict.fromkeys(THINGS, "x"))}
    named = {
        str(struct.__struct_config__.tag)
        for struct in typing.get_args(AnyUp)
        if "session" in {f.name for f in msgspec.structs.fields(struct)}
    }
    assert named - probed == set(APART)
    assert len(probed) == 11


@pytest.mark.parametrize("who", STRANGERS.values(), ids=STRANGERS)
async def test_T1_every_frame_with_anothers_ids(house: House, who: tuple[str, str]) -> None:
    made_up = house.made_up()
    async with Tab(house.replica.url, token=token(*who)) as tab:
        pairs = zip(probes(AnyUp, house.ids), probes(AnyUp, made_up), strict=True)
        for theirs, nobodys in pairs:
            answer, none = await tab.ask(theirs), await tab.ask(nobodys)
            assert answer["code"] == "session.not_found", theirs
            assert blurred(answer, house.ids) == blurred(none, made_up), theirs
        assert (await tab.must({"type": "session.list"}))["sessions"] == []
        assert not tab.events(house.ids["session"])


@pytest.mark.parametrize("stored", ["memory", "redis"])
async def test_T1_the_time_an_answer_takes_tells_nothing(
    replicate: Replicate, valkey: Valkey, stored: str
) -> None:
    """Alternating questions; of each kind the quick answers: what else runs only adds to them.

    What the answer tells, it tells each time; a noisy machine does not disturb three times alike.
    """
    replica = await replicate(
        valkey.url if stored == "redis" else None,
        auth="jwt", auth_secret=SECRET, frames_per_s=100_000, frames_burst=100_000,
    )  # fmt: skip
    async with (
        Tab(replica.url, token=token("acme", "ann")) as ann,
        Tab(replica.url, token=token("acme", "eve")) as eve,
    ):
        session = await ann.create()
        ids = {name: f"{name}-1" for name in THINGS} | {"session": session}
        made_up = {**ids, "session": session[:-4] + "none"}
        pairs = zip(probes(AnyUp, ids), probes(AnyUp, made_up), strict=True)
        for theirs, nobodys in pairs:
            ratios: list[float] = []
            while not ratios or not 1 / MOST_RATIO < ratios[-1] < MOST_RATIO:
                assert len(ratios) < 3, f"{theirs['type']}: {ratios}"
                ratios.append(await _slower(eve, theirs, nobodys))


async def _slower(eve: Tab, theirs: Frame, nobodys: Frame) -> float:
    """How many times longer the answer to the one question takes."""
    took: tuple[list[float], list[float]] = ([], [])
    for round_ in range(ROUNDS):
        order = (0, 1) if round_ % 2 else (1, 0)
        for which in order:
            asked = time.perf_counter()
            answer = await eve.ask((theirs, nobodys)[which])
            took[which].append(time.perf_counter() - asked)
            assert answer["code"] == "session.not_found", answer
    of_theirs, of_nobodys = (sorted(each)[ROUNDS // 10] for each in took)
    return of_theirs / of_nobodys


@pytest.mark.parametrize("who", STRANGERS.values(), ids=STRANGERS)
async def test_T1_things_of_another_in_a_session_of_ones_own(
    house: House, who: tuple[str, str]
) -> None:
    """The session is the stranger's, the call, approval, run or message is Ann's."""
    tenant, subject = who
    eve = await house.trial.client(
        house.replica.url, token=token(*who), principal=f"{tenant}:{subject}"
    )
    session = await eve.create(tools=[READ])
    made_up = {**house.made_up(), "session": session}
    theirs = {**house.ids, "session": session}
    skip = ("session.subscribe", "session.delete", "session.update")
    for mine, none in zip(probes(AnyUp, theirs), probes(AnyUp, made_up), strict=True):
        if mine["type"] in skip or set(mine) & set(THINGS) == {"session"}:
            continue
        answer, other = await eve.command(mine), await eve.command(none)
        assert answer["type"] == "error", mine
        assert blurred(answer, theirs) == blurred(other, made_up), mine


@pytest.mark.parametrize("who", STRANGERS.values(), ids=STRANGERS)
async def test_T1_hello_acks_and_unsubscribes(house: House, who: tuple[str, str]) -> None:
    made_up = house.made_up()
    seen: list[list[str]] = []
    for ids in (house.ids, made_up):
        wanted = [{"session": ids["session"], "after": 0}, {"session": ids["session"]}]
        async with Tab(house.replica.url, token=token(*who), sessions=wanted) as tab:
            await tab.send({"type": "ack", "session": ids["session"], "seq": 1})
            end = await tab.ask({"type": "session.unsubscribe", "session": ids["session"]})
            assert end["type"] == "ok"  # it is not subscribed, whatever there is
            await tab.wait_for(lambda f, tab=tab: len(tab.find("error")) == 3)
            seen.append(sorted(blurred(f, ids) for f in tab.find("error")))
            assert not tab.events(ids["session"])
    assert seen[0] == seen[1]


async def test_T1_a_taken_name_cannot_be_taken_again(house: House) -> None:
    """`session.exists` says that a name is taken, and nothing of whose it is or what is in it."""
    create: Frame = {"type": "session.create", "agent": "scripted", "session": house.ids["session"]}
    answers: list[str] = []
    for who in STRANGERS.values():
        async with Tab(house.replica.url, token=token(*who)) as tab:
            answer = await tab.ask(create)
            assert answer["code"] == "session.exists"
            answers.append(blurred(answer, house.ids))
            assert (await tab.must({"type": "session.list"}))["sessions"] == []
    assert answers[0] == answers[1]
    assert "ann" not in answers[0]
    assert "acme" not in answers[0]


@pytest.mark.parametrize("who", STRANGERS.values(), ids=STRANGERS)
async def test_T1_every_route(house: House, who: tuple[str, str]) -> None:
    made_up = house.made_up()

    def requests(ids: dict[str, str]) -> list[tuple[str, str, Frame | None]]:
        one = f"/v1/sessions/{ids['session']}"
        plain: list[tuple[str, str, Frame | None]] = [
            ("GET", one, None),
            ("GET", f"{one}?messages=1&detail=full", None),
            ("DELETE", one, None),
            ("GET", f"{one}/messages", None),
            ("GET", f"{one}/messages?before={ids['message']}", None),
            ("GET", f"{one}/events", None),
            ("GET", f"{one}/events?after=1&epoch=e", None),
        ]
        commands = [
            {k: v for k, v in frame.items() if k != "session"} | {"client": "tab_evil"}
            for frame in probes(AnySessionCommand, ids)
        ]
        return plain + [("POST", f"{one}/commands", {"id": new_id("k"), **c}) for c in commands]

    base = f"http://127.0.0.1:{house.replica.port}"
    headers = {"Authorization": f"Bearer {token(*who)}"}
    async with http_client(base, headers=headers) as http:
        for theirs, nobodys in zip(requests(house.ids), requests(made_up), strict=True):
            answers = [await http.request(m, url, json=body) for m, url, body in (theirs, nobodys)]
            assert [a.status_code for a in answers] == [404, 404], theirs
            bodies = [
                blurred(a.json(), ids) for a, ids in zip(answers, (house.ids, made_up), strict=True)
            ]
            assert bodies[0] == bodies[1], theirs
            assert answers[0].json()["code"] == "session.not_found"
        assert (await http.get("/v1/sessions")).json() == {"sessions": [], "more": False}
        page = await http.get(f"/v1/sessions?before={house.ids['session']}")
        assert page.json().get("sessions", []) == []


async def test_T2_deleted_and_guessed_ids(two: tuple[Replica, Replica]) -> None:
    """On the replica that deleted it and on the other; a guess next to a real id is nothing."""
    async with Tab(two[0].url) as owner:
        made = [await owner.create() for _ in range(3)]
        assert len({session[:10] for session in made}) == 3, "ids do not count up"
        gone, kept, _ = made
        await owner.must({"type": "session.delete", "session": gone})
    for replica in two:
        async with Tab(replica.url) as tab:
            for session in (gone, kept[:-1], f"{kept}0"):
                for frame in probes(AnyUp, {**dict.fromkeys(THINGS, "x"), "session": session}):
                    answer = await tab.ask(frame)
                    assert answer.get("code") == "session.not_found", frame


ENDED_WITHIN_S = 10.0
"""Much sooner than whoever is let in looks again by itself."""


@dataclass
class Shared:
    """Ann's session, which Bob reads on another replica, as a subscription and as a stream."""

    ann: Tab
    bob: Tab
    session: str
    here: httpx2.AsyncClient
    there: httpx2.AsyncClient

    @property
    def share(self) -> str:
        return f"/v1/sessions/{self.session}/shares/bob"

    async def seen_to_the_end(self, stop: Callable[[], Awaitable[None]]) -> tuple[Frame, float]:
        """The last record of Bob's stream, which ends after `stop`, and how long that took."""
        records: list[Frame] = []
        async with self.there.stream("GET", f"/v1/sessions/{self.session}/events") as stream:
            assert stream.status_code == 200
            stopped = 0.0
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    records.append(json.loads(line[6:]))
                    if len(records) == 1:
                        await stop()
                        stopped = time.monotonic()
        return records[-1], time.monotonic() - stopped


@pytest.fixture
async def shared(replicate: Replicate, valkey: Valkey) -> AsyncIterator[Shared]:
    jwt: dict[str, Any] = {"auth": "jwt", "auth_secret": SECRET}
    one = await replicate(valkey.url, **jwt)
    other = await replicate(valkey.url, runs=False, **jwt)
    ann, bob = token("acme", "ann"), token("acme", "bob")

    def http(replica: Replica, signed: str) -> httpx2.AsyncClient:
        base, headers = f"http://127.0.0.1:{replica.port}", {"Authorization": f"Bearer {signed}"}
        return http_client(base, headers=headers)

    async with (
        Tab(one.url, token=ann) as owner,
        Tab(other.url, token=bob) as guest,
        http(one, ann) as here,
        http(other, bob) as there,
    ):
        made = Shared(owner, guest, await owner.create(), here, there)
        answer = await here.put(made.share, json={"access": "read"})
        assert answer.json() == {"subject": "bob", "access": "read"}
        await guest.subscribe(made.session)
        yield made


async def ended_alike(shared: Shared) -> float:
    """Bob is shut out while he looks; how long it took. Nothing comes to him afterwards."""

    async def shut_out() -> None:
        assert (await shared.here.delete(shared.share)).status_code == 200

    began = time.monotonic()
    last, took = await shared.seen_to_the_end(shut_out)
    error = await shared.bob.wait_for("error", within=20)
    took = max(took, time.monotonic() - began)
    for told in (last, error):
        assert (told["type"], told["code"]) == ("error", "session.not_found")
        assert told["session"] == shared.session
    mark = shared.bob.mark()
    await shared.ann.message(shared.session, "a secret", start=False)
    rows = (await shared.bob.must({"type": "session.list"}))["sessions"]
    assert shared.session not in [row["session"] for row in rows]
    again = await shared.bob.ask({"type": "session.subscribe", "session": shared.session})
    assert again["code"] == "session.not_found"
    assert not [f for f in shared.bob.frames[mark:] if "time" in f]
    return took


async def test_T3_a_permission_taken_away(shared: Shared) -> None:
    assert await ended_alike(shared) < ENDED_WITHIN_S


async def test_T3_and_no_word_of_it_comes(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was let in by a share looks again by itself; here sooner than the real 30 s."""

    async def lost(_broker: Any, _message: bytes) -> None:
        """A word that reaches nobody."""

    assert subscriptions.LOOK_AGAIN_S + 2 < 60
    monkeypatch.setattr(subscriptions, "LOOK_AGAIN_S", 1.0)
    monkeypatch.setattr(RedisBroker, "publish_control", lost)
    assert await ended_alike(shared) < 10


async def test_T3_a_newer_token_that_is_not_for_the_session(shared: Shared) -> None:
    narrow = mint_token(SECRET, subject="bob", tenant="acme", sessions=["s_other"])
    await shared.bob.must({"type": "auth.refresh", "token": narrow})
    error = await shared.bob.wait_for("error", within=ENDED_WITHIN_S)
    assert (error["code"], error["session"]) == ("session.not_found", shared.session)


@pytest.mark.parametrize("stored", ["memory", "redis"])
async def test_T6_an_id_that_is_anothers_now(
    replicate: Replicate, own: Valkey, stored: str
) -> None:
    """Ann's session is deleted and forgotten; Bob's has its id, and a snapshot of its own."""
    jwt: dict[str, Any] = {"auth": "jwt", "auth_secret": SECRET}
    replica = await replicate(own.url if stored == "redis" else None, **jwt)
    broker = replica.gateway.broker
    async with (
        Tab(replica.url, token=token("acme", "ann")) as ann,
        Tab(replica.url, token=token("acme", "cat")) as guest,
        Tab(replica.url, token=token("acme", "bob")) as bob,
    ):
        session = await ann.create(session="s_1")
        await broker.share(session, "acme:cat", "act")
        for tab in (ann, guest):
            await tab.subscribe(session)
        await ann.message(session, "Ann's secret", start=False)
        await ann.must({"type": "session.delete", "session": session})
        for tab in (ann, guest):
            await tab.wait_for("session.deleted")
        taken = await bob.ask({"type": "session.create", "agent": "echo", "session": session})
        assert taken["code"] == "session.exists"
        if isinstance(broker, MemoryBroker):
            broker._clock = lambda: time.time() + KEPT_S + 1
        else:
            async with asking(own) as admin:
                await admin.delete(*layout.session_keys(session)[:3])
        marks = [tab.mark() for tab in (ann, guest)]
        assert await bob.create("echo", session=session) == session
        subscribed = await bob.subscribe(session, after=0, epoch="e_of_ann")
        assert subscribed["recovered"] is False
        await bob.message(session, "Bob's secret")
        await bob.wait_for("run.completed")
        assert "Ann" not in json.dumps(bob.frames)
        for tab, mark in zip((ann, guest), marks, strict=True):
            for frame in probes(AnyUp, {**dict.fromkeys(THINGS, "x"), "session": session}):
                assert (await tab.ask(frame))["code"] == "session.not_found", frame
            assert (await tab.must({"type": "session.list"}))["sessions"] == []
            seen = tab.frames[mark:]
            assert not [f for f in seen if "time" in f]
            assert "Bob" not in json.dumps(seen)


async def test_T1_nor_how_large_it_is(replicate: Replicate, own: Valkey) -> None:
    """A stranger's first question to a replica that has the session not in its memory does not make
    it read what the session holds, which would take the longer the more it is."""
    plenty: dict[str, Any] = {"auth": "jwt", "auth_secret": SECRET, "runs": False}
    one, cold = [await replicate(own.url, **plenty) for _ in range(2)]
    async with Tab(one.url, token=token("acme", "ann")) as ann:
        large = await ann.create()
        await ann.message(large, "x" * 900_000, start=False)
    async with asking(own) as admin:
        read: dict[str, int] = {}
        for who in ("eve", "ann"):
            before = (await admin.info("stats"))["total_net_output_bytes"]
            async with Tab(cold.url, token=token("acme", who)) as tab:
                answer = await tab.ask({"type": "session.messages", "session": large})
                assert answer.get("code") == {"eve": "session.not_found"}.get(who)
            read[who] = (await admin.info("stats"))["total_net_output_bytes"] - before
    assert read["ann"] > 900_000
    assert read["eve"] < 100_000


async def test_T5_no_channel_is_anothers_and_no_pattern_is_used(
    replicate: Replicate, own: Valkey
) -> None:
    """Ids hold no separator and no glob, so names cannot collide; nothing listens to patterns."""
    replica = await replicate(own.url)
    tricky = ["wake", "control", "s", "meta", "log", "a-meta", "a_log", "-", "_", "x" * 64]
    async with trial(replica.gateway.broker) as t, asking(own) as admin:
        clients: list[Client] = []
        for name in tricky:
            client = await t.client(replica.url)
            assert await client.create(session=name) == name
            clients.append(client)
        for name, client in zip(tricky, clients, strict=True):
            await client.run_end((await client.send(name, script(Story(5, 0))))["run"])
            assert {event["session"] for event in client.events} == {name}
        assert await admin.execute_command("PUBSUB NUMPAT") == 0
    keys = [layout.session_keys(name)[:3] for name in tricky]
    assert len({key for some in keys for key in some}) == 3 * len(tricky)
    assert len({layout.channel(name) for name in tricky}) == len(tricky)


async def test_T7_what_a_stranger_sees_of_the_operations_pages(house: House) -> None:
    """Whether it lives and can serve, in words that name nobody; there is nothing else to reach."""
    base = f"http://127.0.0.1:{house.replica.port}"
    async with http_client(base) as http:
        for path in ("/metrics", "/admin", "/v1/admin", "/debug", "/operations", "/docs"):
            assert (await http.get(path)).status_code == 404, path
        for path in ("/healthz", "/readyz"):
            page = await http.get(path)
            assert page.status_code == 200
            for id_ in (*house.ids.values(), house.ann.name, "acme"):
                assert id_ not in page.text, path
            assert (await http.post(path)).status_code == 405
