"""The one place where an exception of the gateway's machinery becomes a refusal for a client."""

import logging

from gateway.errors import BrokerError, BrokerUnavailable, SessionMissing
from protocol.errors import ProtocolError

log = logging.getLogger("gateway.delivery")


def refusal(error: Exception, id: str | None, session: str | None) -> ProtocolError:  # noqa: A002 - the wire's name
    """The refusal to answer with; it says nothing of the inside, the log does."""
    if isinstance(error, ProtocolError):
        error.id = error.id or id
        error.session = error.session or session
        return error
    if isinstance(error, BrokerUnavailable):
        return ProtocolError("broker.unavailable", id=id, session=session)
    if isinstance(error, SessionMissing):
        text = f"There is no session {session}."
        return ProtocolError("session.not_found", text, id=id, session=session)
    kind = "the broker refused it" if isinstance(error, BrokerError) else "a command failed"
    log.error("%s (command %s, session %s)", kind, id, session, exc_info=error)
    return ProtocolError("internal", id=id, session=session)
