"""The HTTP routes (docs/protocol.md): what a WebSocket client asks, asked and answered once.

Bodies and answers are the frames of the native protocol as JSON; a refusal has the status that
`protocol.codes` gives it. No decision about a session is made here.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.auth import Grant
from gateway.delivery.connection import Delivery
from gateway.delivery.refusal import refusal
from gateway.delivery.subscriptions import granted
from gateway.sessions.store import Origin
from gateway.transports.access import access_routes
from gateway.transports.answers import (
    Json,
    bearer,
    path_session,
    read_body,
    refused,
    unreadable,
)
from gateway.transports.sse import EventsEndpoint
from protocol import commands as cmd
from protocol import frames as down
from protocol.codec import decode_session_command, encode
from protocol.detail import View
from protocol.errors import malformed
from protocol.state import newest
from protocol.values import Detail, Id

NO_TAB = ""  # a run of no tab is offered to all at once (docs/protocol.md)

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]


class Page(Struct, frozen=True):
    """The query of a list."""

    limit: cmd.Limit = 50
    before: Id | None = None


class Look(Struct, frozen=True):
    """The query of a state."""

    detail: Detail | None = None
    messages: int = 100


class Client(Struct, frozen=True):
    """Which tab a command comes from; without one all of HTTP is one client."""

    client: Id = NO_TAB


def api_routes(delivery: Delivery) -> list[BaseRoute]:
    """The routes under `/v1/sessions`, and those about tokens."""
    api = SessionsApi(delivery)
    guard = api.guarded
    one = "/v1/sessions/{session}"
    return [
        Route("/v1/sessions", guard(api.create), methods=["POST"]),
        Route("/v1/sessions", guard(api.list), methods=["GET"]),
        Route(one, guard(api.state), methods=["GET"]),
        Route(one, guard(api.delete), methods=["DELETE"]),
        Route(f"{one}/messages", guard(api.messages), methods=["GET"]),
        Route(f"{one}/commands", guard(api.command), methods=["POST"]),
        Route(f"{one}/events", EventsEndpoint(delivery), methods=["GET"]),
        *access_routes(delivery, guard),
    ]


class SessionsApi:
    """The handlers of `/v1/sessions`; each is given a request and its grant."""

    def __init__(self, delivery: Delivery) -> None:
        self._in = delivery

    def guarded(self, handler: Callable[[Request, Grant], Awaitable[Response]]) -> Handler:
        """The handler behind authentication; what it raises becomes an error response."""

        async def guarded(request: Request) -> Response:
            session = _known(request.path_params.get("session"))
            try:
                grant = await self._in.auth.authenticate(bearer(request))
                return await handler(request, grant)
            except HTTPException:
                raise
            except Exception as error:  # noqa: BLE001 - the top of a request; `refusal` logs
                return refused(refusal(error, None, session))

        return guarded

    async def create(self, request: Request, grant: Grant) -> Response:
        """`POST /v1/sessions`"""
        body = await self._object(request)
        fields = {"id": self._in.new_id("h"), **body, "type": "session.create"}
        ok = await self._submit(fields, body, grant)
        return Json(encode(ok), 200 if ok.existing else 201)

    async def command(self, request: Request, grant: Grant) -> Response:
        """`POST /v1/sessions/{session}/commands`"""
        body = await self._object(request)
        session = path_session(request)
        if body.get("session", session) != session:
            text = "The session is another one than the path's."
            raise malformed(text, "$.session", id=_id(body))
        fields = {"id": self._in.new_id("h"), **body, "session": session}
        return Json(encode(await self._submit(fields, body, grant)))

    async def delete(self, request: Request, grant: Grant) -> Response:
        """`DELETE /v1/sessions/{session}`"""
        command = cmd.SessionDelete(id=self._in.new_id("h"), session=path_session(request))
        ok = await self._in.store.submit(command, Origin(grant.principal, NO_TAB))
        return Json(encode(ok))

    async def list(self, request: Request, grant: Grant) -> Response:
        """`GET /v1/sessions`"""
        page = _query(request, Page)
        rows, more = await self._in.store.sessions(grant.principal, page.limit, page.before)
        return Json(encode({"sessions": rows, "more": more}))

    async def state(self, request: Request, grant: Grant) -> Response:
        """`GET /v1/sessions/{session}`"""
        look = _query(request, Look)
        session = await self._in.store.load(path_session(request), grant.principal)
        view = View(granted(look.detail, grant))
        return Json(encode(view.state(newest(session.state, max(0, look.messages)))))

    async def messages(self, request: Request, grant: Grant) -> Response:
        """`GET /v1/sessions/{session}/messages`"""
        page = _query(request, Page)
        return Json(encode(await self._page(path_session(request), page, grant)))

    async def _page(self, session: str, page: Page, grant: Grant) -> dict[str, Any]:
        messages, calls, more = await self._in.store.messages(
            session, grant.principal, page.before, page.limit
        )
        view = View(grant.detail)
        return {"messages": [view.message(m, calls) for m in messages], "more": more}

    async def _submit(self, fields: dict[str, Any], body: dict[str, Any], grant: Grant) -> down.Ok:
        """The command carried out. Raises `ProtocolError` with the id that the client gave it."""
        try:
            return await self._carry_out(fields, body, grant)
        except Exception as error:
            raise refusal(error, _id(body), None) from error

    async def _carry_out(
        self, fields: dict[str, Any], body: dict[str, Any], grant: Grant
    ) -> down.Ok:
        try:
            client = msgspec.convert({k: body[k] for k in ("client",) if k in body}, Client).client
        except msgspec.ValidationError:
            raise malformed("No valid client id.", "$.client") from None
        command = decode_session_command(encode(fields))
        if isinstance(command, cmd.SessionMessages):
            found = await self._page(command.session, Page(command.limit, command.before), grant)
            return down.Ok(id=command.id, **found)
        return await self._in.store.submit(command, Origin(grant.principal, client))

    async def _object(self, request: Request) -> dict[str, Any]:
        """The body, a JSON object. Raises `ProtocolError`."""
        body = await read_body(request, self._in.settings.max_frame_bytes)
        try:
            return msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError):
            raise malformed("The body is no JSON object.") from None


def _id(body: dict[str, Any]) -> str | None:
    """The command's id, if it has one."""
    return _known(body.get("id"))


def _known(value: object) -> str | None:
    """An id, if it is one: nothing else is echoed."""
    try:
        return msgspec.convert(value, Id)
    except msgspec.ValidationError:
        return None


def _query(request: Request, struct: type[T]) -> T:
    try:
        return msgspec.convert(dict(request.query_params), struct, strict=False)
    except msgspec.ValidationError as error:
        raise unreadable(error) from None
