"""Error and close codes: two flat tables, the contract with every client.

Nothing but the tables belongs here. A code that is not in them must never leave the server.
"""

from typing import NamedTuple


class ErrorCode(NamedTuple):
    """One row: may the same request be sent again, its HTTP status, its text for people."""

    retryable: bool
    http_status: int
    text: str


ERRORS: dict[str, ErrorCode] = {
    # requests
    "frame.malformed": ErrorCode(False, 400, "The frame is malformed."),
    "frame.unknown_type": ErrorCode(False, 400, "The frame's type is unknown."),
    "frame.too_large": ErrorCode(False, 413, "The frame is too large."),
    "command.conflict": ErrorCode(False, 409, "The command id was used with another body."),
    "auth.required": ErrorCode(False, 401, "Authentication is required."),
    "auth.invalid": ErrorCode(False, 401, "The token is not valid."),
    "auth.expired": ErrorCode(False, 401, "The token has expired."),
    "auth.forbidden": ErrorCode(False, 403, "This is not allowed."),
    "auth.unavailable": ErrorCode(True, 503, "Tokens cannot be checked now; try again."),
    "rate.limited": ErrorCode(True, 429, "Too many requests; slow down."),
    "limit.exceeded": ErrorCode(False, 409, "A limit is reached."),
    "session.not_found": ErrorCode(False, 404, "There is no such session."),
    "session.exists": ErrorCode(False, 409, "The session exists already."),
    "session.busy": ErrorCode(False, 409, "The session has a live run."),
    "agent.not_found": ErrorCode(False, 404, "There is no such agent."),
    "message.unknown": ErrorCode(False, 404, "There is no such message."),
    "run.not_active": ErrorCode(False, 409, "There is no run to stop."),
    "tool.unknown": ErrorCode(False, 404, "There is no such tool call."),
    "tool.held": ErrorCode(False, 409, "The call is held by another tab."),
    "tool.closed": ErrorCode(False, 409, "The call is closed."),
    "approval.unknown": ErrorCode(False, 404, "There is no such approval."),
    "approval.closed": ErrorCode(False, 409, "The approval is already resolved."),
    "cursor.invalid": ErrorCode(False, 400, "The cursor is not valid."),
    "broker.unavailable": ErrorCode(True, 503, "The broker is unavailable; try again."),
    "server.draining": ErrorCode(True, 503, "The server is shutting down; reconnect."),
    "internal": ErrorCode(True, 500, "An internal error; try again."),
    # inside events
    "tool.timeout": ErrorCode(False, 504, "The tool did not answer in time."),
    "tool.no_client": ErrorCode(False, 504, "No client took the tool call."),
    "tool.failed": ErrorCode(False, 500, "The tool failed."),
    "tool.denied": ErrorCode(False, 403, "The call was denied."),
    "tool.cancelled": ErrorCode(False, 409, "The run was cancelled."),
    "tool.outcome_unknown": ErrorCode(False, 504, "The tab vanished; the outcome is unknown."),
    "agent.failed": ErrorCode(False, 500, "The agent failed."),
    "model.failed": ErrorCode(False, 502, "The model failed."),
    "worker.lost": ErrorCode(False, 500, "The worker of the run was lost."),
    "run.diverged": ErrorCode(False, 500, "The agent did not repeat its earlier steps."),
    "run.expired": ErrorCode(False, 504, "The run took too long."),
}


class CloseCode(NamedTuple):
    """One row: is it final for the client, and what it means."""

    final: bool
    text: str


CLOSES: dict[int, CloseCode] = {
    1001: CloseCode(False, "going away"),
    1009: CloseCode(False, "message too large"),
    1012: CloseCode(False, "restart"),
    1013: CloseCode(False, "overloaded"),
    4400: CloseCode(True, "protocol abuse"),
    4401: CloseCode(True, "not authenticated"),
    4403: CloseCode(True, "forbidden"),
    4406: CloseCode(True, "no common version"),
    4409: CloseCode(True, "superseded"),
    4454: CloseCode(False, "no hello in time"),
    4457: CloseCode(False, "no pong"),
    4458: CloseCode(False, "slow consumer"),
    4479: CloseCode(False, "rate limited"),
    4480: CloseCode(False, "too many connections"),
}


def close_is_final(code: int) -> bool:
    """Whether a client must not reconnect: 4400 to 4449; the range, not the table, decides."""
    return 4400 <= code <= 4449
