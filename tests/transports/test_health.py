"""An operator's machines learn whether it lives, whether it can serve, and what it counted."""

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from gateway.telemetry import Metrics
from gateway.transports.health import health_routes


def client(reason: str | None, metrics: Metrics | None = None) -> httpx2.AsyncClient:
    routes = health_routes(lambda: reason, metrics or Metrics())
    transport = httpx2.ASGITransport(app=Starlette(routes=routes))
    return httpx2.AsyncClient(transport=transport, base_url="http://gateway")


@pytest.mark.parametrize(("reason", "status"), [(None, 200), ("draining", 503)])
async def test_ready_or_why_not(reason: str | None, status: int) -> None:
    async with client(reason) as machine:
        ready = await machine.get("/readyz")
        assert (ready.status_code, ready.json().get("reason")) == (status, reason)
        assert (await machine.get("/healthz")).status_code == 200
        assert ready.headers["cache-control"] == "no-store"


async def test_metrics_are_prometheus_text() -> None:
    metrics = Metrics()
    metrics.connections.inc(3)
    async with client(None, metrics) as machine:
        answer = await machine.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "agent_gateway_connections 3.0" in answer.text


async def test_they_are_for_reading_only() -> None:
    async with client(None) as machine:
        assert (await machine.post("/metrics")).status_code == 405


async def test_who_may_not_see_them_finds_nothing() -> None:
    async def may(request: Request) -> bool:
        return request.headers.get("x-name") == "ann"

    transport = httpx2.ASGITransport(
        app=Starlette(routes=health_routes(lambda: None, Metrics(), may))
    )
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as machine:
        nothing = await machine.get("/nothing")
        for method in ("GET", "HEAD", "POST", "OPTIONS", "PURGE"):
            hidden = await machine.request(method, "/metrics")
            assert hidden.status_code == 404, method
            assert hidden.headers == nothing.headers
        ann = {"X-Name": "ann"}
        assert "agent_gateway" in (await machine.get("/metrics", headers=ann)).text
        assert (await machine.post("/metrics", headers=ann)).status_code == 405
        assert (await machine.get("/healthz")).status_code == 200
