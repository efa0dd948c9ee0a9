"""Where a request comes from: the peer of the socket, or whom a trusted proxy names.

`X-Forwarded-For` is a list to which every proxy appends whom it heard; only what trusted proxies
have appended is believed, so it is read from the right. Nothing else that is forwarded is read: no
`Forwarded`, no `X-Real-IP`, no `X-Forwarded-Host`.
"""

import ipaddress
from collections.abc import Iterable, MutableMapping
from typing import Any, TypeAlias

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
SCHEMES = {"http": "ws", "https": "wss"}
MAX_HOPS = 32
TOLD = "gateway.scheme"
"""The key of a scope under which a trusted proxy's scheme stands: what pages of ours have."""


def address_of(scope: MutableMapping[str, Any]) -> str:
    """The client's address in its one spelling; empty if it has none (a unix socket)."""
    client = scope.get("client")
    address = _parsed(client[0]) if client else None
    return "" if address is None else str(address)


class TrustedProxies:
    """Puts the client's address and scheme into the scope, where a trusted proxy tells them."""

    def __init__(self, app: ASGIApp, proxies: Iterable[str]) -> None:
        self._app = app
        self._networks = [ipaddress.ip_network(proxy) for proxy in proxies]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Part of an ASGI application."""
        if self._networks and scope["type"] != "lifespan":
            peer = _parsed(address_of(scope))
            if peer is not None and self._trusts(peer):
                self._believe(scope, peer)
        await self._app(scope, receive, send)

    def _believe(self, scope: Scope, peer: Address) -> None:
        headers = Headers(scope=scope)
        client = self._client(peer, headers.getlist("x-forwarded-for"))
        if client != peer:
            scope["client"] = (str(client), 0)
        schemes = ",".join(headers.getlist("x-forwarded-proto")).lower().split(",")
        if (scheme := schemes[-1].strip()) in SCHEMES:
            scope["scheme"] = SCHEMES[scheme] if scope["type"] == "websocket" else scheme
            scope[TOLD] = scheme

    def _client(self, peer: Address, lists: list[str]) -> Address:
        """The last one that is no trusted proxy; what cannot be read ends the way there."""
        hops = ",".join(lists).rsplit(",", MAX_HOPS)[-MAX_HOPS:]
        for hop in reversed(hops):
            address = _parsed(hop.strip())
            if address is None:
                return peer
            peer = address
            if not self._trusts(peer):
                return peer
        return peer

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _parsed(text: str) -> Address | None:
    """An address, with or without a port; IPv4 also where it is written as IPv6."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
