"""`/healthz`, `/readyz` and `/metrics`: what an operator's machines ask.

Their answers name no principal, no session and no address. The first two need no token; `/metrics`
is for whoever `may` see it, and to all others it is not there.
"""

from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from gateway.telemetry import Metrics

Unready = Callable[[], str | None]
"""Why this process cannot serve now; None: it can."""
May = Callable[[Request], Awaitable[bool]]
"""Whether who asks may see what it asks for."""

HEADERS = {"Cache-Control": "no-store"}


class Health(Struct, frozen=True, omit_defaults=True):
    """What `/healthz` and `/readyz` answer."""

    status: str
    reason: str | None = None


def _answer(health: Health, status: int = 200) -> Response:
    body = msgspec.json.encode(health)
    return Response(body, status, HEADERS, media_type="application/json")


async def anybody(_request: Request) -> bool:
    """On a listener of its own whoever reaches it may."""
    return True


async def nobody(_request: Request) -> bool:
    """It is elsewhere."""
    return False


def health_routes(unready: Unready, metrics: Metrics, may: May = anybody) -> list[BaseRoute]:
    """The three routes.

    `/healthz` is 200 while the event loop turns; `/readyz` is 200, or 503 with the reason: a load
    balancer sends nobody new, those who are connected stay.
    """

    async def healthz(_request: Request) -> Response:
        return _answer(Health("alive"))

    async def readyz(_request: Request) -> Response:
        reason = unready()
        if reason is None:
            return _answer(Health("ready"))
        return _answer(Health("not ready", reason), 503)

    return [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", MetricsEndpoint(metrics, may)),
    ]


class MetricsEndpoint:
    """The route, as an ASGI application: who may not see it gets 404 whatever the method."""

    def __init__(self, metrics: Metrics, may: May) -> None:
        self._metrics = metrics
        self._may = may

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers with Prometheus' text."""
        request = Request(scope, receive)
        if not await self._may(request):
            raise HTTPException(404)
        if request.method not in ("GET", "HEAD"):
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        body, content_type = self._metrics.render()
        answer = Response(body, headers={**HEADERS, "Content-Type": content_type})
        await answer(scope, receive, send)
