"""Every answer says what a browser may do with it; what an answer says itself stays."""

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import Receive, Scope, Send

from gateway.app import Gateway
from gateway.settings import Settings
from gateway.transports.headers import HEADERS, SecurityHeaders

EVERYWHERE = set(HEADERS.items()) - {
    ("Content-Security-Policy", HEADERS["Content-Security-Policy"])
}


def assert_safe(answer: httpx2.Response) -> None:
    for name, value in EVERYWHERE:
        assert answer.headers.get_list(name) == [value], (answer.url, name)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "'unsafe" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/pages/demo.js", 200),
        ("GET", "/pages/no.js", 404),
        ("GET", "/client/index.js", 200),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 503),
        ("GET", "/metrics", 200),
        ("GET", "/nothing", 404),
        ("PUT", "/v1/sessions", 405),
        ("GET", "/v1/sessions", 200),
        ("GET", "/v1/sessions/s_1", 404),
        ("GET", "/v1/sessions/s_1/events", 404),
        ("POST", "/v1/sessions", 400),
    ],
)
async def test_whatever_is_served(method: str, path: str, status: int) -> None:
    gateway = Gateway(Settings(), demo=True)
    if path == "/readyz":
        gateway.roster.draining = True
    transport = httpx2.ASGITransport(app=gateway.app)
    async with (
        gateway.running(),
        httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        answer = await client.request(method, path)
        assert answer.status_code == status
        assert_safe(answer)
        refused = await client.request(method, path, headers={"Origin": "https://evil.example"})
        assert_safe(refused)
    admin = httpx2.ASGITransport(app=gateway.admin_app)
    async with httpx2.AsyncClient(transport=admin, base_url="http://127.0.0.1") as client:
        assert_safe(await client.get("/metrics"))


async def test_a_request_that_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starlette answers it past every middleware."""
    gateway = Gateway(Settings())

    def broken() -> str | None:
        raise RuntimeError("secret text")

    monkeypatch.setattr(gateway, "started", True)
    monkeypatch.setattr(type(gateway.admission), "unready", property(lambda _: broken()))
    transport = httpx2.ASGITransport(app=gateway.app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert_safe(answer)


def test_a_refused_handshake() -> None:
    gateway = Gateway(Settings())
    headers = {"Origin": "https://evil.example"}
    with (
        TestClient(gateway.app, base_url="http://127.0.0.1") as client,
        pytest.raises(WebSocketDenialResponse) as denied,
        client.websocket_connect("/v1/ws", headers=headers),
    ):
        pass
    assert denied.value.status_code == 403
    assert_safe(denied.value)


async def test_what_an_answer_says_itself_stays() -> None:
    async def page(_request: Request) -> Response:
        return PlainTextResponse("x", headers={"X-Frame-Options": "SAMEORIGIN"})

    app = SecurityHeaders(Starlette(routes=[Route("/", page)]))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
        answer = await client.get("/")
    assert answer.headers.get_list("x-frame-options") == ["SAMEORIGIN"]
    assert answer.headers["referrer-policy"] == "no-referrer"


async def test_an_accepted_handshake_is_left_alone() -> None:
    sent: list[dict[str, object]] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept", "headers": []})

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {}

    await SecurityHeaders(app)({"type": "websocket"}, receive, send)
    assert sent == [{"type": "websocket.accept", "headers": []}]
