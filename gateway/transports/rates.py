"""HTTP requests under `/v1/` at the rate that an address may have; more are answered 429."""

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.delivery.addresses import Addresses
from gateway.transports.answers import of_api, too_many_requests
from gateway.transports.proxies import address_of


class RequestRates:
    """Counts requests, before anything else is done for them. Handshakes count where they end."""

    def __init__(self, app: ASGIApp, addresses: Addresses) -> None:
        self._app = app
        self._addresses = addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Part of an ASGI application."""
        if of_api(scope) and not self._addresses.request(address_of(scope)):
            await too_many_requests()(scope, receive, send)
            return
        await self._app(scope, receive, send)
