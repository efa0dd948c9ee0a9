"""Which processes the memory broker heard of, and which agents they offered.

The in-process twin of `announce.lua`. Times are seconds since the epoch, given by the caller.
"""

import math
from collections.abc import Mapping

from gateway.broker.base import GONE_S, OFFERED_S, Announced, Offered


class Announcements:
    """Records by process and descriptions by agent, each with the time it was last said."""

    def __init__(self) -> None:
        # process -> (when, record)
        self._processes: dict[str, tuple[float, bytes]] = {}
        # agent -> (when, description)
        self._agents: dict[str, tuple[float, bytes]] = {}

    def announce(self, process: str, record: bytes, now: float) -> None:
        self._processes = {p: r for p, r in self._processes.items() if r[0] > now - GONE_S}
        self._processes[process] = now, record

    def withdraw(self, process: str) -> None:
        self._processes.pop(process, None)

    def announced(self, now: float) -> list[Announced]:
        return [
            Announced(process, record, max(0.0, now - at))
            for process, (at, record) in self._processes.items()
            if at > now - GONE_S
        ]

    def offer(self, agents: Mapping[str, bytes], now: float) -> None:
        self._agents |= {name: (now, description) for name, description in agents.items()}

    def offered(self, now: float) -> Offered:
        """All there ever was is known: nobody else could have offered anything."""
        self._agents = {n: a for n, a in self._agents.items() if a[0] > now - OFFERED_S}
        agents = {name: description for name, (_, description) in self._agents.items()}
        return Offered(agents, -math.inf)
