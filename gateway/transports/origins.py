"""Which pages may talk to the gateway: a browser does not ask, so the gateway must.

A WebSocket and a simple POST go across origins unasked. `Origin` tells who sent them; a client
that is no browser sends none and is let through, since it holds no one's cookies. Without
authentication the name in the address counts too: else a foreign page that lets its own name
point to 127.0.0.1 (DNS rebinding) would be of the "same origin".
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.settings import Settings, is_loopback
from protocol.codec import error_frame
from protocol.errors import ProtocolError


class OriginCheck:
    """Whether the page that opened a connection may use it."""

    def __init__(self, settings: Settings) -> None:
        self._allowed = frozenset(settings.allowed_origins)
        self._names = (
            None if settings.auth != "none" or settings.insecure else frozenset({settings.host})
        )

    def allow(self, origins: Iterable[str]) -> None:
        """From now on these, instead; connections that are open stay."""
        self._allowed = frozenset(origins)

    def __call__(self, connection: HTTPConnection) -> bool:
        """True: it may. The gateway's own pages may, and those of allowed origins."""
        return self.accepts(connection.headers)

    def accepts(self, headers: Headers) -> bool:
        """The same, by the request's headers."""
        host = headers.get("host", "").lower()
        try:
            own = self._is_own(urlsplit(f"//{host}").hostname or "")
        except ValueError:  # a broken address in brackets
            return False
        return own and all(
            origin in self._allowed or origin in (f"http://{host}", f"https://{host}")
            for origin in headers.getlist("origin")
        )

    def _is_own(self, name: str) -> bool:
        return self._names is None or name in self._names or is_loopback(name)


class OriginGuard:
    """Refuses HTTP requests under `/v1/` that `OriginCheck` does not accept."""

    def __init__(self, app: ASGIApp, check: OriginCheck) -> None:
        self._app = app
        self._check = check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Part of an ASGI application."""
        if (
            scope["type"] == "http"
            and scope["path"].startswith("/v1/")
            and not self._check.accepts(Headers(scope=scope))
        ):
            error = ProtocolError("auth.forbidden", "This origin may not connect.")
            response = Response(error_frame(error), status_code=403, media_type="application/json")
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)
