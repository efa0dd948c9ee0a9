"""What the history checker judges: what clients sent and saw, and what is stored.

Values only. Lines are kept as they came, because invariant I3 is about bytes.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gateway.broker.base import Broker
from gateway.errors import BrokerUnavailable, Trimmed
from tests.support.waiting import eventually

Frame: TypeAlias = dict[str, Any]

DEV = "local:dev"
PAGE_EVENTS = 500


@dataclass(frozen=True)
class Violation:
    """A broken invariant: which one, where, and what was seen."""

    invariant: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.invariant} {self.where}: {self.text}"


@dataclass
class Record:
    """All that one client sent and saw.

    `connections` holds the raw lines that each of its connections brought, in order; a new
    connection has no subscriptions. `sent` holds each command once, whatever its repeats.
    """

    client: str
    principal: str = DEV
    connections: list[list[str]] = field(default_factory=list[list[str]])
    # command id -> the command
    sent: dict[str, Frame] = field(default_factory=dict[str, Frame])

    def frames(self) -> Iterator[Frame]:
        """Everything it saw, oldest first."""
        for lines in self.connections:
            for line in lines:
                yield json.loads(line)

    def answers(self) -> dict[str, list[Frame]]:
        """Command id -> its answers, oldest first."""
        found: dict[str, list[Frame]] = {}
        for frame in self.frames():
            if "time" not in frame and frame.get("id") in self.sent:
                found.setdefault(frame["id"], []).append(frame)
        return found


@dataclass(frozen=True)
class Log:
    """One session's log of one epoch as the broker has it: `bodies[i]` has seq `first + i`."""

    session: str
    epoch: str
    bodies: Sequence[bytes]
    first: int = 1
    owner: str = DEV

    @property
    def head(self) -> int:
        return self.first + len(self.bodies) - 1

    def body(self, seq: int) -> bytes | None:
        """The stored event of a seq; None if there is none, or no longer."""
        at = seq - self.first
        return self.bodies[at] if 0 <= at < len(self.bodies) else None

    def events(self) -> list[tuple[int, Frame]]:
        """(seq, event), decoded."""
        return [(seq, json.loads(body)) for seq, body in enumerate(self.bodies, self.first)]


async def stored(broker: Broker, session: str) -> Log:
    """The session's log, straight from the broker, as far back as it is kept.

    Read again while a busy machine keeps Redis from answering.
    """

    async def read() -> list[Log]:
        with suppress(BrokerUnavailable):
            return [await _read(broker, session)]
        return []

    (log,) = await eventually(read, within=3, what=f"the log of {session} is read")
    return log


async def _read(broker: Broker, session: str) -> Log:
    loaded = await broker.load(session)
    epoch, after = loaded.head.epoch, 0
    first = loaded.events[0][0] if loaded.events else loaded.head.seq + 1
    if loaded.snapshot_seq == 0 or await _reaches_back(broker, session):
        first = 1
    after = first - 1
    bodies: list[bytes] = []
    while page := await broker.read(session, after, PAGE_EVENTS, epoch=epoch):
        assert page[0][0] == after + 1, f"the log of {session} has a hole after {after}"
        bodies += [body for _, body in page]
        after = page[-1][0]
    return Log(session, epoch, bodies, first, loaded.owner)


async def _reaches_back(broker: Broker, session: str) -> bool:
    """Whether the log still begins with seq 1."""
    try:
        await broker.read(session, 0, 1)
    except Trimmed:
        return False
    return True
