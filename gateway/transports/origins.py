"""Which pages may talk to the gateway: a browser does not ask, so the gateway must.

A WebSocket and a simple POST go across origins unasked. `Origin` tells who sent them, exactly as
it is written; a client that is no browser sends none and is let through, since it holds no one's
cookies. Two more nets for what a browser sends without one: `Sec-Fetch-Site`, and that a POST
is JSON or has a token, which no form can. Without authentication the name in the address counts
too: else a foreign page that lets its own name point to 127.0.0.1 (DNS rebinding) would be of the
"same origin".
"""

import logging
import time
from collections.abc import Iterable
from typing import Literal
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.limits import Clock
from gateway.settings import Settings, is_loopback
from gateway.transports.answers import of_api
from gateway.transports.proxies import TOLD
from protocol.codec import error_frame
from protocol.errors import ProtocolError, excerpt, malformed

SHOWN_CHARACTERS = 200
"""Of an origin or a host, in an answer and in the log."""
QUIET_S = 60.0
"""Between two log lines about the same origin or host."""
MAX_QUIET = 256
"""Origins and hosts that are remembered for it."""

log = logging.getLogger("gateway.transports")

OF_OTHERS = ("cross-site", "same-site")
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Last-Event-ID",
    "Access-Control-Max-Age": "600",
}


class OriginCheck:
    """Whether the page that opened a connection may use it."""

    def __init__(self, settings: Settings, *, clock: Clock = time.monotonic) -> None:
        self._allowed = frozenset(settings.allowed_origins)
        self._clock = clock
        # (reason, origin or host) -> when its refusal is logged again
        self._quiet_until: dict[tuple[str, str], float] = {}
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

    def __call__(self, connection: HTTPConnection) -> ProtocolError | None:
        """Why it may not; None: the gateway's own pages may, and those of allowed origins."""
        return self.refused(connection.headers, connection.scope.get(TOLD))

    def refused(self, headers: Headers, scheme: str | None = None) -> ProtocolError | None:
        """The same, by the request's headers; `scheme`: of our own pages, where it is known.

        A refusal is logged, once a minute for each origin or host.
        """
        host = headers.get("host", "").lower()
        try:
            is_own = self._is_own(urlsplit(f"//{host}").hostname or "")
        except ValueError:  # a broken address in brackets
            is_own = False
        if not is_own:
            return self._told("host", host)
        own = [f"{scheme}://{host}"] if scheme else [f"http://{host}", f"https://{host}"]
        origins = headers.getlist("origin")
        if not origins and headers.get("sec-fetch-site") in OF_OTHERS:
            return self._told("origin", "")
        for origin in origins:
            if origin not in self._allowed and origin not in own:
                return self._told("origin", origin)
        return None

    def _told(self, reason: Literal["origin", "host"], name: str) -> ProtocolError:
        """The refusal, with what a person can do about it; also as a line of the log."""
        shown = excerpt(name, SHOWN_CHARACTERS)
        if reason == "host":
            text = (
                f'The name "{shown}" in Host is not loopback, and without authentication only'
                " loopback names may be used: connect to 127.0.0.1, set --auth, or set --host to"
                " this name."
            )
            setting = "host"
        elif name:
            text = (
                f"Pages of {shown} may not connect. If they should, start the gateway with"
                f" --allowed-origins {shown}."
            )
            setting = "allowed_origins"
        else:
            text = "Pages of other sites may not connect without saying their origin."
            setting = "allowed_origins"
        now = self._clock()
        key = (reason, shown)
        if now >= self._quiet_until.get(key, now):
            if len(self._quiet_until) >= MAX_QUIET:  # somebody invents names: begin anew
                self._quiet_until.clear()
            self._quiet_until[key] = now + QUIET_S
            log.warning("refused at the door: %s", text)
        details = {"reason": reason, reason: shown, "setting": setting}
        return ProtocolError("auth.forbidden", text, details=details)

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
        if (error := self._check.refused(headers, scope.get(TOLD))) is not None:
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
