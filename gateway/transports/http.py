"""The HTTP routes (docs/protocol.md): what a WebSocket client asks, asked and answered once.

Bodies and answers are the frames of the native protocol as JSON; a refusal has the status that
`protocol.codes` gives it. No decision about a session is made here.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway import audit
from gateway.auth import Grant
from gateway.broker.base import Share
from gateway.delivery.answers import carry_out
from gateway.delivery.delivery import Delivery
from gateway.delivery.refusal import refusal
from gateway.delivery.subscriptions import granted
from gateway.sessions.store import Origin
from gateway.transports.access import access_routes
from gateway.transports.agents import agents_routes
from gateway.transports.answers import (
    Json,
    path_session,
    queried,
    read_body,
    refused,
    unreadable,
)
from gateway.transports.grants import granted_to
from gateway.transports.sse import EventsEndpoint
from protocol import commands as cmd
from protocol import frames as down
from protocol.codec import decode_session_command, encode
from protocol.detail import View
from protocol.errors import malformed
from protocol.state import Message, newest
from protocol.values import Detail, Id

# As in tokens.
Subject = Annotated[str, Meta(pattern=r"^[!-~]{1,256}\Z", max_length=256)]
NO_TAB = ""  # a run of no tab is offered to all at once (docs/protocol.md)

Handler = Callable[[Request], Awaitable[Response]]


class Page(Struct, frozen=True):
    """The query of a list."""

    limit: cmd.Limit = 50
    before: Id | UnsetType = UNSET


class Look(Struct, frozen=True):
    """The query of a state."""

    detail: Detail | UnsetType = UNSET
    messages: Annotated[int, Meta(ge=0, le=10_000)] = 100


class Sessions(Struct, frozen=True):
    """A page of sessions, the newest first."""

    sessions: list[down.SessionRow]
    more: bool


class Messages(Struct, frozen=True):
    """A page of messages, the oldest first."""

    messages: list[Message]
    more: bool


class Client(Struct, frozen=True):
    """Which tab a command comes from; without one all of HTTP is one client."""

    client: Id = NO_TAB


class Sharing(Struct, frozen=True):
    """The body that says what a subject may do."""

    access: Share


class Shared(Struct, frozen=True):
    """With whom a session is shared, and what they may do."""

    subject: str
    access: Share


class Shares(Struct, frozen=True):
    """All with whom a session is shared, by their subjects."""

    shares: list[Shared]


class Unshared(Struct, frozen=True):
    """With whom it is shared no more."""

    subject: str


def api_routes(delivery: Delivery) -> list[BaseRoute]:
    """The routes under `/v1/sessions`, `/v1/agents`, and those about tokens."""
    api = SessionsApi(delivery)
    guard = api.guarded
    one = "/v1/sessions/{session}"
    return [
        by_method("/v1/sessions", POST=guard(api.create), GET=guard(api.list)),
        by_method(one, GET=guard(api.state), DELETE=guard(api.delete)),
        Route(f"{one}/messages", guard(api.messages), methods=["GET"]),
        Route(f"{one}/commands", guard(api.command), methods=["POST"]),
        Route(f"{one}/events", EventsEndpoint(delivery), methods=["GET"]),
        Route(f"{one}/shares", guard(api.shares), methods=["GET"]),
        by_method(
            f"{one}/shares/{{subject:path}}", PUT=guard(api.share), DELETE=guard(api.unshare)
        ),
        *agents_routes(delivery, guard),
        *access_routes(delivery, guard),
    ]


def by_method(path: str, **handlers: Handler) -> Route:
    """One route, so that for any other method `Allow` names them all."""

    async def handle(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await handlers[method](request)

    return Route(path, handle, methods=list(handlers))


class SessionsApi:
    """The handlers of `/v1/sessions`; each is given a request and its grant."""

    def __init__(self, delivery: Delivery) -> None:
        self._in = delivery

    def guarded(self, handler: Callable[[Request, Grant], Awaitable[Response]]) -> Handler:
        """The handler behind authentication; what it raises becomes an error response."""

        async def guarded(request: Request) -> Response:
            session = _known(request.path_params.get("session"))
            try:
                return await handler(request, await granted_to(request, self._in))
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
        ok = await carry_out(self._in.store, command, Origin(grant, NO_TAB))
        return Json(encode(ok))

    async def list(self, request: Request, grant: Grant) -> Response:
        """`GET /v1/sessions`"""
        page = queried(request, Page)
        rows, more = await self._in.store.sessions(grant, page.limit, page.before or None)
        return Json(encode(Sessions(rows, more)))

    async def state(self, request: Request, grant: Grant) -> Response:
        """`GET /v1/sessions/{session}`"""
        look = queried(request, Look)
        session = await self._in.store.load(path_session(request), grant)
        view = View(granted(look.detail or None, grant))
        return Json(encode(view.state(newest(session.state, look.messages))))

    async def messages(self, request: Request, grant: Grant) -> Response:
        """`GET /v1/sessions/{session}/messages`"""
        page = queried(request, Page)
        return Json(encode(await self._page(path_session(request), page, grant)))

    async def _page(self, session: str, page: Page, grant: Grant) -> Messages:
        messages, calls, more = await self._in.store.messages(
            session, grant, page.before or None, page.limit
        )
        view = View(grant.detail)
        return Messages([view.message(m, calls) for m in messages], more)

    async def shares(self, request: Request, grant: Grant) -> Response:
        """`GET /v1/sessions/{session}/shares`"""
        found = await self._in.store.sharing.of(path_session(request), grant)
        return Json(encode(Shares([Shared(*row) for row in sorted(found.items())])))

    async def share(self, request: Request, grant: Grant) -> Response:
        """`PUT /v1/sessions/{session}/shares/{subject}`"""
        session, subject = path_session(request), _subject(request)
        body = await self._object(request)
        try:
            access = msgspec.convert(body, Sharing).access
        except msgspec.ValidationError as error:
            raise unreadable(error) from None
        await self._in.store.sharing.set(session, grant, subject, access)
        audit.record(
            "share", "ok", grant.principal, session=session, with_subject=subject, access=access
        )
        return Json(encode(Shared(subject, access)))

    async def unshare(self, request: Request, grant: Grant) -> Response:
        """`DELETE /v1/sessions/{session}/shares/{subject}`"""
        session, subject = path_session(request), _subject(request)
        await self._in.store.sharing.set(session, grant, subject, None)
        audit.record("unshare", "ok", grant.principal, session=session, with_subject=subject)
        await self._in.control.look_again(session)
        return Json(encode(Unshared(subject)))

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
            page = Page(command.limit, command.before or UNSET)
            found = await self._page(command.session, page, grant)
            return down.Ok(id=command.id, messages=found.messages, more=found.more)
        return await carry_out(self._in.store, command, Origin(grant, client))

    async def _object(self, request: Request) -> dict[str, Any]:
        """The body, a JSON object. Raises `ProtocolError`."""
        body = await read_body(request, self._in.settings.max_frame_bytes)
        try:
            return msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError):
            raise malformed("The body is no JSON object.") from None


def _subject(request: Request) -> str:
    """The subject of the path. Raises `ProtocolError`."""
    try:
        return msgspec.convert(request.path_params["subject"], Subject)
    except msgspec.ValidationError:
        raise malformed("No subject has such a name.", "$.subject") from None


def _id(body: dict[str, Any]) -> str | None:
    """The command's id, if it has one."""
    return _known(body.get("id"))


def _known(value: object) -> str | None:
    """An id, if it is one: nothing else is echoed."""
    try:
        return msgspec.convert(value, Id)
    except msgspec.ValidationError:
        return None
