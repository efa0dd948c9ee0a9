"""What is compared of a result, and repetitions taken together.

Medians of repetitions, not means: one disturbed round must not move a figure. Where a whole result
is needed (a plot), it is the middle one of the group by server CPU, a real one.
"""

import statistics
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Literal

import msgspec

from loadtest.quantities import cost, quantity
from loadtest.result import Latency, Result, Unit


class Metric(msgspec.Struct, frozen=True):
    """A figure that results have, or None where one has not."""

    name: str
    unit: Unit
    better: Literal["lower", "higher"]
    of: Callable[[Result], float | None]
    per_event: bool = False

    def text(self, value: float | None) -> str:
        """The value with its unit."""
        return cost(value) if self.per_event else quantity(value, self.unit)


def _latency(of: Callable[[Latency], float]) -> Callable[[Result], float | None]:
    return lambda result: of(result.latency) if result.latency else None


def _per_event(of: Callable[[Result], float | None]) -> Callable[[Result], float | None]:
    return lambda result: of(result) if result.events and result.costs else None


def _with_redis(result: Result) -> float | None:
    return result.all_us_per_event if result.role_us_per_event("redis") else None


def _per_token(result: Result) -> float | None:
    return result.all_us_per_token if result.tokens != result.events else None


SERVER_CPU = Metric(
    "server CPU per event", "us", "lower", _per_event(lambda r: r.server_us_per_event), True
)
ALL_CPU = Metric("CPU per event with Redis", "us", "lower", _per_event(_with_redis), True)
TOKEN_CPU = Metric("CPU per token with Redis", "us", "lower", _per_event(_per_token), True)
EVENTS = Metric("events per second", "per_s", "higher", lambda r: r.events_per_s or None)
P50 = Metric("latency p50", "us", "lower", _latency(lambda latency: latency.p50_us))
P99 = Metric("latency p99", "us", "lower", _latency(lambda latency: latency.p99_us))
P999 = Metric("latency p99.9", "us", "lower", _latency(lambda latency: latency.p999_us))
MEMORY = Metric("server memory", "bytes", "lower", lambda r: r.server_rss_bytes or None)
METRICS = (
    SERVER_CPU,
    ALL_CPU,
    TOKEN_CPU,
    EVENTS,
    P50,
    P99,
    P999,
    MEMORY,
    Metric(
        "Redis memory per event",
        "bytes",
        "lower",
        lambda r: r.redis.bytes_per_event if r.redis else None,
    ),
    Metric(
        "Redis commands per event",
        "count",
        "lower",
        lambda r: r.redis.commands_per_event if r.redis else None,
    ),
)


def own_metrics(results: Iterable[Result]) -> tuple[Metric, ...]:
    """A metric for each figure that only these results' scenarios measure."""
    figures = {figure.name: figure for result in results for figure in result.figures}

    def named(name: str) -> Callable[[Result], float | None]:
        return lambda result: next((f.value for f in result.figures if f.name == name), None)

    return tuple(Metric(f.name, f.unit, f.better, named(f.name)) for f in figures.values())


class Group(msgspec.Struct, frozen=True):
    """Repetitions of one measurement, at least one."""

    results: tuple[Result, ...]

    @property
    def middle(self) -> Result:
        """The result that stands for all, with the (lower) median of the server's CPU."""
        ordered = sorted(self.results, key=lambda result: result.server_us_per_event)
        return ordered[(len(ordered) - 1) // 2]

    def values(self, metric: Metric) -> list[float]:
        """What the results have of it, ascending."""
        found = (metric.of(result) for result in self.results)
        return sorted(value for value in found if value is not None)

    def median(self, metric: Metric) -> float | None:
        """None if no result has it."""
        values = self.values(metric)
        return statistics.median(values) if values else None


def grouped(
    results: Iterable[Result], key: Callable[[Result], Hashable] = lambda result: result.key
) -> dict[Hashable, Group]:
    """Repetitions together, by key, in the order of their first result."""
    found: dict[Hashable, list[Result]] = {}
    for result in results:
        found.setdefault(key(result), []).append(result)
    return {key: Group(tuple(members)) for key, members in found.items()}


def labels(groups: Sequence[Group]) -> list[str]:
    """Names for groups of one scenario: the target, and the options in which they differ."""
    facts = [_facts(group.results[0]) for group in groups]
    names = dict.fromkeys(name for each in facts for name in each)
    differing = [name for name in names if len({each.get(name) for each in facts}) > 1]
    found: list[str] = []
    for group, each in zip(groups, facts, strict=True):
        told = [f"{name} {each[name]}" for name in differing if name in each]
        times = len(group.results)
        repeated = [f"median of {times}"] if times > 1 else []
        found.append(", ".join([group.results[0].target, *told, *repeated]))
    return found


def _facts(result: Result) -> dict[str, str]:
    facts = {"processes": str(result.processes), "workers": str(result.workers)}
    if result.load is not None and result.load_name not in result.options:
        facts[result.load_name] = f"{result.load:g}"
    for name, value in result.options.items():
        facts[name] = f"{value:g}" if isinstance(value, float) else str(value)
    return facts
