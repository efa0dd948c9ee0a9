"""What is done to every product, ours too."""

import msgspec

from loadtest.peers.publisher import room_name
from loadtest.result import Option


class Case(msgspec.Struct, frozen=True):
    """One room is a broadcast to all sockets; more rooms have one receiver each.

    `outstanding` 0: connections are held, nothing is published.
    """

    scenario: str
    sockets: int
    rooms: int
    outstanding: int

    @property
    def title(self) -> str:
        """The head of its column."""
        if not self.outstanding:
            return f"{self.scenario}: {self.sockets:,} connections"
        if self.rooms == 1:
            return f"{self.scenario} to {self.sockets:,}, {self.outstanding} outstanding"
        where = f"{self.rooms:,} sessions over {self.sockets:,} sockets"
        return f"{self.scenario}: {where}, {self.outstanding} outstanding"

    @property
    def options(self) -> dict[str, Option]:
        """What tells its results from those of other cases."""
        return {"case": self.title, "rooms": self.rooms, "outstanding": self.outstanding}

    def rooms_of(self, receiver: int) -> list[str]:
        """What this receiver joins."""
        if self.rooms == 1:
            return [room_name(0)]
        return [room_name(room) for room in range(receiver, self.rooms, self.sockets)]


CASES = (
    Case("broadcast", sockets=100, rooms=1, outstanding=1),
    Case("broadcast", sockets=100, rooms=1, outstanding=16),
    Case("broadcast", sockets=1_000, rooms=1, outstanding=16),
    Case("multiplex", sockets=100, rooms=1_000, outstanding=256),
    Case("idle", sockets=4_000, rooms=4_000, outstanding=0),
)
