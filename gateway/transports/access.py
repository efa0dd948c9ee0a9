"""The HTTP routes about tokens: `POST /v1/tickets` and `POST /v1/revocations`
(docs/authentication.md).

And what a WebSocket handshake may bring of the kind: a ticket, or an Authorization header.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, cast

import msgspec
from msgspec import Meta, Struct
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.websockets import WebSocket

from gateway import audit
from gateway.auth import Grant
from gateway.delivery.delivery import Delivery
from gateway.delivery.identify import identify, measured
from gateway.delivery.revocations import Revoke, revoke
from gateway.delivery.tickets import TTL_S
from gateway.transports.answers import Json, bearer, read_body, unreadable
from protocol.codec import encode
from protocol.errors import ProtocolError, malformed

SCOPE = "admin"
TICKET_PROTOCOL = "agent-gateway.ticket."
"""Before a ticket among the subprotocols: the one header a page can set."""
MAX_BODY_BYTES = 4_096

Guard = Callable[
    [Callable[[Request, Grant], Awaitable[Response]]], Callable[[Request], Awaitable[Response]]
]
Name = Annotated[str, Meta(min_length=1, max_length=256)]


class Ticket(Struct, frozen=True):
    """What a ticket's buyer is answered."""

    ticket: str
    expires_in_ms: int


class Revoked(Struct, frozen=True):
    """What is answered when it is stored."""


class Wanted(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a revocation: a token by its `jti`, a subject, or a tenant."""

    token: Name | None = None
    subject: Name | None = None
    tenant: Name | None = None


def access_routes(delivery: Delivery, guard: Guard) -> list[BaseRoute]:
    """The two routes; `guard` authenticates and turns what is raised into answers."""
    access = Access(delivery)
    return [
        Route("/v1/tickets", guard(access.ticket), methods=["POST"]),
        Route("/v1/revocations", guard(access.revocation), methods=["POST"]),
    ]


class Access:
    """The handlers; each is given a request and its grant."""

    def __init__(self, delivery: Delivery) -> None:
        self._in = delivery

    async def ticket(self, request: Request, grant: Grant) -> Response:
        """`POST /v1/tickets`"""
        ticket = await self._in.tickets.sell(grant, request.headers.get("origin"))
        return Json(encode(Ticket(ticket, int(TTL_S * 1000))))

    async def revocation(self, request: Request, grant: Grant) -> Response:
        """`POST /v1/revocations`: what an `admin` may end is what is of its tenant."""
        mine = grant.principal
        if SCOPE not in grant.scopes:
            audit.record("revoke", "refused", mine)
            raise ProtocolError("auth.forbidden", f"It takes a token with the scope {SCOPE}.")
        wanted = _wanted(await read_body(request, MAX_BODY_BYTES))
        if wanted.tenant not in (None, mine.tenant):
            audit.record("revoke", "refused", mine, of_tenant=wanted.tenant)
            raise ProtocolError("auth.forbidden", "It is of another tenant.")
        now = self._in.store.broker.now()
        until = now + self._in.settings.revoked_for_ms / 1000
        word = Revoke(mine.tenant, now, until, wanted.subject, wanted.token)
        await revoke(self._in.store.broker, word)
        self._in.revocations.learn(word)
        audit.record("revoke", "ok", mine, of_subject=word.subject, token_id=word.token_id)
        return Json(encode(Revoked()))


def _wanted(body: bytes) -> Wanted:
    try:
        wanted = msgspec.json.decode(body, type=Wanted)
    except msgspec.ValidationError as error:
        raise unreadable(error) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError):
        raise malformed("The body is no JSON object.") from None
    if (wanted.token is None) == (wanted.subject is None) and (
        wanted.token is not None or wanted.tenant is None
    ):
        raise malformed("It names either a token, or a subject, or a tenant.")
    return wanted


def offered_protocols(socket: WebSocket) -> list[str]:
    """Without the ticket: that is none, and is never echoed."""
    offered = cast("list[str]", socket.scope.get("subprotocols", []))
    return [name for name in offered if not name.startswith(TICKET_PROTOCOL)]


async def invited(socket: WebSocket, delivery: Delivery, address: str) -> Grant | None:
    """What the handshake grants, by its ticket or its Authorization header; None: it has neither.

    Raises:
        ProtocolError: what it brings is not good, or it must bring something.
        BrokerUnavailable: nobody knows of the ticket.
    """
    if (ticket := _ticket(socket)) is not None:

        async def redeem() -> Grant:
            grant = await delivery.tickets.redeem(ticket, socket.headers.get("origin"))
            await delivery.revocations.known()
            delivery.revocations.check(grant)
            return grant

        return await measured(redeem, delivery.addresses, address)
    if (token := bearer(socket)) is not None:
        return await identify(delivery.auth, delivery.addresses, token, address)
    if delivery.settings.auth_at_handshake:
        raise ProtocolError("auth.required")
    return None


def _ticket(socket: HTTPConnection) -> str | None:
    """Of the subprotocols, or of the query: good once, it may stand in an address."""
    for name in cast("list[str]", socket.scope.get("subprotocols", [])):
        if name.startswith(TICKET_PROTOCOL):
            return name.removeprefix(TICKET_PROTOCOL)
    return socket.query_params.get("ticket")
