"""The process record: what a process says of itself to the others, as JSON.

Processes of other versions read it too: fields are only added, and what cannot be read is skipped.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.broker.base import Announced

Role = Literal["gateway", "worker", "both"]
"""`gateway`: serves clients and executes no runs; `worker`: the other way round."""

MAX_DESCRIPTION = 1_000
"""Characters of an agent's description; a longer one is cut."""


class AgentOffer(Struct, frozen=True, omit_defaults=True):
    """An agent that a process executes runs of."""

    name: str
    description: str | None = None
    """For people, in a sentence."""

    @classmethod
    def of(cls, name: str, description: object) -> "AgentOffer":
        """Takes any object's `description`: of an agent of one's own it may be anything."""
        if not isinstance(description, str) or not description.strip():
            return cls(name)
        return cls(name, description.strip()[:MAX_DESCRIPTION])


class ProcessRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One process."""

    id: str
    role: Role
    version: str
    started: str
    agents: list[AgentOffer] = []


encode_record = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ProcessRecord).decode


def records(announced: Iterable[Announced]) -> Iterator[ProcessRecord]:
    """Those that this version can read."""
    for one in announced:
        try:
            yield _decode(one.record)
        except (msgspec.DecodeError, UnicodeError):
            continue
