"""The HTTP route `GET /v1/agents`: which agents there are, for people who choose one."""

from collections.abc import Awaitable, Callable

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.auth import Grant
from gateway.delivery.delivery import Delivery
from gateway.fleet.directory import KnownAgent
from gateway.transports.answers import Json
from protocol.codec import encode

Guard = Callable[
    [Callable[[Request, Grant], Awaitable[Response]]], Callable[[Request], Awaitable[Response]]
]


class Agents(Struct, frozen=True):
    """The known agents that the token may use, by name."""

    agents: list[KnownAgent]


def agents_routes(delivery: Delivery, guard: Guard) -> list[BaseRoute]:
    """The one route; `guard` authenticates and turns what is raised into answers."""

    async def agents(_request: Request, grant: Grant) -> Response:
        return Json(encode(Agents(await delivery.store.directory.listed(grant.agents))))

    return [Route("/v1/agents", guard(agents), methods=["GET"])]
