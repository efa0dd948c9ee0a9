"""One command's measurements: which scenarios with which load, and a target for each."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated

import msgspec
from cyclopts import Group, Parameter

from loadtest.drivers import DRIVERS
from loadtest.errors import LoadError
from loadtest.machine import versions
from loadtest.result import Result
from loadtest.scenarios import MOST_PLACES, SCENARIOS, Load, Scenario
from loadtest.stage import Progress
from loadtest.target import Setup, running

LOAD = Parameter(group=Group("Load (else as the scenario has it)", sort_key=2))
Positive = Annotated[int | None, LOAD]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the command line asked for; None: as the scenario has it."""

    sessions: Positive = None
    """Sessions, each with a run of its own."""

    sockets: Annotated[int | None, LOAD, Parameter(alias="--subscribers")] = None
    """Connections; each session is on one of them, or (broadcast, slow) on all."""

    outstanding: Positive = None
    """Closed loop: events on their way; fan-in: commands on their way per connection."""

    rate: Annotated[float | None, LOAD] = None
    """Open loop: events a second of each session."""

    seconds: Annotated[float | None, LOAD] = None
    """How long is measured."""

    warm_up_s: Annotated[float | None, LOAD, Parameter(name="--warm-up")] = None
    """Seconds before that."""

    count: Positive = None
    """Ends the measurement after so many events, if that is earlier."""

    event_bytes: Positive = None
    """Of one event, as it comes down."""

    coalesce_ms: Positive = None
    """How long the worker merges neighbouring deltas."""

    acks: Annotated[bool | None, LOAD] = None
    """Clients acknowledge as ours do: a window of 512, after 32 frames or 250 ms."""

    sample: Positive = None
    """Latencies are taken of every so manieth read."""

    clients: Positive = None
    """Client processes."""

    stalled: Positive = None
    """slow: connections that stop reading."""

    missed: Positive = None
    """storm: events that each session has while its client is away."""

    churn: Positive = None
    """soak: connections cut and resumed each second."""

    def load(self, scenario: Scenario, *, short: bool = False) -> Load:
        """The scenario's load with what was asked for.

        Raises:
            LoadError: it makes no sense.
        """
        asked = {name: value for name, value in asdict(self).items() if value is not None}
        if self.rate and self.outstanding is None:
            asked["outstanding"] = 0  # an open loop
        if self.outstanding and self.rate is None:
            asked["rate"] = 0.0
        load = msgspec.structs.replace(scenario.short if short else scenario.load, **asked)
        for name in ("sessions", "sockets", "clients", "sample", "event_bytes"):
            if getattr(load, name) < 1:
                raise LoadError(f"--{name.replace('_', '-')} must be 1 or more.")
        if load.clients > load.tabs:
            raise LoadError("--clients cannot be more than --sockets: each has one at least.")
        if load.sessions > MOST_PLACES * (1 if load.everywhere else load.tabs):
            raise LoadError(
                f"{load.sessions} sessions on {load.sockets} connections are more than the "
                f"{MOST_PLACES} a connection that the protocol allows: use --sockets "
                f"{-(-load.sessions // MOST_PLACES)} or more."
            )
        return load

    def loads(self, scenario: Scenario, values: Sequence[int], *, short: bool) -> list[Load]:
        """The load with each of `values` in the place of the scenario's axis; else the one.

        Raises:
            LoadError: one of them makes no sense.
        """
        wanted = [replace(self, **{scenario.axis: value}) for value in values] or [self]
        return [each.load(scenario, short=short) for each in wanted]


def chosen(names: Sequence[str]) -> list[Scenario]:
    """The scenarios of these names.

    Raises:
        LoadError: there is none of such a name; lists those there are.
    """
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        raise LoadError(f"There is no scenario {unknown[0]!r}: choose of {', '.join(SCENARIOS)}.")
    return [SCENARIOS[name] for name in names]


def measure(
    scenario: Scenario, setup: Setup, load: Load, progress: Progress
) -> tuple[list[Result], dict[str, str]]:
    """One scenario against a target of its own, so that none inherits another's memory.

    Returns what was found, and the versions of what was measured.

    Raises:
        LoadError: it cannot be measured; names the remedy.
    """
    setup = msgspec.structs.replace(setup, coalesce_ms=load.coalesce_ms)
    with running(setup) as target:
        redis = f"redis://127.0.0.1:{target.redis[0].port}" if target.redis else None
        return DRIVERS[scenario.driver](target, scenario, load, progress), versions(redis)
