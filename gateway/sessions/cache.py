"""Folded sessions that this process keeps, so that a load reads only what came since.

A least-recently-used map bounded by bytes. What is in it is at some seq of its log and is brought
to the head before use; whoever takes a session out owns it until it is put back.
"""

from collections import OrderedDict

from gateway.sessions.session import Session


class SessionCache:
    """Session id -> folded session, at most `max_bytes` of them (estimated)."""

    def __init__(self, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._sessions: OrderedDict[str, tuple[Session, int]] = OrderedDict()

    def take(self, session: str) -> tuple[Session | None, int]:
        """Removes and returns a session and its estimated bytes, (None, 0) if it is not there."""
        found = self._sessions.pop(session, None)
        if found is None:
            return None, 0
        self._bytes -= found[1]
        return found

    def put(self, session: Session, size: int) -> None:
        """Keeps a session of about `size` bytes; the ones not used for longest go."""
        name = session.state.session
        self.take(name)
        self._sessions[name] = (session, size)
        self._bytes += size
        while self._bytes > self._max_bytes and len(self._sessions) > 1:
            _, (_, freed) = self._sessions.popitem(last=False)
            self._bytes -= freed
