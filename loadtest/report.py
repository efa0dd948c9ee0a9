"""What a scenario found, as a value and as a table."""

import math
from collections.abc import Sequence

import msgspec


class Result(msgspec.Struct, frozen=True):
    """`latencies_ms` are percentiles; CPU is the server's, per event delivered."""

    scenario: str
    broker: str
    events: int
    seconds: float
    cpu_us_per_event: float
    latencies_ms: dict[str, float]


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p90, p99 and the maximum, in milliseconds."""
    ordered = sorted(seconds)
    if not ordered:
        return {}
    points = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    last = len(ordered) - 1
    return {name: ordered[math.ceil(p * last)] * 1000 for name, p in points.items()}


def table(result: Result) -> str:
    """The result for people."""
    rows = [
        ("scenario", result.scenario),
        ("broker", result.broker),
        ("events delivered", f"{result.events:,}"),
        ("events per second", f"{result.events / result.seconds:,.0f}"),
        ("server CPU per event", f"{result.cpu_us_per_event:.1f} µs"),
        *((f"latency {name}", f"{ms:.2f} ms") for name, ms in result.latencies_ms.items()),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
