"""The results of all products as a table in Markdown: medians, and ratios with ours.

A ratio is the median of the rounds' ratios: what disturbed one round disturbed both of its sides.
"""

import statistics
from collections.abc import Iterator, Sequence

import msgspec

from loadtest.peers.case import CASES, Case
from loadtest.peers.measure import PER_CONNECTION
from loadtest.peers.products import PRODUCTS
from loadtest.peers.rounds import OURS
from loadtest.quantities import digits
from loadtest.result import Result, Run

# Ours by its own scenario's names; a peer's connection has joined a room of its own, too.
IDLE = (PER_CONNECTION, "a connection", "a subscribed session")


class Line(msgspec.Struct, frozen=True):
    """One row: whose results."""

    title: str
    target: str


LINES = (
    Line("**Agent Gateway**", OURS),
    *(Line(product.title, name) for name, product in PRODUCTS.items()),
)


def markdown(run: Run) -> str:
    """The table, the machine, the versions, and the command that measures it again."""
    heads = _cases(run.results)
    rows = [["", *map(_head, heads)], ["---", *("---:" for _ in heads)]]
    for line in LINES:
        cells = [_cell(run.results, case.title, line) for case in heads]
        if any(cells):
            rows.append([line.title, *(cell or "–" for cell in cells)])
    table = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*table, "", _where(run), "", f"    {run.command}", ""])


def _where(run: Run) -> str:
    machine, count = run.machine, _rounds(run.results)
    about = f"{machine.cpu}, {machine.cores} cores, {machine.kernel}, Python {machine.python}"
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    return f"{about}; {versions}. Median of {count} round{'s' if count != 1 else ''}."


def _cases(results: Sequence[Result]) -> list[Case]:
    present = {result.options.get("case") for result in results}
    return [case for case in CASES if case.title in present]


def _head(case: Case) -> str:
    return f"{case.title}, {'KiB each' if not case.outstanding else 'µs per event'}"


def _rounds(results: Sequence[Result]) -> int:
    counts = (len(_of(results, c.title, line)) for c in _cases(results) for line in LINES)
    return max(counts, default=0)


def _of(results: Sequence[Result], case: str, line: Line) -> list[Result]:
    return [result for result in results if _belongs(result, case, line)]


def _belongs(result: Result, case: str, line: Line) -> bool:
    return result.target == line.target and result.options.get("case") == case


def _value(result: Result) -> float:
    sizes = [figure.value for figure in result.figures if figure.name in IDLE]
    return sum(sizes) / 1024 if sizes else result.server_us_per_event


def _cell(results: Sequence[Result], case: str, line: Line) -> str:
    """The median; a peer's with its ratio to ours."""
    values = [_value(result) for result in _of(results, case, line)]
    if not values:
        return ""
    text = digits(statistics.median(values))
    ratios = list(_ratios(results, case, line)) if line.target != OURS else []
    return f"{text} ({digits(statistics.median(ratios))}×)" if ratios else text


def _ratios(results: Sequence[Result], case: str, line: Line) -> Iterator[float]:
    """Each of a peer's to the one of ours that was measured last before it."""
    ours: float | None = None
    for result in results:
        if _belongs(result, case, LINES[0]):
            ours = _value(result)
        elif ours and _belongs(result, case, line):
            yield _value(result) / ours
