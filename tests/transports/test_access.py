"""Tickets and revocations over HTTP, and what a handshake brings, under both kinds of server."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from gateway.auth.signature import SharedSecret
from gateway.auth.token import JwtAuth, Terms, mint_token
from gateway.broker.memory import MemoryBroker
from gateway.delivery.revocations import Revocations, Unrevoked
from gateway.delivery.roster import Roster
from gateway.delivery.tickets import TTL_S
from gateway.settings import Settings
from gateway.transports.access import TICKET_PROTOCOL
from protocol.errors import ProtocolError
from tests.support.http import http_client
from tests.support.inprocess import InProcess, ManualClock, in_process, raw_socket, serving
from tests.support.waiting import eventually
from tests.support.wire import Tab

SECRET = "a secret of more than thirty-two bytes"
PAGE = "https://app.example"
V1 = Subprotocol("agent-gateway.v1")


def bearer(subject: str = "ann", tenant: str = "acme", **claims: Any) -> dict[str, str]:
    token = mint_token(SECRET, subject=subject, tenant=tenant, detail="answer", **claims)
    return {"Authorization": f"Bearer {token}"}


ADMIN = bearer("root", scope="admin")
ADMIN_LINE = f"Authorization: {ADMIN['Authorization']}\r\n"


@pytest.fixture
async def inside() -> AsyncIterator[InProcess]:
    async with in_process(auth=JwtAuth(SharedSecret(SECRET))) as inside:
        yield inside


@pytest.fixture(params=["direct", "awaiting"])
async def port(request: pytest.FixtureRequest, inside: InProcess) -> AsyncIterator[int]:
    async with serving(inside, hardened=request.param == "direct") as port:
        yield port


@asynccontextmanager
async def client(port: int) -> AsyncGenerator[httpx2.AsyncClient]:
    url = f"http://127.0.0.1:{port}/v1"
    async with http_client(url) as http:
        yield http


async def ticket(port: int, origin: str | None = PAGE, **claims: Any) -> str:
    headers = {**bearer(**claims), **({"Origin": origin} if origin else {})}
    async with client(port) as http:
        answer = await http.post("/tickets", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json().keys() == {"ticket", "expires_in_ms"}
    assert answer.json()["expires_in_ms"] == TTL_S * 1000
    return answer.json()["ticket"]


def shown(port: int, ticket: str, *, query: bool = False, **options: Any) -> Tab:
    """A tab that has a ticket and no token."""
    url = f"ws://127.0.0.1:{port}/v1/ws"
    if query:
        return Tab(f"{url}?ticket={ticket}", **options)
    offered = [V1, Subprotocol(TICKET_PROTOCOL + ticket)]
    wanted: dict[str, Any] = {"subprotocols": offered, **options}
    return Tab(url, **wanted)


async def refused(tab: Tab) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as caught:
        await tab.open()
    response = caught.value.response
    assert response.body is not None
    return response.status_code, response.body.decode().partition('"code":"')[2].partition('"')[0]


@pytest.mark.parametrize("query", [False, True], ids=["subprotocol", "query"])
async def test_a_ticket_opens_one_connection(port: int, inside: InProcess, query: bool) -> None:
    bought = await ticket(port, sessions=["s_1"])
    async with shown(port, bought, query=query, origin=PAGE) as tab:
        welcome = await tab.wait_for("welcome")
        assert welcome["principal"] == {"tenant": "acme", "subject": "ann"}
        assert tab._socket is not None
        assert tab._socket.subprotocol == V1
        (member,) = inside.delivery.roster._members
        assert member.grant is not None
        assert (member.grant.detail, member.grant.sessions) == ("answer", {"s_1"})
    again = shown(port, bought, query=query, origin=PAGE)
    assert await refused(again) == (401, "auth.invalid")


@pytest.mark.parametrize("origin", ["https://evil.example", None, "null"])
async def test_a_ticket_is_for_its_origin(port: int, origin: str | None) -> None:
    tab = shown(port, await ticket(port), origin=origin)
    assert await refused(tab) == (401, "auth.invalid")


async def test_what_is_no_ticket(port: int) -> None:
    for bad in ("x", "x" * 43, "%0d%0a"):
        assert await refused(shown(port, bad, query=True, origin=PAGE)) == (401, "auth.invalid")
    assert await refused(shown(port, "x" * 43, origin=PAGE)) == (401, "auth.invalid")


async def test_a_ticket_alone_is_no_version(port: int) -> None:
    offered = [Subprotocol(TICKET_PROTOCOL + await ticket(port))]
    async with shown(port, "", origin=PAGE, subprotocols=offered) as tab:
        assert tab._socket is not None
        assert tab._socket.subprotocol is None


async def test_a_ticket_takes_a_token(port: int) -> None:
    async with client(port) as http:
        for headers in ({}, {"Authorization": "Bearer x"}, {"Cookie": "token=x"}):
            assert (await http.post("/tickets", headers=headers)).status_code == 401


async def test_the_header_of_a_server_is_its_token(port: int) -> None:
    url = f"ws://127.0.0.1:{port}/v1/ws"
    async with Tab(url, additional_headers=bearer()) as tab:
        welcome = await tab.wait_for("welcome")
        assert welcome["principal"]["subject"] == "ann"
    bad = Tab(url, additional_headers={"Authorization": "Bearer x"})
    assert await refused(bad) == (401, "auth.invalid")
    # what something in front of the gateway asked for is not ours
    async with Tab(url, hello=False, additional_headers={"Authorization": "Basic eA=="}) as tab:
        await tab.send({"type": "hello"})
        assert (await tab.wait_for("error"))["code"] == "auth.required"


async def test_a_hello_may_bring_a_newer_token_of_the_same_one(port: int) -> None:
    for subject, first in (("ann", "welcome"), ("bob", "error")):
        token = bearer(subject)["Authorization"].partition(" ")[2]
        async with shown(port, await ticket(port), origin=PAGE, token=token) as tab:
            told = await tab.wait_for(("welcome", "error"))
            assert told["type"] == first
            if first == "error":
                assert told["code"] == "auth.forbidden"
                assert await tab.wait_closed() == 4403


async def test_nobody_gets_to_the_hello_without(inside: InProcess) -> None:
    inside.delivery.settings = replace(inside.delivery.settings, auth_at_handshake=True)
    async with serving(inside) as port:
        url = f"ws://127.0.0.1:{port}/v1/ws"
        token = bearer()["Authorization"].partition(" ")[2]
        assert await refused(Tab(url, token=token)) == (401, "auth.required")
        async with Tab(url, additional_headers=bearer()) as tab:
            await tab.wait_for("welcome")
        async with shown(port, await ticket(port), origin=PAGE) as tab:
            await tab.wait_for("welcome")


async def revoke(port: int, body: Any, headers: dict[str, str] | None = None) -> tuple[int, str]:
    async with client(port) as http:
        answer = await http.post("/revocations", json=body, headers=headers or ADMIN)
    return answer.status_code, answer.json().get("code", "")


@pytest.mark.parametrize(
    "body",
    [{"subject": "ann"}, {"subject": "ann", "tenant": "acme"}, {"token": "t1"}, {"tenant": "acme"}],
    ids=["subject", "subject-tenant", "token", "tenant"],
)
async def test_who_is_revoked_is_out(port: int, inside: InProcess, body: Any) -> None:
    """Closed at once, refused by every way in; a ticket bought before opens nothing."""
    await inside.delivery.revocations.known()
    headers = bearer(jti="t1")
    unused = await ticket(port, jti="t1")
    async with Tab(f"ws://127.0.0.1:{port}/v1/ws", additional_headers=headers) as tab:
        assert await revoke(port, body) == (200, "")
        assert await tab.wait_closed() == 4403
    assert await refused(shown(port, unused, origin=PAGE)) == (403, "auth.forbidden")
    assert await refused(Tab(tab.url, additional_headers=headers)) == (403, "auth.forbidden")
    async with client(port) as http:
        for method, path in (("GET", "/sessions"), ("POST", "/tickets")):
            answer = await http.request(method, path, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "auth.forbidden")


async def test_between_the_handshake_and_hello(port: int, inside: InProcess) -> None:
    url = f"ws://127.0.0.1:{port}/v1/ws"
    async with Tab(url, hello=False, additional_headers=bearer()) as tab:
        assert await revoke(port, {"subject": "ann"}) == (200, "")
        await tab.send({"type": "hello"})
        assert (await tab.wait_for("error"))["code"] == "auth.forbidden"
        assert await tab.wait_closed() == 4403


async def test_an_event_stream_ends(port: int, inside: InProcess) -> None:
    async with client(port) as http:
        made = await http.post("/sessions", json={"agent": "scripted"}, headers=bearer())
        session = made.json()["session"]
        url = f"/sessions/{session}/events"
        async with http.stream("GET", url, headers=bearer(), timeout=20) as events:
            assert events.status_code == 200
            assert await revoke(port, {"subject": "ann"}) == (200, "")
            async for _ in events.aiter_bytes():
                pass
    await eventually(lambda: len(inside.delivery.roster) == 0)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "frame.malformed"),
        ({"token": "a", "subject": "b"}, "frame.malformed"),
        ({"subject": ""}, "frame.malformed"),
        ({"subject": 7}, "frame.malformed"),
        ({"subject": "a", "until": 7}, "frame.malformed"),
        ([], "frame.malformed"),
        ({"subject": "x" * 5_000}, "frame.too_large"),
        ({"tenant": "evil"}, "auth.forbidden"),
        ({"subject": "ann", "tenant": "evil"}, "auth.forbidden"),
    ],
)
async def test_what_cannot_be_revoked(port: int, inside: InProcess, body: Any, code: str) -> None:
    assert (await revoke(port, body))[1] == code
    assert await inside.broker.posted("revoked") == []


async def test_who_goes_amid_a_body_is_no_fault_of_ours(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    head = f"POST /v1/revocations HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n{ADMIN_LINE}\r\n"
    with caplog.at_level(logging.DEBUG):
        async with raw_socket(port) as (_, writer):
            writer.write(f"{head}{{".encode())
            await writer.drain()
            await asyncio.sleep(0.1)  # it waits for the rest now
        async with client(port) as http:
            assert (await http.get("/tickets")).status_code == 405
    assert [r.message for r in caplog.records if r.levelno >= logging.ERROR] == []


async def test_it_takes_an_admin(port: int, inside: InProcess) -> None:
    for headers in (bearer(), bearer(scope="administrator"), bearer(scope="chat")):
        assert await revoke(port, {"subject": "bob"}, headers) == (403, "auth.forbidden")
    assert (await revoke(port, {"subject": "bob"}, {"X": "y"}))[0] == 401
    assert await inside.broker.posted("revoked") == []


@pytest.mark.parametrize("ahead_s", [0, 600], ids=["now", "by-a-clock-ahead"])
async def test_it_is_kept_while_the_token_would_be_taken(ahead_s: int) -> None:
    clock = ManualClock()
    settings = Settings(auth_max_age_ms=60_000, auth_leeway_ms=600_000)
    auth = JwtAuth(SharedSecret(SECRET), Terms.of(settings), clock)
    ann = bearer(jti="t1", clock=lambda: clock.now + ahead_s)
    admin = bearer("root", scope="admin", clock=clock)
    async with (
        in_process(broker=MemoryBroker(clock), auth=auth, settings=settings) as inside,
        serving(inside) as port,
    ):
        clock.now += 1
        assert await revoke(port, {"token": "t1"}, admin) == (200, "")
    ends_at = clock.now - 1 + ahead_s + 60 + 600
    for now, code in ((ends_at - 1, "auth.forbidden"), (ends_at, "auth.expired")):
        clock.now = now
        words = Revocations(inside.broker, Roster())
        await words._read()
        words._known.set()
        with pytest.raises(ProtocolError) as refusal:
            await Unrevoked(auth, words).authenticate(ann["Authorization"].split()[1])
        assert refusal.value.code == code
