"""Results with made-up figures of a plausible shape, for the tests of tables, pages and ratios."""

import functools
import random

import msgspec

from loadtest.histogram import Histogram
from loadtest.result import Cost, Figure, Latency, Machine, Moment, Redis, Result, Run

MACHINE = Machine(cpu="Model <X> & Co", cores=2, kernel="Linux 6.1", python="3.11.9")


@functools.cache
def latency(median_us: int = 400, count: int = 20_000, seed: int = 1) -> Latency:
    """Lognormal with a few outliers."""
    chance = random.Random(seed)
    histogram = Histogram()
    histogram.record_many(int(median_us * chance.lognormvariate(0, 0.5)) for _ in range(count))
    histogram.record_many(median_us * chance.randint(5, 40) for _ in range(count // 300))
    found = histogram.latency()
    assert found is not None
    return found


def result(scenario: str = "broadcast", *, us: float = 0.8, **fields: object) -> Result:
    """One result; `us` is the gateway's CPU per event."""
    events = 1_000_000
    costs = (
        Cost(
            name="gateway 1",
            role="gateway",
            cpu_s=us * events / 1e6,
            cpu_us_per_event=us,
            rss_before_bytes=60 << 20,
            rss_after_bytes=71 << 20,
        ),
        Cost(name="client 1", role="client", cpu_s=0.3, cpu_us_per_event=0.3),
    )
    chance = random.Random(int(us * 1000))
    moments = tuple(
        Moment((i + 1) / 4, int(60_000 / us * chance.uniform(0.93, 1.05)), 8_000_000)
        for i in range(20)
    )
    plain = Result(
        scenario=scenario,
        target="memory",
        began="2026-01-02T03:04:05.000Z",
        seconds=5.0,
        events=events,
        bytes=220_000_000,
        options={"subscribers": 100, "outstanding": 16},
        latency=latency(int(500 * us)),
        moments=moments,
        costs=costs,
        load=100.0,
        load_name="subscribers",
    )
    return msgspec.structs.replace(plain, **fields)


def through_redis(us: float = 4.0, **fields: object) -> Result:
    """A multiplex run with every role, lag, tokens, Redis and a figure of its own."""
    costs = (
        Cost(name="gateway 1", role="gateway", cpu_s=us / 2, cpu_us_per_event=us / 2),
        Cost(name="worker 1", role="worker", cpu_s=us * 2, cpu_us_per_event=us * 2),
        Cost(name="redis", role="redis", cpu_s=us / 3, cpu_us_per_event=us / 3),
        Cost(name="client 1", role="client", cpu_s=0.2, cpu_us_per_event=0.2),
    )
    told: dict[str, object] = {
        "target": "redis",
        "workers": 1,
        "tokens": 3_000_000,
        "options": {"sessions": 1000, "sockets": 100, "rate": 50.0},
        "load": 1000.0,
        "load_name": "sessions",
        "latency": latency(900, seed=2),
        "lag": latency(90, seed=3),
        "costs": costs,
        "redis": Redis(used_memory_bytes=9 << 20, bytes_per_event=9.4, commands_per_event=0.11),
        "figures": (Figure("memory per socket", 28_300.0, "bytes"),),
    }
    return result("multiplex", us=us, **(told | fields))


def run(*results: Result, command: str = "python -m loadtest run broadcast") -> Run:
    """A run of these results."""
    versions = {"agent-gateway": "0.1.0", "uvicorn": "0.54.0"}
    return Run(command=command, machine=MACHINE, versions=versions, results=results)
