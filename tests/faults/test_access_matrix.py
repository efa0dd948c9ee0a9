"""Everybody who has no business with a session × every frame and every route: refused alike.

The frames come from the protocol's own union and the routes from the application's own table, so
that a new one cannot be forgotten. Of nothing that is refused a trace is left.
"""

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from joserfc import jws
from joserfc.jwk import OctKey
from starlette.routing import Route

from gateway.sessions.access import owner_key
from protocol.commands import AnySessionCommand, AnyUp
from protocol.values import Principal
from tests.faults.conftest import Replica, Replicate
from tests.faults.test_tenants import APART, APPROVE, CALL, READ, SECRET, blurred, probes
from tests.support.http import http_client
from tests.support.wire import Frame, Tab, new_id

AUDIENCE = "gateway"
ANN = owner_key(Principal("acme", "ann"))


def token(subject: str = "ann", tenant: str = "acme", **claims: Any) -> str:
    """A signed token with any claims, also such as nobody should be given."""
    now = int(time.time())
    all_: Frame = {"sub": subject, "tenant": tenant, "detail": "full", "aud": AUDIENCE}
    all_ |= {"iat": now - 60, "exp": now + 600, **claims}
    key, header = OctKey.import_key(SECRET), {"alg": "HS256", "typ": "JWT"}
    return jws.serialize_compact(header, json.dumps(all_), key, algorithms=["HS256"])


# Who is somebody, but has nothing to do with Ann's session: it is not there.
STRANGERS = {
    "another tenant": lambda: token(tenant="evil"),
    "another subject": lambda: token("bob"),
    "not for this session": lambda: token(sessions=["s_other"]),
    "not for any session": lambda: token(sessions=[]),
    "not for this agent": lambda: token(agents=["echo"]),
    "a reader, not for this session": lambda: token("rita", sessions=["s_other"]),
    "an actor, not for this agent": lambda: token("abel", agents=["echo"]),
}
# Who is nobody: refused before anything is looked at.
NOBODIES = {
    "expired": (lambda: token(exp=int(time.time()) - 3600), "auth.expired"),
    "wrong audience": (lambda: token(aud="others"), "auth.invalid"),
    "no audience": (lambda: token(aud=None), "auth.invalid"),
    "another key": (lambda: token()[:-4] + "AAAA", "auth.invalid"),
    "garbage": (lambda: "garbage", "auth.invalid"),
    "missing": (lambda: None, "auth.required"),
    "revoked": (lambda: token(jti="gone"), "auth.forbidden"),
    # a new way to be nobody is one more line here
}
READS = {"session.subscribe", "session.messages"}
"""Frames that a reader may send about a session."""


@dataclass
class House:
    """Ann's session, with something of everything in it, and what it looked like."""

    replica: Replica
    ids: dict[str, str]

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.replica.port}"

    def made_up(self) -> dict[str, str]:
        """Ids as Ann's look, of nothing."""
        return {name: f"{name}-of-nobody" for name in self.ids}

    async def looks(self) -> Any:
        """Everything that a command could have changed."""
        broker = self.replica.gateway.broker
        names: list[str] = []
        for owner in (ANN, *(owner_key(Principal(*p)) for p in (("evil", "ann"), ("acme", "bob")))):
            names += (await broker.sessions(owner, limit=500, before=None))[0]
        session = self.ids["session"]
        return names, await broker.heads(names), await broker.shares(session)

    def requests(self, ids: dict[str, str]) -> list[tuple[str, str, Frame | None]]:
        """Every method of every route about a session, and every command."""
        found: list[tuple[str, str, Frame | None]] = []
        for route, method in self.routes():
            if "{session}" not in route:
                continue
            path = route.replace("{session}", ids["session"]).replace("{subject}", "bob")
            if method == "POST":
                commands = probes(AnySessionCommand, ids)
                bodies = [{k: v for k, v in f.items() if k != "session"} for f in commands]
                found += [(method, path, {"id": new_id("k"), **body}) for body in bodies]
            else:
                found.append((method, path, {"access": "act"} if method == "PUT" else None))
        return found

    def routes(self) -> list[tuple[str, str]]:
        """(path, method) of the API, as the application has them."""
        routes = [r for r in self.replica.gateway.app.routes if isinstance(r, Route)]
        api = [r for r in routes if r.path.startswith("/v1/")]
        return [
            (r.path.replace(":path}", "}"), method)
            for r in api
            for method in sorted((r.methods or {"GET"}) - {"HEAD"})
        ]

    @asynccontextmanager
    async def http(self, signed: str | None) -> AsyncGenerator[httpx2.AsyncClient]:
        headers = {} if signed is None else {"Authorization": f"Bearer {signed}"}
        async with http_client(self.base, headers=headers) as http:
            yield http


@pytest.fixture
async def house(replicate: Replicate) -> AsyncIterator[House]:
    replica = await replicate(auth="jwt", auth_secret=SECRET, auth_audience=AUDIENCE)
    async with Tab(replica.url, token=token()) as ann:
        session = await ann.create(tools=[READ])
        await ann.subscribe(session)
        sent = await ann.script(session, CALL, APPROVE)
        call = (await ann.wait_for("tool_call.requested"))["call"]
        other = await ann.create()
        await ann.subscribe(other)
        await ann.script(other, APPROVE)
        approval = (await ann.wait_for("approval.requested"))["approval"]
        message = sent["message"]
        ids = {"session": session, "call": call, "approval": approval, "run": sent["run"]}
        ids |= {"message": message, "before": message, "after": message}
        made = House(replica, ids)
        async with made.http(token()) as http:
            for subject, access in (("rita", "read"), ("abel", "act")):
                url = f"/v1/sessions/{session}/shares/{subject}"
                assert (await http.put(url, json={"access": access})).status_code == 200
        async with made.http(token("olga", scope="admin")) as http:
            revoked = await http.post("/v1/revocations", json={"token": "gone"})
            assert revoked.status_code == 200
        before = await made.looks()
        yield made
        assert await made.looks() == before, "somebody has left a trace"
        for each in (session, other):
            await ann.must({"type": "run.interrupt", "session": each})


def test_every_route_and_frame_is_asked(house: House) -> None:
    asked = {(method, path) for method, path, _ in house.requests(dict.fromkeys(house.ids, "x"))}
    about = [route for route in house.routes() if "{session}" in route[0]]
    assert len(asked) == len(about) == 8
    assert {("/v1/sessions", "GET"), ("/v1/sessions", "POST")} <= set(house.routes())


def alike(answers: list[httpx2.Response], house: House) -> list[str]:
    """What was said of Ann's things, and of nobody's, without their ids."""
    asked = (house.ids, house.made_up())
    return [blurred(answer.json(), ids) for answer, ids in zip(answers, asked, strict=True)]


@pytest.mark.parametrize("who", STRANGERS.values(), ids=STRANGERS)
async def test_strangers_by_frames(house: House, who: Any) -> None:
    made_up = house.made_up()
    async with Tab(house.replica.url, token=who()) as tab:
        pairs = zip(probes(AnyUp, house.ids), probes(AnyUp, made_up), strict=True)
        for theirs, nobodys in pairs:
            answer, none = await tab.ask(theirs), await tab.ask(nobodys)
            assert answer["code"] == "session.not_found", theirs
            assert blurred(answer, house.ids) == blurred(none, made_up), theirs
        assert (await tab.must({"type": "session.list"}))["sessions"] == []
        assert not tab.events(house.ids["session"])


@pytest.mark.parametrize("who", STRANGERS.values(), ids=STRANGERS)
async def test_strangers_by_routes(house: House, who: Any) -> None:
    made_up = house.made_up()
    async with house.http(who()) as http:
        pairs = zip(house.requests(house.ids), house.requests(made_up), strict=True)
        for theirs, nobodys in pairs:
            answers = [await http.request(m, url, json=body) for m, url, body in (theirs, nobodys)]
            assert [a.status_code for a in answers] == [404, 404], theirs
            texts = [
                blurred(a.json(), i) for a, i in zip(answers, (house.ids, made_up), strict=True)
            ]
            assert texts[0] == texts[1], theirs
            assert answers[0].json()["code"] == "session.not_found"
            assert answers[0].headers.keys() == answers[1].headers.keys()
        assert (await http.get("/v1/sessions")).json() == {"sessions": [], "more": False}


@pytest.mark.parametrize(("who", "code"), NOBODIES.values(), ids=NOBODIES)
async def test_nobodies_by_frames(house: House, who: Any, code: str) -> None:
    """Behind a refused hello nothing is heard."""
    frames = [{"id": new_id("k"), **frame} for frame in probes(AnyUp, house.ids)]
    frames += [{"id": new_id("k"), "type": "session.list"}]
    frames += [{"id": new_id("k"), "type": "session.create", "agent": "scripted"}]
    for frame in frames:
        async with Tab(house.replica.url, hello=False) as tab:
            hello = {"type": "hello", "sessions": [{"session": house.ids["session"]}]}
            signed = who()
            await tab.send(hello if signed is None else {**hello, "token": signed}, frame)
            assert await tab.wait_closed() == (4403 if code == "auth.forbidden" else 4401)
            assert [f["code"] for f in tab.frames] == [code], frame
            assert "id" not in tab.frames[0]


@pytest.mark.parametrize(("who", "code"), NOBODIES.values(), ids=NOBODIES)
async def test_nobodies_by_routes(house: House, who: Any, code: str) -> None:
    made_up = house.made_up()
    plain: list[tuple[str, str, Frame | None]] = [
        (method, path, {"agent": "scripted"} if method == "POST" else None)
        for path, method in house.routes()
        if "{" not in path
    ]
    async with house.http(who()) as http:
        theirs = [*house.requests(house.ids), *plain]
        nobodys = [*house.requests(made_up), *plain]
        for pair in zip(theirs, nobodys, strict=True):
            answers = [await http.request(m, url, json=body) for m, url, body in pair]
            status = 403 if code == "auth.forbidden" else 401
            assert [a.status_code for a in answers] == [status] * 2, pair
            assert answers[0].json()["code"] == code
            texts = [
                blurred(a.json(), i) for a, i in zip(answers, (house.ids, made_up), strict=True)
            ]
            assert texts[0] == texts[1], pair


async def test_a_reader_reads_and_does_nothing_else(house: House) -> None:
    session = house.ids["session"]
    async with Tab(house.replica.url, token=token("rita")) as tab:
        for frame in probes(AnyUp, house.ids):
            answer = await tab.ask(frame)
            if frame["type"] in READS:
                assert answer["type"] != "error", frame
            else:
                assert answer["code"] == "auth.forbidden", frame
                assert answer["session"] == session
        rows = (await tab.must({"type": "session.list"}))["sessions"]
        assert [row["session"] for row in rows] == [session]
        assert set(APART) >= {"ack", "session.unsubscribe"}  # no question about the session
    async with house.http(token("rita")) as http:
        for method, url, body in house.requests(house.ids):
            async with http.stream(method, url, json=body) as answer:
                may = method == "GET" and not url.endswith("/shares")
                may = may or (body or {}).get("type") in READS
                assert answer.status_code == (200 if may else 403), (method, url, body)


async def test_a_reader_sees_no_more_than_its_own_token_allows(house: House) -> None:
    session = house.ids["session"]
    async with Tab(house.replica.url, token=token("rita", detail="answer")) as tab:
        subscribed = await tab.subscribe(session, detail="full")
        assert subscribed["detail"] == "answer"
        assert not subscribed["state"]["calls"]


async def test_an_actor_does_all_but_delete_and_share(house: House) -> None:
    """Refused for what is wrong with them, not for who asks."""
    async with Tab(house.replica.url, token=token("abel")) as tab:
        ids = {**house.made_up(), "session": house.ids["session"]}
        for frame in probes(AnyUp, ids):
            if frame["type"] in ("message.send", "run.start", "run.interrupt", "session.update"):
                continue  # they would be done
            answer = await tab.ask(frame)
            denied = answer.get("code") in ("auth.forbidden", "session.not_found")
            assert denied == (frame["type"] == "session.delete"), frame
    async with house.http(token("abel")) as http:
        for method, url, _ in house.requests(house.ids):
            if "/shares" in url or method == "DELETE":
                body = {"access": "read"} if method == "PUT" else None
                answer = await http.request(method, url, json=body)
                assert answer.json()["code"] == "auth.forbidden"


@pytest.mark.parametrize("claims", [{"agents": ["echo"]}, {"sessions": ["s_mine"]}])
async def test_what_a_token_is_not_for_cannot_be_made(house: House, claims: Any) -> None:
    made = {"type": "session.create", "agent": "scripted", "session": "s_new"}
    async with Tab(house.replica.url, token=token(**claims)) as tab:
        for session in ("s_new", house.ids["session"]):
            answer = await tab.ask({**made, "session": session})
            assert answer["code"] == "auth.forbidden"
    async with house.http(token(**claims)) as http:
        answer = await http.post("/v1/sessions", json={"agent": "scripted", "session": "s_new"})
        assert (answer.status_code, answer.json()["code"]) == (403, "auth.forbidden")


async def test_a_list_of_agents_shows_what_the_token_may_use(house: House) -> None:
    for shown, names in ((token(), ["echo", "scripted"]), (token(agents=["echo"]), ["echo"])):
        async with house.http(shown) as http:
            rows = (await http.get("/v1/agents")).json()["agents"]
            assert [row["name"] for row in rows] == names
