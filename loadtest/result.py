"""What a run of the load test found, as values that are written to and read from JSON.

Nothing here measures, prints or draws. Times are seconds (`_s`) or microseconds (`_us`), CPU is
user and system together. "Event" is a delivered event frame; one that holds merged deltas is one
event and several tokens.
"""

import itertools
from collections.abc import Set
from pathlib import Path
from typing import Literal

import msgspec

Role = Literal["gateway", "worker", "redis", "client", "peer"]
Option = str | int | float | bool | None
Unit = Literal["us", "s", "bytes", "per_s", "count"]
# What identifies a measurement: results that share it are repetitions.
Key = tuple[str, str, int, int, float | None, tuple[tuple[str, Option], ...]]

SERVER: frozenset[Role] = frozenset({"gateway", "worker", "peer"})
MEASURED: frozenset[Role] = frozenset({"gateway", "worker", "peer", "redis"})


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """One process over the measured window."""

    name: str  # "gateway 1"
    role: Role
    cpu_s: float
    cpu_us_per_event: float
    rss_before_bytes: int = 0
    rss_after_bytes: int = 0


class Moment(msgspec.Struct, frozen=True):
    """What arrived in the interval that ends at `at_s` after the window's start."""

    at_s: float
    events: int
    bytes: int


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution; percentiles are upper bounds of their bucket, 0.1 % wide."""

    count: int
    min_us: int
    mean_us: float
    p50_us: int
    p90_us: int
    p99_us: int
    p999_us: int
    max_us: int
    buckets: tuple[tuple[int, int], ...]  # (upper_us, count), ascending, none empty

    def at(self, quantile: float) -> int:
        """The smallest value that at least this share (0 to 1) of all does not exceed."""
        return self.at_many((quantile,))[0]

    def at_many(self, quantiles: tuple[float, ...]) -> tuple[int, ...]:
        """`at` for ascending quantiles, in one walk."""
        found: list[int] = []
        running = itertools.accumulate(count for _, count in self.buckets)
        walk = zip(running, self.buckets, strict=True)
        below, upper = 0, 0
        for quantile in quantiles:
            # The epsilon keeps 0.999 * 1000 from asking for the thousandth value.
            while below < quantile * self.count - 1e-9 or not below:
                below, (upper, _) = next(walk)
            found.append(max(self.min_us, min(upper, self.max_us)))
        return tuple(found)


class Redis(msgspec.Struct, frozen=True, kw_only=True):
    """The broker's server, by its own INFO; memory is the growth over the window."""

    used_memory_bytes: int
    bytes_per_event: float
    commands_per_event: float


class Figure(msgspec.Struct, frozen=True):
    """What only one scenario measures, such as bytes per idle connection."""

    name: str
    value: float
    unit: Unit
    better: Literal["lower", "higher"] = "lower"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario, measured once."""

    scenario: str
    target: str  # "memory", "redis", "cluster", a URL, or a peer's name
    began: str  # RFC 3339, UTC
    seconds: float  # of the measured window, warm-up excluded
    events: int
    bytes: int
    tokens: int = 0  # stamps counted; 0 where the scenario has none
    processes: int = 1
    workers: int = 0
    options: dict[str, Option] = {}
    errors: int = 0
    missing: int = 0  # events whose seq never came; anything but 0 is a defect
    latency: Latency | None = None
    lag: Latency | None = None  # of the agent behind its own schedule, contained in `latency`
    moments: tuple[Moment, ...] = ()
    costs: tuple[Cost, ...] = ()
    redis: Redis | None = None
    figures: tuple[Figure, ...] = ()
    ceiling_per_s: float | None = None  # events the client alone can take
    client_bound: bool = False
    load: float | None = None  # the x of cost against load: sessions, sockets or subscribers
    load_name: str = "load"
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        """Equal for repetitions of one measurement."""
        options = tuple(sorted(self.options.items()))
        where = (self.scenario, self.target, self.processes, self.workers)
        return (*where, self.load, options)

    @property
    def events_per_s(self) -> float:
        """Delivered events per second of the window."""
        return self.events / self.seconds if self.seconds else 0.0

    @property
    def server_us_per_event(self) -> float:
        """CPU of gateways, workers or the peer's server per delivered event."""
        return self._us_per_event(SERVER)

    @property
    def all_us_per_event(self) -> float:
        """The same with Redis; only the load generator is left out."""
        return self._us_per_event(MEASURED)

    @property
    def all_us_per_token(self) -> float | None:
        """`all_us_per_event` by tokens instead: what merging saves shows here."""
        if not self.tokens:
            return None
        return self.all_us_per_event * self.events / self.tokens

    @property
    def server_rss_bytes(self) -> int:
        """Memory of gateways, workers or the peer's server at the end."""
        return sum(cost.rss_after_bytes for cost in self.costs if cost.role in SERVER)

    def role_us_per_event(self, role: Role) -> float:
        """CPU of all processes of one role per delivered event."""
        return self._us_per_event({role})

    def _us_per_event(self, roles: Set[Role]) -> float:
        if not self.events:
            return 0.0  # of an idle gateway there is no cost per event
        return sum(cost.cpu_us_per_event for cost in self.costs if cost.role in roles)


class Machine(msgspec.Struct, frozen=True):
    """Where it ran: absolute figures mean nothing without it."""

    cpu: str
    cores: int
    kernel: str
    python: str


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One command and all it measured."""

    command: str
    machine: Machine
    versions: dict[str, str]  # program or package -> version
    results: tuple[Result, ...]


_DECODER = msgspec.json.Decoder(Run)


def write(run: Run, path: Path) -> None:
    """Stores a run as one line of JSON."""
    path.write_bytes(msgspec.json.encode(run) + b"\n")


def read(path: Path) -> Run:
    """The run of a file that `write` made.

    Raises:
        OSError: it cannot be read.
        msgspec.ValidationError: it is JSON of something else.
    """
    return _DECODER.decode(path.read_bytes())
