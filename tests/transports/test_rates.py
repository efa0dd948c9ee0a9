"""Requests of one address beyond its rate are 429; others are not disturbed."""

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from gateway.delivery.addresses import Addresses
from gateway.settings import Settings
from gateway.transports.rates import RequestRates
from tests.support.inprocess import ManualClock


async def answer(_request: Request) -> Response:
    return PlainTextResponse("here")


def site(clock: ManualClock, *, prefix: str = "") -> Starlette | RequestRates:
    inner = Starlette(routes=[Route("/v1/sessions", answer), Route("/healthz", answer)])
    addresses = Addresses(Settings(address_requests_burst=3), clock=clock)
    guarded = RequestRates(inner, addresses)
    return Starlette(routes=[Mount(prefix, guarded)]) if prefix else guarded


def client(app: Starlette | RequestRates, address: str) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app, client=(address, 5))
    return httpx2.AsyncClient(transport=transport, base_url="http://gateway")


@pytest.mark.parametrize("prefix", ["", "/gw"])
async def test_too_many_requests_of_one_address(prefix: str) -> None:
    clock = ManualClock()
    app = site(clock, prefix=prefix)
    async with client(app, "8.8.8.8") as one, client(app, "9.9.9.9") as other:
        got = [await one.get(f"{prefix}/v1/sessions") for _ in range(5)]
        assert [each.status_code for each in got] == [200, 200, 200, 429, 429]
        assert got[-1].json() == {
            "type": "error",
            "code": "rate.limited",
            "message": "Too many requests; slow down.",
            "retryable": True,
        }
        assert got[-1].headers["retry-after"] == "1"
        assert (await one.get(f"{prefix}/healthz")).status_code == 200
        assert (await other.get(f"{prefix}/v1/sessions")).status_code == 200
        clock.now += 1
        assert (await one.get(f"{prefix}/v1/sessions")).status_code == 200
