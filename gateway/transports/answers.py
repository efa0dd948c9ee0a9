"""What HTTP requests and answers share: token, body, path and query, frames as JSON, refusals."""

import asyncio
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Scope

from protocol.codec import error_frame
from protocol.codes import ERRORS
from protocol.errors import ProtocolError, excerpt, malformed
from protocol.values import Id

BODY_S = 30.0
FOR_STATUS = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}}
T = TypeVar("T")


class Json(Response):
    """A frame as a response."""

    media_type = "application/json"

    def __init__(self, frame: bytes, status: int = 200, **headers: str) -> None:
        super().__init__(frame, status, {"Cache-Control": "no-store", **headers})


def refused(error: ProtocolError) -> Response:
    """The `error` frame with the status of its code."""
    status = ERRORS[error.code].http_status
    return Json(error_frame(error), status, **FOR_STATUS.get(status, {}))


def too_many_requests() -> Response:
    """Too many from this address."""
    return refused(ProtocolError("rate.limited"))


def not_let_in(after_s: int) -> Response:
    """The process has enough to do: come again in so many seconds."""
    return PlainTextResponse(
        "Too many connections; come again later.\n", 503, {"Retry-After": str(after_s)}
    )


def of_api(scope: Scope) -> bool:
    """Whether it is a request under `/v1/`, wherever the gateway is mounted."""
    if scope["type"] != "http":
        return False
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return path.startswith("/v1/")


def bearer(request: HTTPConnection) -> str | None:
    """The token of the request; never from its URL, which ends up in logs."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


async def read_body(request: Request, limit: int) -> bytes:
    """The body, of at most so many bytes. Raises `ProtocolError`."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise ProtocolError("frame.too_large", f"The limit is {limit} bytes.")
    except TimeoutError:
        raise malformed("The body did not come in time.") from None
    except ClientDisconnect:
        raise malformed("The client went away before the body had come.") from None
    return bytes(body)


def path_session(request: Request) -> str:
    """The session of the path. Raises `ProtocolError`: what is no id is no session either."""
    try:
        return msgspec.convert(request.path_params["session"], Id)
    except msgspec.ValidationError:
        raise ProtocolError("session.not_found") from None


def unreadable(error: msgspec.ValidationError) -> ProtocolError:
    """The refusal of a query or body with a wrong field; `details.path` names it."""
    text, _, path = str(error).partition(" - at `")
    return malformed(f"{excerpt(text, 128)}.", excerpt(path.rstrip("`") or "$", 128))


def queried(request: Request, struct: type[T], **more: str) -> T:
    """The query as `struct`, which leaves out what has no value. Raises `ProtocolError`.

    `more` wins over the query.
    """
    try:
        return msgspec.convert({**request.query_params, **more}, struct, strict=False)
    except msgspec.ValidationError as error:
        raise unreadable(error) from None
