"""What HTTP requests and their answers share: the token, frames as JSON, refusals with a status."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from protocol.codec import error_frame
from protocol.codes import ERRORS
from protocol.errors import ProtocolError, excerpt, malformed


class Json(Response):
    """A frame as a response."""

    media_type = "application/json"

    def __init__(self, frame: bytes, status: int = 200, **headers: str) -> None:
        super().__init__(frame, status, {"Cache-Control": "no-store", **headers})


def refused(error: ProtocolError) -> Response:
    """The `error` frame with the status of its code."""
    status = ERRORS[error.code].http_status
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return Json(error_frame(error), status, **headers)


def bearer(request: Request) -> str | None:
    """The token of the request; never from its URL, which ends up in logs."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def unreadable(error: msgspec.ValidationError) -> ProtocolError:
    """The refusal of a query with a wrong field; `details.path` names it."""
    text, _, path = str(error).partition(" - at `")
    return malformed(f"{excerpt(text, 128)}.", excerpt(path.rstrip("`") or "$", 128))
