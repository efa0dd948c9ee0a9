"""A run as tables on the terminal, for 100 columns."""

from collections.abc import Iterable, Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtest.metrics import (
    ALL_CPU,
    EVENTS,
    P50,
    P99,
    P999,
    SERVER_CPU,
    TOKEN_CPU,
    Group,
    grouped,
    labels,
    own_metrics,
)
from loadtest.quantities import cost, digits, quantity
from loadtest.result import Result, Run

WIDTH = 100
COLUMNS = {
    "events/s": EVENTS,
    "CPU/event": SERVER_CPU,
    "+ Redis": ALL_CPU,
    "/token": TOKEN_CPU,
    "p50": P50,
    "p99": P99,
    "p99.9": P999,
}


def show(run: Run, console: Console) -> None:
    """Prints a line for each measurement, its processes and figures, and what to doubt.

    A console that is no terminal becomes 100 columns wide.
    """
    if not console.is_terminal:
        console.width = WIDTH
    machine = run.machine
    console.print(
        Text(f"{machine.cpu}, {machine.cores} cores, {machine.kernel}, Python {machine.python}")
    )
    console.print(_summary(run, console))
    for scenario, groups in by_scenario(run.results).items():
        for label, group in zip(labels(groups), groups, strict=True):
            _details(f"{scenario}, {label}", group, console)
    for note in notes(run.results):
        console.print(Text(note, style="dim"))


def by_scenario(results: tuple[Result, ...]) -> dict[str, list[Group]]:
    """The groups of each scenario, in the order they were measured."""
    found: dict[str, list[Group]] = {}
    for group in grouped(results).values():
        found.setdefault(group.results[0].scenario, []).append(group)
    return found


def warnings(result: Result) -> Iterator[str]:
    """What makes a result doubtful or wrong, worst first."""
    if result.missing:
        yield f"{result.missing:,} events are missing: the gateway lost them, or the client did"
    if result.errors:
        yield f"{result.errors:,} errors"
    if result.client_bound:
        ceiling = quantity(result.ceiling_per_s, "per_s")
        yield (
            f"client-bound: within 20 % of what the load generator can take ({ceiling}); "
            "throughput and latency may be its own"
        )


def notes(results: Iterable[Result]) -> list[str]:
    """How they were measured, each said once."""
    return list(dict.fromkeys(note for result in results for note in result.notes))


def _summary(run: Run, console: Console) -> Table:
    table = Table(
        box=SIMPLE_HEAD, width=min(WIDTH, console.width), padding=(0, 1, 0, 0), pad_edge=False
    )
    table.add_column("", ratio=1)
    present = {
        name: metric
        for name, metric in COLUMNS.items()
        if any(metric.of(result) is not None for result in run.results)
    }
    for name in present:
        table.add_column(name, justify="right", no_wrap=True)
    for scenario, groups in by_scenario(run.results).items():
        table.add_row(Text(scenario, style="bold"))
        for label, group in zip(labels(groups), groups, strict=True):
            cells = [metric.text(group.median(metric)) for metric in present.values()]
            table.add_row(Text(f"  {label}"), *cells)
    return table


def _details(title: str, group: Group, console: Console) -> None:
    result = group.middle
    table = Table(
        "process",
        title=Text(title, style="italic"),
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
    )
    for name in ("CPU", "per event", "memory before", "after"):
        table.add_column(name, justify="right")
    for each in result.costs:
        table.add_row(
            Text(each.name),
            quantity(each.cpu_s, "s"),
            cost(each.cpu_us_per_event if result.events else None),
            quantity(each.rss_before_bytes or None, "bytes"),
            quantity(each.rss_after_bytes or None, "bytes"),
        )
    console.print(table)
    for line in _lines(group):
        console.print(Text("  " + line))
    for line in dict.fromkeys(w for each in group.results for w in warnings(each)):
        console.print(Text("  ! " + line, style="yellow"))
    console.print()


def _lines(group: Group) -> Iterator[str]:
    result = group.middle
    tokens = f", {result.tokens:,} tokens" if result.tokens else ""
    yield (
        f"{result.events:,} events{tokens}, {quantity(result.bytes, 'bytes')} "
        f"in {quantity(result.seconds, 's')}"
    )
    if result.redis:
        yield (
            f"Redis: {quantity(result.redis.used_memory_bytes, 'bytes')} more memory, "
            f"{quantity(result.redis.bytes_per_event, 'bytes')} and "
            f"{digits(result.redis.commands_per_event)} commands an event"
        )
    if result.lag:
        p50, p99 = quantity(result.lag.p50_us, "us"), quantity(result.lag.p99_us, "us")
        yield f"the agent was behind its schedule by {p50} (p50), {p99} (p99): part of the latency"
    for metric in own_metrics(group.results):
        yield f"{metric.name}: {metric.text(group.median(metric))}"
