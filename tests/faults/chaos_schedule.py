"""What happens when in a chaos run: a function of the seed, so a run can be had again.

Values only: no process, no clock. The same seed and length give the same faults at the same times;
what the machine makes of them (which append was in flight) differs from run to run.
"""

import random
from dataclasses import dataclass
from typing import Literal, TypeAlias

Party: TypeAlias = Literal["replica", "worker", "redis"]

REPLICAS = WORKERS = 2
GAP_S = 1.4
"""On average from one fault to the next: most overlap others."""

QUIET_S = 1.0
"""Nothing happens at the beginning of a run, so that faults hit work."""


@dataclass(frozen=True)
class Kind:
    """One kind of fault: whom it hits, how long it lasts, how often it is drawn."""

    name: str
    party: Party
    shortest_s: float
    longest_s: float
    cards: int = 1


KINDS = (
    Kind("replica killed", "replica", 0.1, 2.0, cards=2),
    Kind("replica restarted", "replica", 0.0, 0.0),
    Kind("replica stopped", "replica", 0.5, 6.0),
    Kind("worker killed", "worker", 0.1, 1.0, cards=2),
    Kind("worker restarted", "worker", 0.0, 0.0),
    Kind("worker stopped", "worker", 0.5, 6.0),  # shorter and longer than a lease
    Kind("redis killed", "redis", 0.0, 2.0),
    Kind("redis restarted", "redis", 0.0, 1.0),
    Kind("redis stopped", "redis", 0.5, 3.0),
    Kind("redis cut", "redis", 0.0, 0.0),
    Kind("redis delayed", "redis", 1.0, 3.0),
    Kind("redis deaf", "redis", 0.0, 0.0),
    Kind("clients cut", "replica", 0.0, 0.0),
    Kind("clients delayed", "replica", 1.0, 3.0),
    Kind("clients swallowed", "replica", 0.5, 4.0),
)


@dataclass(frozen=True)
class Fault:
    """One fault: when, what, to which of its party, and for how long."""

    at_s: float
    kind: str
    party: Party
    target: int
    lasts_s: float

    def __str__(self) -> str:
        lasts = f" for {self.lasts_s:.1f} s" if self.lasts_s else ""
        which = "" if self.party == "redis" else f" {self.target}"
        return f"{self.kind}{which}{lasts}"


def schedule(seed: int, seconds: float, gap_s: float = GAP_S) -> list[Fault]:
    """The faults of a run, in order.

    Kinds are dealt from a shuffled deck, so that each comes about equally often.
    """
    choices = random.Random(seed)
    deck: list[Kind] = []
    faults: list[Fault] = []
    at = QUIET_S
    while (at := at + choices.uniform(0.4, 1.6) * gap_s) < seconds:
        if not deck:
            deck = [kind for kind in KINDS for _ in range(kind.cards)]
            choices.shuffle(deck)
        kind = deck.pop()
        count = {"replica": REPLICAS, "worker": WORKERS, "redis": 1}[kind.party]
        lasts = choices.uniform(kind.shortest_s, kind.longest_s)
        faults.append(Fault(at, kind.name, kind.party, choices.randrange(count), lasts))
    return faults
