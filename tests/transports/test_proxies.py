"""The client's address: the peer's, unless a proxy that is trusted names another."""

from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from gateway.transports.proxies import TOLD, TrustedProxies, address_of

PROXIES = ("10.0.0.0/24", "127.0.0.1", "2001:db8:f::/48")


async def seen(
    peer: str | None, *headers: tuple[str, str], kind: str = "http", proxies: Any = PROXIES
) -> Scope:
    """The scope that arrives behind the middleware."""
    arrived: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        arrived.append(scope)

    scope: Scope = {
        "type": kind,
        "scheme": "ws" if kind == "websocket" else "http",
        "client": None if peer is None else (peer, 5),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
    }
    receive: Any = None
    send: Any = None
    await TrustedProxies(app, proxies)(scope, receive, send)
    return arrived[0]


FOR = "X-Forwarded-For"


@pytest.mark.parametrize(
    ("peer", "lists", "address"),
    [
        ("127.0.0.1", ["8.8.8.8"], "8.8.8.8"),
        ("127.0.0.1", ["1.1.1.1, 8.8.8.8"], "8.8.8.8"),  # what the client has sent is no use
        ("127.0.0.1", ["1.1.1.1", "8.8.8.8"], "8.8.8.8"),
        ("127.0.0.1", ["1.1.1.1, 8.8.8.8, 10.0.0.7"], "8.8.8.8"),
        ("127.0.0.1", ["8.8.8.8", "10.0.0.7"], "8.8.8.8"),
        ("127.0.0.1", ["10.0.0.9, 10.0.0.7"], "10.0.0.9"),  # a proxy itself asks
        ("::ffff:127.0.0.1", ["8.8.8.8"], "8.8.8.8"),
        ("2001:db8:f::1", ["2001:DB8::1"], "2001:db8::1"),
        ("127.0.0.1", ["[2001:db8::1]:443"], "2001:db8::1"),
        ("127.0.0.1", ["8.8.8.8:12345"], "8.8.8.8"),
        ("127.0.0.1", ["::ffff:8.8.8.8"], "8.8.8.8"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", [""], "127.0.0.1"),
        ("127.0.0.1", ["unknown"], "127.0.0.1"),
        ("127.0.0.1", ["8.8.8.8, <script>"], "127.0.0.1"),
        ("127.0.0.1", ["8.8.8.8, \r\nx, 10.0.0.7"], "10.0.0.7"),
        ("127.0.0.1", ["1.1.1.1," * 5_000 + "8.8.8.8"], "8.8.8.8"),
        ("127.0.0.1", ["10.0.0.1," * 5_000 + "10.0.0.2"], "10.0.0.1"),
        ("9.9.9.9", ["8.8.8.8"], "9.9.9.9"),
        ("10.0.1.1", ["8.8.8.8"], "10.0.1.1"),
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_whom_it_takes_for_the_client(
    kind: str, peer: str, lists: list[str], address: str
) -> None:
    assert address_of(await seen(peer, *((FOR, one) for one in lists), kind=kind)) == address


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.0.0.7", "8.8.4.4"])
async def test_nobody_is_trusted_unless_named(peer: str) -> None:
    headers = [(FOR, "8.8.8.8"), ("X-Forwarded-Proto", "https")]
    scope = await seen(peer, *headers, proxies=())
    assert (address_of(scope), scope["scheme"], scope.get(TOLD)) == (peer, "http", None)


@pytest.mark.parametrize(
    "header", ["Forwarded", "X-Real-IP", "X-Client-IP", "CF-Connecting-IP", "True-Client-IP"]
)
async def test_no_other_header_is_believed(header: str) -> None:
    assert address_of(await seen("127.0.0.1", (header, "8.8.8.8"))) == "127.0.0.1"


@pytest.mark.parametrize(
    ("peer", "values", "kind", "scheme", "told"),
    [
        ("127.0.0.1", ["https"], "http", "https", "https"),
        ("127.0.0.1", ["HTTPS"], "websocket", "wss", "https"),
        ("127.0.0.1", ["https, http"], "http", "http", "http"),  # the last hop's word
        ("127.0.0.1", ["http", "https"], "http", "https", "https"),
        ("127.0.0.1", ["javascript"], "http", "http", None),
        ("9.9.9.9", ["https"], "http", "http", None),
    ],
)
async def test_the_scheme(
    peer: str, values: list[str], kind: str, scheme: str, told: str | None
) -> None:
    scope = await seen(peer, *(("X-Forwarded-Proto", value) for value in values), kind=kind)
    assert (scope["scheme"], scope.get(TOLD)) == (scheme, told)


@pytest.mark.parametrize("peer", [None, "testclient", "", "/run/gateway.sock"])
async def test_a_peer_without_an_address(peer: str | None) -> None:
    assert address_of(await seen(peer, (FOR, "8.8.8.8"))) == ""


async def test_a_lifespan_passes() -> None:
    assert (await seen(None, kind="lifespan"))["type"] == "lifespan"
