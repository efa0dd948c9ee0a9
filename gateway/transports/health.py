"""`/healthz`, `/readyz` and `/metrics`: what an operator's machines ask, without a token.

Their answers name no principal, no session and no address.
"""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.telemetry import Metrics

Unready = Callable[[], str | None]
"""Why this process cannot serve now; None: it can."""

HEADERS = {"Cache-Control": "no-store"}


def health_routes(unready: Unready, metrics: Metrics) -> list[BaseRoute]:
    """The three routes.

    `/healthz` is 200 while the event loop turns; `/readyz` is 200, or 503 with the reason: a load
    balancer sends nobody new, those who are connected stay.
    """

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "alive"}, headers=HEADERS)

    async def readyz(_request: Request) -> Response:
        reason = unready()
        if reason is None:
            return JSONResponse({"status": "ready"}, headers=HEADERS)
        return JSONResponse({"status": "not ready", "reason": reason}, 503, headers=HEADERS)

    async def show_metrics(_request: Request) -> Response:
        body, content_type = metrics.render()
        return Response(body, headers={**HEADERS, "Content-Type": content_type})

    return [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", show_metrics, methods=["GET"]),
    ]
