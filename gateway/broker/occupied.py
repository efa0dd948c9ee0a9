"""Which sessions of a principal are busy: the in-process twin of `occupy.lua` and `vacate.lua`.

Values alone: no clock, no promise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Busy:
    # session -> its version before it became busy
    sessions: dict[str, int] = field(default_factory=dict[str, int])
    until: float = 0.0
    looked_until: float = 0.0


class Occupied:
    """The busy sessions by owner."""

    def __init__(self) -> None:
        self._busy: dict[str, _Busy] = {}

    def enter(
        self,
        owner: str,
        session: str,
        version: int,
        *,
        most: int,
        now: float,
        until: float,
        look_s: float,
    ) -> Sequence[str] | None:
        """None: it is in. Else those that are; empty if they were looked through lately."""
        busy = self._busy.get(owner)
        if busy is None or busy.until <= now:
            busy = self._busy[owner] = _Busy()
        if session not in busy.sessions and len(busy.sessions) >= most:
            if busy.looked_until > now:
                return []
            busy.looked_until = now + look_s
            return list(busy.sessions)
        busy.sessions[session] = version
        busy.until = until
        return None

    def leave(self, owner: str, session: str, version: int) -> None:
        """It was not busy at `version`."""
        busy = self._busy.get(owner)
        if busy is None or busy.sessions.get(session, version) >= version:
            return
        del busy.sessions[session]
        if not busy.sessions:
            del self._busy[owner]
