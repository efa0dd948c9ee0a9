"""The HTTP routes: what goes in as a frame comes out as a frame, with a fitting status."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from structlog.testing import capture_logs

from gateway.auth.signature import SharedSecret
from gateway.auth.token import JwtAuth, mint_token
from gateway.settings import Settings
from gateway.transports.http import api_routes
from protocol.events import MessageStarted
from protocol.values import Detail
from tests.support.inprocess import TIME, InProcess, delta, in_process

SECRET = "a secret of more than thirty-two bytes"


def token(subject: str, detail: Detail = "full") -> dict[str, str]:
    signed = mint_token(SECRET, subject=subject, tenant="acme", detail=detail)
    return {"Authorization": f"Bearer {signed}"}


ANN, BOB = token("ann"), token("bob")


@pytest.fixture
async def inside() -> AsyncIterator[InProcess]:
    async with in_process(
        auth=JwtAuth(SharedSecret(SECRET)), settings=Settings(max_frame_bytes=10_000)
    ) as inside:
        yield inside


@asynccontextmanager
async def client_of(inside: InProcess) -> AsyncGenerator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=Starlette(routes=api_routes(inside.delivery)))
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://gateway/v1", headers=ANN
    ) as http:
        yield http


@pytest.fixture
async def http(inside: InProcess) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(inside) as http:
        yield http


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    body = answer.json()
    assert body.keys() >= {"code", "message", "retryable"}
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, body["code"]


async def test_the_life_of_a_session(http: httpx2.AsyncClient) -> None:
    made = await http.post(
        "/sessions", json={"agent": "echo", "session": "s_1", "metadata": {"title": "T"}}
    )
    assert (made.status_code, made.json()["session"]) == (201, "s_1")
    again = await http.post("/sessions", json={"agent": "echo", "session": "s_1"})
    assert (again.status_code, again.json()["existing"]) == (200, True)

    sent = await http.post("/sessions/s_1/commands", json={"type": "message.send", "content": "hi"})
    assert sent.status_code == 200
    assert sent.json().keys() == {"type", "id", "message", "run", "seq"}

    state = (await http.get("/sessions/s_1")).json()
    assert (state["session"], state["seq"], state["metadata"]) == ("s_1", 3, {"title": "T"})
    assert state["messages"][0]["parts"] == [{"kind": "text", "text": "hi"}]
    messages = (await http.get("/sessions/s_1/messages", params={"limit": 1})).json()
    assert (messages["messages"], messages["more"]) == (state["messages"], False)
    rows = (await http.get("/sessions")).json()
    assert [row["session"] for row in rows["sessions"]] == ["s_1"]
    assert rows["more"] is False

    deleted = await http.delete("/sessions/s_1")
    assert deleted.status_code == 200
    assert refusal(await http.get("/sessions/s_1")) == (404, "session.not_found")


async def test_a_command_is_done_once(http: httpx2.AsyncClient) -> None:
    await http.post("/sessions", json={"agent": "echo", "session": "s_1"})
    command = {"type": "message.send", "id": "k_1", "content": "hi", "client": "tab_A"}
    first = await http.post("/sessions/s_1/commands", json=command)
    assert (await http.post("/sessions/s_1/commands", json=command)).json() == first.json()
    other = await http.post("/sessions/s_1/commands", json={**command, "content": "ho"})
    assert refusal(other) == (409, "command.conflict")
    assert other.json()["id"] == "k_1"
    elsewhere = await http.post("/sessions/s_1/commands", json={**command, "client": "tab_B"})
    assert refusal(elsewhere) == (409, "session.busy")
    listed = await http.post(
        "/sessions/s_1/commands", json={"type": "session.messages", "id": "k_2"}
    )
    assert len(listed.json()["messages"]) == 1


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_what_is_not_ones_own_does_not_exist(http: httpx2.AsyncClient, method: str) -> None:
    await http.post("/sessions", json={"agent": "echo", "session": "s_1"})
    theirs = await http.request(method, "/sessions/s_1", headers=BOB)
    none = await http.request(method, "/sessions/s_none", headers=BOB)
    assert refusal(theirs) == refusal(none) == (404, "session.not_found")
    assert theirs.text.replace("s_1", "s_none") == none.text
    assert (await http.get("/sessions", headers=BOB)).json() == {"sessions": [], "more": False}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Authorization": ""}, "auth.required"),
        ({"Authorization": "Basic eDp5"}, "auth.required"),
        ({"Authorization": "Bearer nonsense"}, "auth.invalid"),
    ],
)
async def test_strangers(http: httpx2.AsyncClient, headers: dict[str, str], code: str) -> None:
    answer = await http.get("/sessions", headers=headers)
    assert refusal(answer) == (401, code)
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_no_more_is_shown_than_the_token_allows(
    http: httpx2.AsyncClient, inside: InProcess
) -> None:
    await http.post("/sessions", json={"agent": "echo", "session": "s_1"})
    started = MessageStarted(time=TIME, message="m_1", run="r_1")
    await inside.append("s_1", started, delta("hm", kind="thinking"))
    full = (await http.get("/sessions/s_1")).json()
    assert full["messages"][0]["parts"] == [{"kind": "thinking", "text": "hm"}]
    lowered = (await http.get("/sessions/s_1", params={"detail": "answer"})).json()
    assert lowered["messages"][0]["parts"] == []
    little = token("ann", "answer")
    for path in ("/sessions/s_1?detail=full", "/sessions/s_1/messages"):
        assert (await http.get(path, headers=little)).json()["messages"][0]["parts"] == []


BAD: list[tuple[str, bytes, int, str]] = [
    ("/sessions", b"{", 400, "$"),
    ("/sessions", b"[]", 400, "$"),
    ("/sessions", b"\xff", 400, "$"),
    ("/sessions", b'{"session":"s_2"}', 400, "$.agent"),
    ("/sessions", b'{"agent":"echo","client":"no id"}', 400, "$.client"),
    ("/sessions/s_1/commands", b'{"type":"message.send"}', 400, "$.content"),
    ("/sessions/s_1/commands", b'{"type":"session.subscribe"}', 400, "$.type"),
    ("/sessions/s_1/commands", b'{"type":"run.start","session":"s_2"}', 400, "$.session"),
]


@pytest.mark.parametrize(("path", "body", "status", "field"), BAD)
async def test_bad_bodies(
    http: httpx2.AsyncClient, path: str, body: bytes, status: int, field: str
) -> None:
    await http.post("/sessions", json={"agent": "echo", "session": "s_1"})
    answer = await http.post(path, content=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["details"]["path"] == field


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/sessions", {"agent": "other", "session": "s_1"}, "session.exists"),
        ("/sessions", {"agent": "echo", "id": "k_used"}, "command.conflict"),
        ("/sessions/s_1/commands", {"type": "run.interrupt"}, "run.not_active"),
        ("/sessions/s_1/commands", {"type": "run.start", "session": "s_2"}, "frame.malformed"),
    ],
)
async def test_refusals_echo_the_id_of_the_command(
    http: httpx2.AsyncClient, path: str, body: dict[str, Any], code: str
) -> None:
    first = {"agent": "echo", "id": "k_used", "metadata": {"other": "body"}}
    assert (await http.post("/sessions", json=first)).status_code == 201
    await http.post("/sessions", json={"agent": "echo", "session": "s_1"})
    answer = (await http.post(path, json={"id": "k_1", **body})).json()
    assert (answer["id"], answer["code"]) == (body.get("id", "k_1"), code)
    nameless = (await http.post(path, json={**body, "id": "no id"})).json()
    assert "id" not in nameless


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("/sessions", "limit=x", "$.limit"),
        ("/sessions/s_1", "detail=all", "$.detail"),
        ("/sessions/s_1/messages", "before=no%20id", "$.before"),
        ("/sessions/s_1/events", "after=x", "$.after"),
    ],
)
async def test_bad_queries_name_the_field(
    http: httpx2.AsyncClient, path: str, query: str, field: str
) -> None:
    answer = await http.get(f"{path}?{query}")
    assert refusal(answer) == (400, "frame.malformed")
    assert answer.json()["details"] == {"path": field}
    assert field not in answer.json()["message"]


async def test_bad_paths_and_queries(http: httpx2.AsyncClient) -> None:
    assert refusal(await http.get("/sessions/no id/events")) == (404, "session.not_found")
    assert refusal(await http.get("/sessions/no id"))[0] == 404
    assert refusal(await http.get("/sessions", params={"limit": "0"})) == (400, "frame.malformed")
    assert refusal(await http.get("/sessions/s_1", params={"detail": "all"})) == (
        400,
        "frame.malformed",
    )
    too_large = await http.post("/sessions", content=b" " * 10_001)
    assert refusal(too_large) == (413, "frame.too_large")


async def test_a_failure_inside_is_told_without_the_inside(
    http: httpx2.AsyncClient, inside: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("secret")

    monkeypatch.setattr(inside.delivery.store, "sessions", broken)
    answer = await http.get("/sessions")
    assert refusal(answer) == (500, "internal")
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/sessions", {"GET", "HEAD", "POST"}), ("/sessions/s_1", {"GET", "HEAD", "DELETE"})],
)
async def test_a_method_that_is_not_there_learns_which_are(
    http: httpx2.AsyncClient, path: str, allowed: set[str]
) -> None:
    answer = await http.put(path)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize("query", ["detail=null", "messages=null", "messages=-1"])
async def test_what_is_no_value_is_refused(http: httpx2.AsyncClient, query: str) -> None:
    await http.post("/sessions", json={"agent": "echo", "session": "s_1"})
    assert refusal(await http.get(f"/sessions/s_1?{query}")) == (400, "frame.malformed")


async def test_sharing(http: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "gateway.audit")
    await http.post("/sessions", json={"agent": "echo", "session": "s_1"})
    shares = "/sessions/s_1/shares"
    assert (await http.get(shares)).json() == {"shares": []}
    for subject, access in (("bob", "read"), ("team/eve@x.org", "act"), ("bob", "act")):
        put = await http.put(f"{shares}/{subject}", json={"access": access})
        assert (put.status_code, put.json()) == (200, {"subject": subject, "access": access})
    assert (await http.get(shares)).json() == {
        "shares": [
            {"subject": "bob", "access": "act"},
            {"subject": "team/eve@x.org", "access": "act"},
        ]
    }
    said = await http.post(
        "/sessions/s_1/commands",
        json={"type": "message.send", "content": "hi", "start": False},
        headers=BOB,
    )
    assert said.status_code == 200
    assert (await http.get("/sessions/s_1")).json()["messages"][0]["by"] == "bob"
    rows = (await http.get("/sessions", headers=BOB)).json()["sessions"]
    assert [row["session"] for row in rows] == ["s_1"]
    with capture_logs() as audited:
        for _ in range(2):
            gone = await http.delete(f"{shares}/bob")
            assert (gone.status_code, gone.json()) == (200, {"subject": "bob"})
    assert [(line["action"], line["with_subject"]) for line in audited] == [("unshare", "bob")] * 2
    assert refusal(await http.get("/sessions/s_1", headers=BOB)) == (404, "session.not_found")


@pytest.mark.parametrize(
    ("subject", "body", "path"),
    [
        ("bob", {"access": "own"}, "$.access"),
        ("bob", {}, "$"),
        ("ann", {"access": "act"}, "$.subject"),
        ("b%20b", {"access": "act"}, "$.subject"),
        ("x" * 257, {"access": "act"}, "$.subject"),
    ],
)
async def test_a_share_that_cannot_be(
    http: httpx2.AsyncClient, subject: str, body: Any, path: str
) -> None:
    await http.post("/sessions", json={"agent": "echo", "session": "s_1"})
    answer = await http.put(f"/sessions/s_1/shares/{subject}", json=body)
    assert refusal(answer) == (400, "frame.malformed")
    assert answer.json()["details"]["path"] == path
    assert (await http.get("/sessions/s_1/shares")).json() == {"shares": []}


async def test_only_the_owner_shares(http: httpx2.AsyncClient) -> None:
    await http.post("/sessions", json={"agent": "echo", "session": "s_1"})
    url = "/sessions/s_1/shares/eve"
    for expected in ((404, "session.not_found"), (403, "auth.forbidden")):
        for method in ("PUT", "DELETE"):
            answer = await http.request(method, url, json={"access": "act"}, headers=BOB)
            assert refusal(answer) == expected
        assert refusal(await http.get("/sessions/s_1/shares", headers=BOB)) == expected
        await http.put("/sessions/s_1/shares/bob", json={"access": "act"})


async def test_shared_with_so_many(http: httpx2.AsyncClient) -> None:
    await http.post("/sessions", json={"agent": "echo", "session": "s_1"})
    answers = [
        await http.put(f"/sessions/s_1/shares/s{n}", json={"access": "read"}) for n in range(65)
    ]
    assert [a.status_code for a in answers] == [200] * 64 + [409]
    assert answers[-1].json()["code"] == "limit.exceeded"
