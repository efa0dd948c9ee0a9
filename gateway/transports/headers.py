"""What every HTTP answer tells a browser: nothing of it is a page, a frame or a resource of others.

Pages have a policy of their own (`pages`); what an answer says itself stays. Transport security
(HSTS) belongs to whoever holds the certificate: the proxy in front.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
STARTS = ("http.response.start", "websocket.http.response.start")


class SecurityHeaders:
    """Adds `HEADERS` to every HTTP answer, a refused handshake's too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Part of an ASGI application."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] in STARTS:
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        # A WebSocket's frames must not come through here: only its handshake does, by `send`,
        # and where our server carries it they are written straight to the socket.
        await self._app(scope, receive, send_with_headers)
