"""Nothing is promised before the gateway runs: mounted without its lifespan, it would look well.

A gateway is started by its lifespan. Some hosts do not run that of a mounted application; then no
broker listens and no agent runs, and whoever connects would wait for ever.
"""

import logging
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from gateway.transports.answers import of_api, refused
from protocol.errors import ProtocolError

NOT_STARTED = "not started: nobody runs the lifespan of this gateway"
REMEDY = (
    "The gateway is mounted, but was not started, so no agent runs. Start it in the lifespan of"
    " the application that it is mounted in: async with app.router.lifespan_context(app): yield"
    " (app is what create_app returned)."
)

log = logging.getLogger("gateway.transports")


class StartedGuard:
    """Refuses handshakes and requests under `/v1/` while the gateway does not run (HTTP 503)."""

    def __init__(self, app: ASGIApp, started: Callable[[], bool]) -> None:
        self._app = app
        self._started = started
        self._told = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Part of an ASGI application."""
        is_socket = scope["type"] == "websocket"
        if self._started() or not (is_socket or of_api(scope)):
            await self._app(scope, receive, send)
            return
        if not self._told:
            self._told = True
            log.error(REMEDY)
        answer = refused(ProtocolError("broker.unavailable", f"It is {NOT_STARTED}."))
        if is_socket:
            await _deny(WebSocket(scope, receive, send), answer)
        else:
            await answer(scope, receive, send)


async def _deny(socket: WebSocket, answer: Response) -> None:
    """Refuses the handshake with an HTTP answer, where the server can."""
    if "websocket.http.response" in (socket.scope.get("extensions") or {}):
        await socket.send_denial_response(answer)
    else:
        await socket.close(1013)
