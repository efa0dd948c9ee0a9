"""A gateway that nobody started says so, and takes nothing that it would lose (B1)."""

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from gateway.app import create_app
from gateway.settings import Settings
from gateway.transports.started import NOT_STARTED


def client(app: Starlette) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app)  # runs no lifespan
    return httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")


@pytest.mark.parametrize("prefix", ["", "/agents"])
async def test_B1_without_its_lifespan_it_is_not_ready(
    prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = create_app(Settings(agents=("echo",)))
    app = Starlette(routes=[Mount(prefix, gateway)]) if prefix else gateway
    async with client(app) as page:
        ready = await page.get(f"{prefix}/readyz")
        assert (ready.status_code, ready.json()["reason"]) == (503, NOT_STARTED)
        assert (await page.get(f"{prefix}/healthz")).status_code == 200
        for _ in range(2):
            refused = await page.post(f"{prefix}/v1/sessions", json={"agent": "echo"})
            assert (refused.status_code, refused.json()["retryable"]) == (503, True)
            assert NOT_STARTED in refused.json()["message"]
    assert [r.levelname for r in caplog.records if "lifespan" in r.message] == ["ERROR"]


async def test_a_handshake_is_refused_too() -> None:
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": "/v1/ws",
        "raw_path": b"/v1/ws",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")],
        "scheme": "ws",
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
    }
    app = create_app(Settings(agents=("echo",)))
    await app(scope, receive, send)  # type: ignore[arg-type]  # plain dicts are ASGI messages
    assert sent[0]["status"] == 503
    sent.clear()
    await app(scope | {"extensions": {}}, receive, send)  # type: ignore[arg-type]
    assert (sent[0]["type"], sent[0]["code"]) == ("websocket.close", 1013)


async def test_the_line_of_the_remedy_works() -> None:
    """Mounted, and started as the log says."""
    gateway = create_app(Settings(agents=("echo",)))
    app = Starlette(routes=[Mount("/agents", gateway)])
    async with client(app) as page:
        async with gateway.router.lifespan_context(gateway):
            assert (await page.get("/agents/readyz")).status_code == 200
            made = await page.post("/agents/v1/sessions", json={"agent": "echo"})
            assert made.status_code == 201
            wrong = await page.post("/agents/v1/sessions", json={"agent": "echoo"})
            assert (wrong.status_code, wrong.json()["code"]) == (404, "agent.not_found")
            assert wrong.json()["details"]["did_you_mean"] == ["echo"]
        assert (await page.get("/agents/readyz")).status_code == 503
