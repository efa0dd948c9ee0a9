"""`/healthz`, `/readyz` and `/metrics`: what an operator's machines ask, without a token.

Their answers name no principal, no session and no address.
"""

from collections.abc import Callable

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.telemetry import Metrics

Unready = Callable[[], str | None]
"""Why this process cannot serve now; None: it can."""

HEADERS = {"Cache-Control": "no-store"}


class Health(Struct, frozen=True, omit_defaults=True):
    """What `/healthz` and `/readyz` answer."""

    status: str
    reason: str | None = None


def _answer(health: Health, status: int = 200) -> Response:
    body = msgspec.json.encode(health)
    return Response(body, status, HEADERS, media_type="application/json")


def health_routes(unready: Unready, metrics: Metrics) -> list[BaseRoute]:
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

    async def show_metrics(_request: Request) -> Response:
        body, content_type = metrics.render()
        return Response(body, headers={**HEADERS, "Content-Type": content_type})

    return [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", show_metrics, methods=["GET"]),
    ]
