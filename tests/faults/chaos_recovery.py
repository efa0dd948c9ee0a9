"""I8: how long each kind of fault kept its clients from seeing events, and the table of it.

Values only. A fault *began* at some time and its cause was over when it *ended* (the process was
ready again, the link was healed). Counted from the beginning:

- a replica or its link: until each client that was connected there is subscribed again elsewhere,
  or sees an event after the end;
- Redis: until each client with a running run sees an event, or is given the state, after the end;
- a worker: until `run.retrying` or `run.resumed` of each run that moved to another one.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.faults.chaos_schedule import Fault
from tests.faults.chaos_visitor import Sighting

TAKEOVERS = frozenset({"run.retrying", "run.resumed"})
UNDISTURBED = frozenset({"redis delayed", "clients delayed"})
"""Nobody is cut off by these: there is nothing to recover from."""


@dataclass(frozen=True)
class Struck:
    """A fault that happened; `affected`: names of clients, for a worker ids of runs."""

    fault: Fault
    began: float
    ended: float
    affected: frozenset[str]


@dataclass(frozen=True)
class Recovery:
    """All recoveries from one kind of fault, in seconds, sorted."""

    kind: str
    faults: int
    seconds: Sequence[float]

    def percentile(self, share: float) -> float:
        """The smallest time that this share of recoveries took at most."""
        return self.seconds[max(0, math.ceil(share * len(self.seconds)) - 1)]


def recoveries(
    struck: Iterable[Struck], sightings: Mapping[str, Sequence[Sighting]]
) -> Iterator[Recovery]:
    """By kind of fault; `sightings` by the name of the client."""
    by_kind: defaultdict[str, list[Struck]] = defaultdict(list)
    for each in struck:
        if each.fault.kind not in UNDISTURBED:
            by_kind[each.fault.kind].append(each)
    takeovers = _takeovers([s for f in by_kind.values() for s in f], sightings)
    for kind, faults in sorted(by_kind.items()):
        seconds: list[float] = []
        for each in faults:
            if each.fault.party == "worker":
                seconds += takeovers[id(each)]
            else:
                seconds += _seen_again(each, sightings)
        yield Recovery(kind, len(faults), sorted(seconds))


def _seen_again(struck: Struck, sightings: Mapping[str, Sequence[Sighting]]) -> Iterator[float]:
    again = "subscribed" if struck.fault.party == "replica" else None
    for name in struck.affected:
        for sighting in sightings[name]:
            if sighting.at > struck.ended or (
                sighting.at > struck.began and sighting.type == again
            ):
                yield sighting.at - struck.began
                break


def _takeovers(
    struck: Sequence[Struck], sightings: Mapping[str, Sequence[Sighting]]
) -> defaultdict[int, list[float]]:
    """By the id of the fault: the newest of a worker before a takeover is what caused it."""
    seen = (s for each in sightings.values() for s in each if s.type in TAKEOVERS)
    found: defaultdict[int, list[float]] = defaultdict(list)
    counted: set[tuple[int, str | None]] = set()
    for sighting in sorted(seen, key=lambda s: s.at):
        before = [s for s in struck if s.fault.party == "worker" and s.began < sighting.at]
        cause = max(before, key=lambda s: s.began, default=None)
        if cause and sighting.run in cause.affected and (id(cause), sighting.run) not in counted:
            counted.add((id(cause), sighting.run))
            found[id(cause)].append(sighting.at - cause.began)
    return found


def table(found: Iterable[Recovery]) -> str:
    """One line a kind."""
    lines = [
        f"{'fault':<18} {'faults':>6} {'recoveries':>10} {'p50 s':>7} {'p99 s':>7} {'max s':>7}"
    ]
    for each in found:
        times = [each.percentile(share) for share in (0.5, 0.99, 1)] if each.seconds else []
        figures = " ".join(f"{time:7.2f}" for time in times)
        lines.append(f"{each.kind:<18} {each.faults:>6} {len(each.seconds):>10} {figures}")
    return "\n".join(lines)
