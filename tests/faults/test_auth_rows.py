"""Faults, Auth: signed tokens with a shared secret, over real handshakes and a clock that is set.

What a token may hold is in tests/auth/test_token.py; single frames are in tests/delivery.
"""

import asyncio
import base64
import hmac
import json
import math
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from gateway.auth import jwks
from gateway.auth.token import mint_token
from gateway.delivery import revocations, roster, tickets
from tests.broker.redis.opening import asking, opened
from tests.conftest import StartGateway
from tests.faults.conftest import Replica, Replicate
from tests.faults.faketime import FakeClock
from tests.faults.producer import Story, script
from tests.faults.proxy import FaultProxy
from tests.faults.trial import trial
from tests.support.http import http_client
from tests.support.issuer import Issuer, key_set, rsa_key, signed
from tests.support.processes import GatewayProcess, Valkey, free_port
from tests.support.waiting import eventually
from tests.support.wire import Frame, Tab, new_id

SECRET = "0123456789abcdef" * 3
PAGE = "https://app.example.com"
Proxied = Callable[[int], Awaitable[FaultProxy]]


def token(subject: str = "ann", tenant: str = "acme", ttl_s: float = 3_600) -> str:
    return mint_token(SECRET, subject=subject, tenant=tenant, detail="full", ttl_s=ttl_s)


@pytest.fixture
async def guarded(replicate: Replicate) -> Replica:
    return await replicate(auth="jwt", auth_secret=SECRET, allowed_origins=(PAGE,))


# --- A1


def crafted(
    claims: Any, header: Any = None, digest: str = "sha256", secret: bytes = SECRET.encode()
) -> str:
    """A token by hand: what no library would write can be written."""
    parts = [json.dumps(header or {"alg": "HS256"}), json.dumps(claims)]
    coded = [base64.urlsafe_b64encode(p.encode()).rstrip(b"=").decode() for p in parts]
    signature = hmac.new(secret, ".".join(coded).encode(), digest).digest()
    return ".".join([*coded, base64.urlsafe_b64encode(signature).rstrip(b"=").decode()])


GOOD: Frame = {
    "sub": "ann",
    "tenant": "acme",
    "aud": "agent-gateway",
    "iat": int(time.time()) - 60,
    "exp": 4_000_000_000,
}
BAD_TOKENS = {
    "garbage": "x",
    "dots": "...",
    "control": "a\r\nb.c.d",
    "long": "a." * 8_000,
    "unsigned": crafted(GOOD, {"alg": "none"}).rpartition(".")[0] + ".",
    "none": crafted(GOOD, {"alg": "none"}),
    "HS512": crafted(GOOD, {"alg": "HS512"}, "sha512"),
    "RS256": crafted(GOOD, {"alg": "RS256"}),
    "exp-text": crafted({**GOOD, "exp": "9999999999"}),
    "exp-nan": crafted({**GOOD, "exp": math.nan}),
    "exp-inf": crafted({**GOOD, "exp": math.inf}),
    "surrogate": crafted({**GOOD, "sub": "\ud800"}),
    "not-yet": crafted({**GOOD, "nbf": 3_900_000_000}),
    "no-aud": crafted({k: v for k, v in GOOD.items() if k != "aud"}),
    "wrong-aud": crafted({**GOOD, "aud": ["somebody else"]}),
    "other-secret": mint_token("another secret of 32 bytes or more", subject="ann"),
}


async def test_A1_a_bad_token_gets_one_answer(guarded: Replica) -> None:
    """The same for every kind of bad, by WebSocket and by HTTP: nothing to learn from it."""
    base = f"http://127.0.0.1:{guarded.port}"
    answers: dict[str, Frame] = {}
    async with http_client(base) as http:
        for kind, bad in BAD_TOKENS.items():
            async with Tab(guarded.url, hello=False) as tab:
                await tab.send({"type": "hello", "token": bad})
                answers[kind] = await tab.wait_for("error")
                assert await tab.wait_closed() == 4401, kind
                assert len(tab.frames) == 1, kind
            if kind not in ("control", "long"):  # no header could carry these
                answer = await http.get("/v1/sessions", headers={"Authorization": f"Bearer {bad}"})
                assert (answer.status_code, answer.json()) == (401, answers[kind])
    one = answers["garbage"]
    assert one.keys() == {"type", "code", "message", "retryable"}
    assert (one["code"], one["retryable"]) == ("auth.invalid", False)
    assert all(answer == one for answer in answers.values()), answers


async def test_A1_a_token_of_two_megabytes(guarded: Replica) -> None:
    async with Tab(guarded.url, hello=False) as tab:
        await tab.send({"type": "hello", "token": "x" * 20_000})
        assert (await tab.wait_for("error"))["details"] == {"path": "$.token"}
        await tab.send({"type": "hello", "token": "x" * 2_000_000})
        assert await tab.wait_closed() == 1009


async def test_A1_expired_is_told_apart_and_nothing_else(guarded: Replica) -> None:
    async with Tab(guarded.url, hello=False) as tab:
        await tab.send({"type": "hello", "token": crafted({**GOOD, "exp": 1_700_000_000})})
        assert (await tab.wait_for("error"))["code"] == "auth.expired"
        assert await tab.wait_closed() == 4401
    async with Tab(guarded.url, hello=False) as tab:
        await tab.send({"type": "hello"})
        assert (await tab.wait_for("error"))["code"] == "auth.required"
        assert await tab.wait_closed() == 4401


# --- A2, A10: a gateway whose clock the test sets


@pytest.fixture
def clock(tmp_path: Path) -> FakeClock:
    return FakeClock(tmp_path / "clock")


@pytest.fixture
async def timed(gateway: StartGateway, valkey: Valkey, clock: FakeClock) -> GatewayProcess:
    return await gateway(
        "--broker", valkey.url, "--agents", "scripted", "--auth", "jwt",
        environment={**clock.environment, "AGENT_GATEWAY_AUTH_SECRET": SECRET},
    )  # fmt: skip


async def test_A2_a_token_ends_amid_a_run(
    timed: GatewayProcess, valkey: Valkey, clock: FakeClock
) -> None:
    """Announced a minute before; refreshed nobody notices; else 4401, and the run goes on."""
    story = Story(200, 20)
    async with opened(valkey.url) as reader, trial(reader) as t:
        watcher = await t.client(timed.url, token=token(ttl_s=3_600), principal="acme:ann")
        session = await watcher.create()
        wanted: list[Frame] = [{"session": session, "detail": "full"}]
        async with (
            Tab(timed.url, token=token(ttl_s=100), sessions=wanted) as careful,
            Tab(timed.url, token=token(ttl_s=100), sessions=wanted) as careless,
        ):
            run = (await watcher.send(session, script(story)))["run"]
            for tab in (careful, careless):
                await tab.wait_for("message.delta")
                assert not tab.find("auth.expiring")
            clock.jump(50)  # 50 s are left
            for tab in (careful, careless):
                expiring = await tab.wait_for("auth.expiring")
                assert 30_000 < expiring["in_ms"] <= 60_000
            await careful.must({"type": "auth.refresh", "token": token(ttl_s=3_600)})
            clock.jump(100 + 27)  # 25 s of grace are over
            await careless.wait_for("error", code="auth.expired")
            assert await careless.wait_closed() == 4401
            await careful.run_end(session, run)
            careful.assert_dense(session)
            assert careful.text(session) == story.text
            assert len(careful.find("auth.expiring")) == 1
        assert (await watcher.run_end(run))["type"] == "run.completed"
        story.assert_told(watcher.text(session))


async def test_A10_clocks_that_differ(timed: GatewayProcess, clock: FakeClock) -> None:
    for offset_s, code in ((-25, ""), (25, ""), (-600, "auth.invalid"), (600, "auth.expired")):
        clock.jump(offset_s)
        async with Tab(timed.url, hello=False) as tab:
            await tab.send({"type": "hello", "token": token(ttl_s=10)})
            first = await tab.wait_for(("welcome", "error"))
            assert first.get("code", "") == code, offset_s


# --- A3


@pytest.mark.parametrize("other", [("bob", "acme"), ("ann", "evil")], ids=["subject", "tenant"])
async def test_A3_a_refresh_to_somebody_else(guarded: Replica, other: tuple[str, str]) -> None:
    """Closed for good, whatever it was subscribed to; a bad token alone changes nothing."""
    async with Tab(guarded.url, token=token()) as tab:
        session = await tab.create()
        await tab.subscribe(session, detail="full")
        refused = await tab.ask({"type": "auth.refresh", "token": "garbage"})
        assert refused["code"] == "auth.invalid"
        run = (await tab.script(session, {"say": "still here"}))["run"]
        await tab.run_end(session, run)
        await tab.send({"type": "auth.refresh", "id": "k_other", "token": token(*other)})
        assert (await tab.wait_for("error", id="k_other"))["code"] == "auth.forbidden"
        assert await tab.wait_closed() == 4403


# --- A4: revocation

TOLD_WITHIN_S = 10
GUARDED = {"auth": "jwt", "auth_secret": SECRET, "allowed_origins": (PAGE,)}


def bearer(**claims: Any) -> dict[str, str]:
    said: dict[str, Any] = {"subject": "ann", "tenant": "acme", "detail": "full", **claims}
    return {"Authorization": f"Bearer {mint_token(SECRET, **said)}"}


async def ask(replica: Replica, path: str, headers: dict[str, str], body: Any = None) -> Frame:
    """A POST that is answered 200; `began` is when it was sent."""
    async with http_client() as http:
        url = f"http://127.0.0.1:{replica.port}/v1/{path}"

        async def answered() -> Frame:
            began = time.monotonic()
            answer = await http.post(url, json=body, headers=headers)
            if answer.status_code == 503:  # Redis stood still
                return {}
            assert answer.status_code == 200, answer.text
            return {**answer.json(), "began": began}

        return await eventually(answered, what=f"{path} is answered")


async def test_A4_revoked_on_another_replica(replicate: Replicate, own: Valkey) -> None:
    """Whoever it is about is closed at once, everywhere, not only when the board is read.

    Nobody else is; a new token is good.
    """
    assert revocations.POLL_S >= 3 * TOLD_WITHIN_S
    here = await replicate(own.url, **GUARDED)
    there = await replicate(own.url, runs=False, **GUARDED)
    admin = bearer(subject="root", scope="admin")
    hers = {jti: bearer(jti=jti)["Authorization"].partition(" ")[2] for jti in ("t1", "t2")}
    async with (
        Tab(there.url, token=hers["t1"]) as first,
        Tab(there.url, token=hers["t2"]) as second,
        Tab(there.url, token=token("bob")) as bob,
        Tab(here.url, token=token("ann", "other")) as namesake,
    ):
        for body, revoked, left in (
            ({"token": "t1"}, first, second),
            ({"subject": "ann"}, second, bob),
            ({"tenant": "acme"}, bob, namesake),
        ):
            asked = (await ask(here, "revocations", admin, body))["began"]
            assert await revoked.wait_closed() == 4403, body
            assert time.monotonic() - asked < TOLD_WITHIN_S, body
            await left.send({"type": "ping"})
            await left.wait_for("pong")
    for replica in (here, there, await replicate(own.url, runs=False, **GUARDED)):
        async with Tab(replica.url, token=hers["t2"]) as again:
            assert (await again.wait_for("error"))["code"] == "auth.forbidden"
            assert await again.wait_closed() == 4403
    tomorrow = mint_token(SECRET, subject="ann", tenant="acme", clock=lambda: time.time() + 5)
    async with Tab(there.url, token=tomorrow) as new:
        await new.wait_for("welcome")


async def test_A4_revoked_while_pubsub_is_down(
    replicate: Replicate, own: Valkey, proxied: Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No word gets through: the board is read, here every second instead of every 30."""
    assert revocations.POLL_S + roster.TICK_S < 60
    monkeypatch.setattr(revocations, "POLL_S", 1.0)
    proxy = await proxied(own.port)
    proxy.only(lambda data: b"SSUBSCRIBE" in data)
    here = await replicate(own.url, **GUARDED)
    deaf = await replicate(proxy.redis_url, runs=False, **GUARDED)
    async with Tab(deaf.url, token=token()) as tab:
        proxy.swallow("down")
        await eventually(lambda: deaf.gateway.unready() is not None, what="not ready")
        await ask(here, "revocations", bearer(subject="root", scope="admin"), {"subject": "ann"})
        assert await tab.wait_closed() == 4403
        assert deaf.gateway.unready() is not None
        proxy.heal()


async def test_A4_revoked_by_the_command(gateway: StartGateway, own: Valkey) -> None:
    served = await gateway(
        "--broker", own.url, "--auth", "jwt", "--agents", "scripted",
        environment={"AGENT_GATEWAY_AUTH_SECRET": SECRET},
    )  # fmt: skip
    async with Tab(served.url, token=token()) as tab, Tab(served.url, token=token("bob")) as bob:
        command = ["revoke", "--broker", own.url, "--tenant", "acme", "--sub", "ann"]
        done = await asyncio.create_subprocess_exec(sys.executable, "-m", "gateway.cli", *command)
        assert await done.wait() == 0
        assert await tab.wait_closed() == 4403
        await bob.send({"type": "ping"})
        await bob.wait_for("pong")


# --- A5: tickets


async def shown(replica: Replica, ticket: str) -> int:
    """The status of a handshake with a ticket; 101 if it opens."""
    offered = [Subprotocol("agent-gateway.v1"), Subprotocol(f"agent-gateway.ticket.{ticket}")]
    try:
        async with connect(replica.url, proxy=None, subprotocols=offered, origin=Origin(PAGE)):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


async def test_A5_two_replicas_race_for_one_ticket(replicate: Replicate, own: Valkey) -> None:
    """One of all that show it at once gets in, and nobody later."""
    replicas = [await replicate(own.url, runs=n == 0, **GUARDED) for n in range(2)]
    page = {**bearer(), "Origin": PAGE}
    for _ in range(10):
        ticket = (await ask(replicas[0], "tickets", page))["ticket"]
        async with asyncio.TaskGroup() as group:
            shows = [group.create_task(shown(replicas[n % 2], ticket)) for n in range(6)]
        assert sorted(show.result() for show in shows) == [101, *[401] * 5]
        assert await shown(replicas[1], ticket) == 401


async def test_A5_an_expired_ticket(
    replicate: Replicate, own: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tickets, "TTL_S", 0.05)
    replica = await replicate(own.url, **GUARDED)
    ticket = (await ask(replica, "tickets", {**bearer(), "Origin": PAGE}))["ticket"]
    async with asking(own) as admin:

        async def gone() -> bool:
            return not await admin.keys("agw:kept:*")

        await eventually(gone, what="Redis has forgotten it")
    assert await shown(replica, ticket) == 401


# --- A6, A7: browsers

ORIGINS = {
    "evil": "https://evil.example",
    "null": "null",
    "suffix": "https://app.example.com.evil.com",
    "prefix": "https://evil-app.example.com",
    "port": "https://app.example.com:8443",
    "scheme": "http://app.example.com",
    "user": "https://app.example.com@evil.example",
    "case-path": "https://app.example.com/",
    "empty": "",
}


@pytest.mark.parametrize("origin", ORIGINS.values(), ids=ORIGINS)
async def test_A6_a_page_of_another_origin_is_refused(guarded: Replica, origin: str) -> None:
    """Before the WebSocket is accepted, and with a good token too."""
    with pytest.raises(InvalidStatus) as refused:
        await connect(guarded.url, proxy=None, additional_headers={"Origin": origin})
    assert refused.value.response.status_code == 403
    headers = {"Origin": origin, "Authorization": f"Bearer {token()}"}
    async with http_client() as http:
        answer = await http.get(f"http://127.0.0.1:{guarded.port}/v1/sessions", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "auth.forbidden")


async def test_A6_the_page_and_programs_without_origin_need_a_token(guarded: Replica) -> None:
    for headers in ({"Origin": PAGE}, {}):
        async with Tab(guarded.url, token=token(), additional_headers=headers) as tab:
            await tab.create()
        async with Tab(guarded.url, hello=False, additional_headers=headers) as tab:
            await tab.send({"type": "hello"})
            assert (await tab.wait_for("error"))["code"] == "auth.required"


@pytest.mark.parametrize("name", ["token", "session", "Authorization", "agw", "access_token"])
async def test_A7_a_cookie_is_nobody(guarded: Replica, name: str) -> None:
    """Nor is a token in the address, or in a header that browsers send by themselves."""
    good = token()
    headers = {"Cookie": f"{name}={good}", "Origin": PAGE}
    url = f"{guarded.url}?{name}={good}"  # no ticket either
    async with Tab(url, hello=False, additional_headers=headers) as tab:
        await tab.send({"type": "hello"})
        assert (await tab.wait_for("error"))["code"] == "auth.required"
        assert await tab.wait_closed() == 4401
    async with http_client(headers=headers) as http:
        base = f"http://127.0.0.1:{guarded.port}/v1/sessions?{name}={good}"
        assert (await http.get(base)).status_code == 401
        assert (await http.post(base, json={"agent": "scripted"})).status_code == 401


# --- A8: keys of an issuer


async def test_A8_keys_rotate(replicate: Replicate) -> None:
    """Both while both are shown, the removed one no longer; who is connected stays."""
    old, new = rsa_key("old"), rsa_key("new")
    async with Issuer(key_set(old)) as issuer:
        replica = await replicate(auth="jwt", auth_jwks_url=issuer.url)
        await eventually(lambda: replica.gateway.unready() is None, what="ready")
        keys = cast("Any", replica.gateway)._own_auth._verifier
        async with Tab(replica.url, token=signed(old, "RS256")) as tab:
            assert (await tab.wait_for("welcome"))["principal"]["subject"] == "ann"
            issuer.body = key_set(old, new)
            keys._began_at -= jwks.AGAIN_S
            await tab.must({"type": "auth.refresh", "token": signed(new, "RS256")})
            await tab.must({"type": "auth.refresh", "token": signed(old, "RS256")})
            issuer.body = key_set(new)
            keys._began_at -= jwks.AGAIN_S
            refused = await tab.ask(
                {"type": "auth.refresh", "token": signed(rsa_key("x"), "RS256")}
            )
            assert refused["code"] == "auth.invalid"
            refused = await tab.ask({"type": "auth.refresh", "token": signed(old, "RS256")})
            assert refused["code"] == "auth.invalid"
            await tab.must({"type": "auth.refresh", "token": signed(new, "RS256")})
        assert issuer.fetches == 3


async def test_A8_a_flood_of_unknown_keys(replicate: Replicate) -> None:
    """One fetch a minute, whoever asks and over whatever way; good tokens get in meanwhile."""
    known, unknown = rsa_key("known"), rsa_key("unknown")
    async with Issuer(key_set(known)) as issuer:
        replica = await replicate(auth="jwt", auth_jwks_url=issuer.url)
        await eventually(lambda: replica.gateway.unready() is None, what="ready")
        keys = cast("Any", replica.gateway)._own_auth._verifier
        keys._began_at -= jwks.AGAIN_S
        base = f"http://127.0.0.1:{replica.port}/v1/sessions"

        bad = [signed(unknown, "RS256", kid=f"k{n}") for n in range(100)]

        async def stranger(token: str) -> int:
            answer = await http.get(base, headers={"Authorization": f"Bearer {token}"})
            return answer.status_code

        client = http_client()
        async with client as http, asyncio.TaskGroup() as group:
            asked = [group.create_task(stranger(token)) for token in bad]
            async with Tab(replica.url, token=signed(known, "RS256")) as tab:
                await tab.wait_for("welcome")
        assert {task.result() for task in asked} == {401}
        assert (issuer.fetches, issuer.most_open) == (2, 1)


async def test_A8_an_issuer_that_comes_later(replicate: Replicate) -> None:
    """The gateway runs without it, says why it is not ready, and refuses nobody for good."""
    key = rsa_key("k")
    port = free_port()
    replica = await replicate(auth="jwt", auth_jwks_url=f"http://127.0.0.1:{port}/jwks.json")
    async with http_client() as http:
        answer = await http.get(f"http://127.0.0.1:{replica.port}/readyz")
        assert (answer.status_code, "keys" in answer.json()["reason"]) == (503, True)
    async with Tab(replica.url, hello=False) as tab:
        await tab.send({"type": "hello", "token": signed(key, "RS256")})
        refused = await tab.wait_for("error")
        assert (refused["code"], refused["retryable"]) == ("auth.unavailable", True)
        assert await tab.wait_closed() == 1013
    async with Issuer(key_set(key), port):
        await eventually(lambda: replica.gateway.unready() is None, within=20, what="ready")
        async with Tab(replica.url, token=signed(key, "RS256")) as tab:
            await tab.wait_for("welcome")


async def test_A1_no_key_of_the_issuer_is_a_secret(replicate: Replicate) -> None:
    """RS256 as HS256: what everybody can fetch signs nothing."""
    key = rsa_key("k")
    async with Issuer(key_set(key)) as issuer:
        replica = await replicate(auth="jwt", auth_jwks_url=issuer.url)
        await eventually(lambda: replica.gateway.unready() is None, what="ready")
        for public in (key.as_pem(private=False), key_set(key)):
            for algorithm in ("HS256", "RS256", "none"):
                bad = crafted(GOOD, {"alg": algorithm, "kid": "k"}, secret=public)
                async with Tab(replica.url, token=bad) as tab:
                    assert tab.find("error")[0]["code"] == "auth.invalid"
                    assert await tab.wait_closed() == 4401


# --- A9


async def handshake(url: str, **options: Any) -> str:
    """What a handshake is answered: the headers, and the body of a refusal."""
    try:
        async with connect(url, proxy=None, **options) as opened:
            assert opened.response is not None
            return str(opened.response.headers)
    except InvalidStatus as refused:
        return f"{refused.response.headers}{refused.response.body!r}"


async def test_A9_a_token_is_nowhere_to_be_read(gateway: StartGateway, tmp_path: Path) -> None:
    """At the most talkative log level, in every place a token may be put by mistake."""
    port = free_port()
    served = await gateway(
        *("--auth", "jwt", "--agents", "scripted", "--log-level", "debug"), f"--admin-port={port}",
        environment={"AGENT_GATEWAY_AUTH_SECRET": SECRET},
    )  # fmt: skip
    good, bad = token("canary"), crafted({**GOOD, "exp": 1_700_000_000})
    told: list[str] = []
    async with http_client(served.http_url) as http:
        for canary in (good, bad):
            asked = [
                http.get(f"/v1/sessions?token={canary}"),
                http.get(f"/v1/sessions/{canary}"),
                http.get(f"/{canary}"),
                http.get("/v1/sessions", headers={"Authorization": f"Bearer {canary}"}),
                http.get("/v1/sessions", headers={"X-Token": canary, "Cookie": f"t={canary}"}),
                http.post("/v1/sessions", json={"token": canary}),
            ]
            told += [(await each).text for each in asked]
            async with Tab(f"{served.url}?access_token={canary}", hello=False) as tab:
                await tab.send({"type": "hello", "client": canary, "app": {"name": canary[:99]}})
                await tab.ask({"type": "auth.refresh", "token": canary, "id": new_id("k")})
                await tab.send({"type": "hello", "token": canary, "app": {"name": "ok"}})
                await tab.wait_for(
                    lambda f: f["type"] == "welcome" or f.get("code", "")[:4] == "auth"
                )
                told += [json.dumps(frame) for frame in tab.frames]
        headers = {"Authorization": f"Bearer {good}"}
        async with Tab(served.url, additional_headers=headers) as tab:
            told += [json.dumps(frame) for frame in tab.frames]
        bought = [(await http.post("/v1/tickets", headers=headers)).json()["ticket"] for _ in "12"]
        for used in (bought[0], bought[0], "x" * 43):
            told.append(await handshake(f"{served.url}?ticket={used}"))
        names = ("agent-gateway.v1", f"agent-gateway.ticket.{bought[1]}")
        offered = [Subprotocol(name) for name in names]
        for _ in "12":
            told.append(await handshake(served.url, subprotocols=offered))
        told.append((await http.get(f"http://127.0.0.1:{port}/metrics")).text)
    await served.terminate()
    told.append(served.output())
    assert not [text for text in told for ticket in bought if ticket[:20] in text]
    for canary in (good, bad):
        for part in canary.split(".")[1:]:  # the head is the same for all
            assert not [text for text in told if part[:24] in text]
    assert SECRET not in "".join(told)


# --- B8


async def test_B8_a_path_is_not_echoed(guarded: Replica) -> None:
    """Only an id is: a refusal repeats nothing else of the address."""
    base = f"http://127.0.0.1:{guarded.port}/v1/sessions"
    async with http_client() as http:
        for path in ("%3Cscript%3E", "x" * 300, "a%0d%0ab", "%F0%9F%92%A5"):
            for headers in ({}, {"Authorization": f"Bearer {token()}"}):
                for rest in ("", "/messages", "/events"):
                    answer = await http.get(f"{base}/{path}{rest}", headers=headers)
                    assert answer.status_code == (404 if headers else 401)
                    assert "session" not in answer.json()
        known = await http.get(f"{base}/s_1")
        assert known.json()["session"] == "s_1"
