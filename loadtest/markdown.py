"""A run as Markdown tables, for documents: the figures of `docs/performance.md` are made of it."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from loadtest.metrics import (
    ALL_CPU,
    EVENTS,
    MEMORY,
    P50,
    P99,
    P999,
    SERVER_CPU,
    TOKEN_CPU,
    labels,
    own_metrics,
)
from loadtest.report import by_scenario, warnings
from loadtest.result import Run, read

COLUMNS = (SERVER_CPU, ALL_CPU, TOKEN_CPU, EVENTS, P50, P99, P999, MEMORY)


def tables(run: Run) -> str:
    """Where it ran, then a table for each scenario, a row for each measurement."""
    return "\n\n".join(_parts(run)) + "\n"


def _parts(run: Run) -> Iterator[str]:
    machine = run.machine
    served = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    yield f"{machine.cpu}, {machine.cores} cores, {machine.kernel}, Python {machine.python}."
    yield f"{served}."
    yield f"    {run.command}"
    for scenario, groups in by_scenario(run.results).items():
        own = own_metrics(result for group in groups for result in group.results)
        present = [m for m in (*COLUMNS, *own) if any(group.values(m) for group in groups)]
        rows = [
            [label, *(metric.text(group.median(metric)) for metric in present)]
            for label, group in zip(labels(groups), groups, strict=True)
        ]
        yield "\n".join(_table([scenario, *(metric.name for metric in present)], rows))
        told = [
            f"{label}: {warning}."
            for label, group in zip(labels(groups), groups, strict=True)
            for warning in dict.fromkeys(w for each in group.results for w in warnings(each))
        ]
        yield from told


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield _row(head)
    yield _row(["---", *("---:" for _ in head[1:])])
    for row in rows:
        yield _row(row)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    print("\n".join(tables(read(Path(name))) for name in sys.argv[1:]), end="")
