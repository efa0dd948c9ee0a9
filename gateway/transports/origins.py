"""Which pages may talk to the gateway: a browser does not ask, so the gateway must.

A WebSocket and a simple POST go across origins unasked. `Origin` tells who sent them, exactly as
it is written; a client that is no browser sends none and is let through, since it holds no one's
cookies. Two more nets for what a browser sends without one: `Sec-Fetch-Site`, and that a POST
is JSON or has a token, which no form can. Without authentication the name in the address counts
too: else a foreign page that lets its own name point to 127.0.0.1 (DNS rebinding) would be of the
"same origin".
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.settings import Settings, is_loopback
from gateway.transports.answers import of_api
from gateway.transports.proxies import TOLD
from protocol.codec import error_frame
from protocol.errors import ProtocolError, malformed

OF_OTHERS = ("cross-site", "same-site")
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Last-Event-ID",
    "Access-Control-Max-Age": "600",
}


class OriginCheck:
    """Whether the page that opened a connection may use it."""

    def __init__(self, settings: Settings) -> None:
        self._allowed = frozenset(settings.allowed_origins)
        self.let_all_in = settings.auth == "none"
        """Who sends no token is somebody, too: a form of another's page must not be."""
        self._names = (
            None if settings.auth != "none" or settings.insecure else frozenset({settings.host})
        )

    def allow(self, origins: Iterable[str]) -> None:
        """From now on these, instead; connections that are open stay."""
        self._allowed = frozenset(origins)

    def allows(self, origin: str) -> bool:
        """Whether it is one of those that were allowed by name, not our own."""
        return origin in self._allowed

    def __call__(self, connection: HTTPConnection) -> bool:
        """True: it may. The gateway's own pages may, and those of allowed origins."""
        return self.accepts(connection.headers, connection.scope.get(TOLD))

    def accepts(self, headers: Headers, scheme: str | None = None) -> bool:
        """The same, by the request's headers; `scheme`: of our own pages, where it is known."""
        host = headers.get("host", "").lower()
        try:
            is_own = self._is_own(urlsplit(f"//{host}").hostname or "")
        except ValueError:  # a broken address in brackets
            return False
        own = [f"{scheme}://{host}"] if scheme else [f"http://{host}", f"https://{host}"]
        origins = headers.getlist("origin")
        if not origins and headers.get("sec-fetch-site") in OF_OTHERS:
            return False
        return is_own and all(origin in self._allowed or origin in own for origin in origins)

    def _is_own(self, name: str) -> bool:
        return self._names is None or name in self._names or is_loopback(name)


class OriginGuard:
    """Refuses HTTP requests under `/v1/` that another's page may have sent (CSRF).

    Pages of allowed origins may read the answers (CORS, without credentials).
    """

    def __init__(self, app: ASGIApp, check: OriginCheck) -> None:
        self._app = app
        self._check = check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Part of an ASGI application."""
        if not of_api(scope):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if (refused := self._refused(scope, headers)) is not None:
            await refused(scope, receive, send)
            return
        origin = headers.get("origin", "")
        if not self._check.allows(origin):
            await self._app(scope, receive, send)
            return
        send = _readable(send, origin)
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await Response(status_code=204, headers=PREFLIGHT)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refused(self, scope: Scope, headers: Headers) -> Response | None:
        if not self._check.accepts(headers, scope.get(TOLD)):
            error = ProtocolError("auth.forbidden", "This origin may not connect.")
            return _answer(error, 403)
        if scope["method"] == "POST" and self._check.let_all_in and _may_be_a_form(headers):
            return _answer(malformed("The body must be application/json."), 415)
        return None


def _may_be_a_form(headers: Headers) -> bool:
    """Pages send forms unasked, never with a token, and always with their kind."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return "authorization" not in headers and kind not in ("", "application/json")


def _answer(error: ProtocolError, status: int) -> Response:
    return Response(error_frame(error), status, media_type="application/json")


def _readable(send: Send, origin: str) -> Send:
    """`send`, with the leave for a page of `origin` to read the answer."""

    async def send_readable(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Access-Control-Allow-Origin"] = origin
            headers.add_vary_header("Origin")
        await send(message)

    return send_readable
