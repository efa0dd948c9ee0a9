"""A request has the grant of its token, as long as its subject does not ask too often."""

import pytest
from starlette.requests import Request

from gateway.auth import Grant
from gateway.delivery.delivery import Delivery
from gateway.settings import Settings
from gateway.transports.grants import granted_to
from protocol.errors import ProtocolError
from protocol.values import Principal
from tests.support.inprocess import ManualClock, in_process


class ByName:
    """A token is its subject's name."""

    async def authenticate(self, token: str | None) -> Grant:
        if not token:
            raise ProtocolError("auth.required")
        return Grant(Principal("acme", token), "full")


def request(authorization: str) -> Request:
    headers = [(b"authorization", authorization.encode())] if authorization else []
    return Request({"type": "http", "headers": headers, "client": ("8.8.8.8", 5)})


async def code(authorization: str, delivery: Delivery) -> str:
    with pytest.raises(ProtocolError) as caught:
        await granted_to(request(authorization), delivery)
    return caught.value.code


async def test_a_subject_has_a_rate() -> None:
    settings = Settings(requests_burst=2, requests_per_s=1)
    clock = ManualClock()
    async with in_process(auth=ByName(), settings=settings, clock=clock) as inside:
        for _ in range(2):
            grant = await granted_to(request("Bearer ann"), inside.delivery)
            assert grant.principal.subject == "ann"
        assert await code("Bearer ann", inside.delivery) == "rate.limited"
        await granted_to(request("bearer bob"), inside.delivery)
        clock.now += 1
        await granted_to(request("Bearer ann"), inside.delivery)


@pytest.mark.parametrize("authorization", ["", "Basic ann", "ann", "Bearer"])
async def test_a_bearer_token_or_none(authorization: str) -> None:
    async with in_process(auth=ByName()) as inside:
        assert await code(authorization, inside.delivery) == "auth.required"
