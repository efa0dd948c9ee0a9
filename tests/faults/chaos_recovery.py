"""I8: how long each kind of fault kept clients from seeing events, and whether it was too long.

Values only. A fault *began* at some time and its cause was over when it *ended* (the process was
ready again, the link was healed). Counted from the beginning:

- a replica or its link: until each client that was connected there is subscribed again elsewhere,
  or sees an event after the end;
- Redis: until each client with a running run sees an event, or is given the state, after the end;
- a worker: until `run.retrying` or `run.resumed` of each run that moved to another one.

What docs/reliability.md promises holds for one fault at a time. A recovery that no other fault
disturbed must keep it, times `SLOW`, and the median of such must be within what is promised.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.faults.chaos_schedule import Fault
from tests.faults.chaos_visitor import SILENCE_S, Sighting
from tests.faults.clients import LONGEST_BACKOFF_S
from tests.faults.record import Violation

TAKEOVERS = frozenset({"run.retrying", "run.resumed"})
UNDISTURBED = frozenset({"redis delayed", "clients delayed"})
"""Nobody is cut off by these: there is nothing to recover from."""

SLOW = 3.0
"""The margin of a machine that has two cores for 200 clients, their judge and seven processes."""
ENOUGH = 20
"""A median of fewer recoveries says nothing."""


@dataclass(frozen=True)
class Struck:
    """A fault that happened; `affected`: names of clients, for a worker ids of runs."""

    fault: Fault
    began: float
    ended: float
    affected: frozenset[str]


@dataclass(frozen=True)
class Promise:
    """How long a recovery may take, by kind of fault; docs/reliability.md has the table.

    Of lease and drain it is what the run's processes were told; the backoff is its clients'.
    """

    lease_s: float
    drain_s: float

    def after(self, kind: str) -> float:
        """Seconds beyond those that the fault itself lasted (`lasting`)."""
        party, what = kind.split()
        if party == "worker":
            return self.drain_s + 1 if what == "restarted" else self.lease_s + 2
        if party == "redis":
            return 2.0
        if what == "restarted":
            return self.drain_s + 2 + LONGEST_BACKOFF_S
        return (2 if what == "killed" else 1) + LONGEST_BACKOFF_S

    def lasting(self, struck: Struck) -> float:
        """How long nothing can be expected: clients and runs go elsewhere where they can."""
        party, what = struck.fault.kind.split()
        if party == "worker" or (party == "replica" and what in ("killed", "restarted")):
            return 0.0
        outage = struck.ended - struck.began
        return outage if party == "redis" else min(outage, SILENCE_S)


@dataclass(frozen=True)
class Regained:
    """One client, or one run, that recovered from a fault; `alone`: no other fault disturbed it."""

    struck: Struck
    who: str
    seconds: float
    alone: bool


@dataclass(frozen=True)
class Recovery:
    """All recoveries from one kind of fault, in seconds, sorted; `alone`: the undisturbed."""

    kind: str
    faults: int
    seconds: Sequence[float]
    alone: Sequence[Regained] = ()

    def percentile(self, share: float) -> float:
        """The smallest time that this share of recoveries took at most."""
        return self.seconds[max(0, math.ceil(share * len(self.seconds)) - 1)]


def recoveries(
    struck: Sequence[Struck], sightings: Mapping[str, Sequence[Sighting]], promise: Promise
) -> Iterator[Recovery]:
    """By kind of fault; `sightings` by the name of the client."""
    by_kind: defaultdict[str, list[Regained]] = defaultdict(list)
    for each in _regained(struck, sightings, promise):
        by_kind[each.struck.fault.kind].append(each)
    kinds = {s.fault.kind for s in struck} - UNDISTURBED
    for kind in sorted(kinds):
        found = by_kind[kind]
        yield Recovery(
            kind,
            sum(s.fault.kind == kind for s in struck),
            sorted(each.seconds for each in found),
            [each for each in found if each.alone],
        )


def overdue(found: Iterable[Recovery], promise: Promise) -> Iterator[Violation]:
    """I8: what took longer than is promised, though nothing else happened."""
    for recovery in found:
        after = promise.after(recovery.kind)
        needed = sorted(each.seconds - promise.lasting(each.struck) for each in recovery.alone)
        if len(needed) >= ENOUGH and (median := needed[len(needed) // 2]) > after:
            text = f"half of {len(needed)} took {median:.1f} s and more, promised are {after:.1f}"
            yield Violation("I8", recovery.kind, text)
        for each in recovery.alone:
            took = each.seconds - promise.lasting(each.struck)
            if took > SLOW * after:
                text = f"{each.who} took {took:.1f} s, promised are {after:.1f}"
                yield Violation("I8", f"{each.struck.fault}", text)


def _regained(
    struck: Sequence[Struck], sightings: Mapping[str, Sequence[Sighting]], promise: Promise
) -> Iterator[Regained]:
    faults = [each for each in struck if each.fault.kind not in UNDISTURBED]
    takeovers = _takeovers(faults, sightings)
    for each in faults:
        worker = each.fault.party == "worker"
        for who, seconds in takeovers[id(each)] if worker else _seen_again(each, sightings):
            end = each.began + seconds
            alone = not any(
                other.began < end and each.began < other.ended + promise.after(other.fault.kind)
                for other in struck
                if other is not each
            )
            yield Regained(each, who, seconds, alone)


def _seen_again(
    struck: Struck, sightings: Mapping[str, Sequence[Sighting]]
) -> Iterator[tuple[str, float]]:
    again = "subscribed" if struck.fault.party == "replica" else None
    for name in struck.affected:
        for sighting in sightings[name]:
            if sighting.at > struck.ended or (
                sighting.at > struck.began and sighting.type == again
            ):
                yield name, sighting.at - struck.began
                break


def _takeovers(
    struck: Sequence[Struck], sightings: Mapping[str, Sequence[Sighting]]
) -> defaultdict[int, list[tuple[str, float]]]:
    """By the id of the fault: the newest of a worker before a takeover is what caused it."""
    seen = (s for each in sightings.values() for s in each if s.type in TAKEOVERS)
    found: defaultdict[int, list[tuple[str, float]]] = defaultdict(list)
    counted: set[tuple[int, str]] = set()
    for sighting in sorted(seen, key=lambda s: s.at):
        before = [s for s in struck if s.fault.party == "worker" and s.began < sighting.at]
        cause, run = max(before, key=lambda s: s.began, default=None), sighting.run
        if cause and run in cause.affected and (id(cause), run) not in counted:
            assert run is not None
            counted.add((id(cause), run))
            found[id(cause)].append((run, sighting.at - cause.began))
    return found


def table(found: Iterable[Recovery]) -> str:
    """One line a kind; `alone`: how many of the recoveries no other fault disturbed."""
    columns = ("faults", "recoveries", "p50 s", "p99 s", "max s", "alone", "max s")
    lines = [f"{'fault':<18} " + " ".join(f"{column:>{len(column) + 2}}" for column in columns)]
    for each in found:
        times = [each.percentile(share) for share in (0.5, 0.99, 1)] if each.seconds else []
        alone = max((one.seconds for one in each.alone), default=math.nan)
        figures = "".join(f"{time:8.2f}" for time in times)
        lines.append(
            f"{each.kind:<18} {each.faults:>8} {len(each.seconds):>12}{figures or ' ' * 24} "
            f"{len(each.alone):>7}{alone:8.2f}"
        )
    return "\n".join(lines)
