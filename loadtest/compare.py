"""Two sets of results side by side: ratios of medians, and whether they mean anything.

Results are matched by what was measured; a ratio is always "how many times better", so above 1 is
good whether the figure is a cost or a rate. Rounds overlap: where each side has three or more and
the ranges meet, the difference is called noise whatever the medians say.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Literal

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtest.metrics import METRICS, Group, Metric, grouped, labels, own_metrics
from loadtest.quantities import digits
from loadtest.result import Machine, Result, Run

Verdict = Literal["better", "worse", "same"]

WIDTH = 100
SAME = 1.03  # a smaller ratio than this is nothing, either way
ROUNDS = 3  # from so many on, ranges say more than medians


class Ratio(msgspec.Struct, frozen=True):
    """One metric of one measurement on both sides."""

    metric: Metric
    before: float
    after: float
    overlap: bool  # of the rounds' ranges

    @property
    def gain(self) -> float | None:
        """How many times better `after` is; below 1 it is worse; None beside a zero."""
        if self.before <= 0 or self.after <= 0:
            return None
        lower = self.metric.better == "lower"
        return self.before / self.after if lower else self.after / self.before

    @property
    def verdict(self) -> Verdict:
        """Beyond noise, or not."""
        gain = self.gain
        if self.overlap or gain is None or 1 / SAME < gain < SAME:
            return "same"
        return "better" if gain > 1 else "worse"

    @property
    def told(self) -> str:
        """For people, with a sign that needs no colour."""
        gain = self.gain
        if gain is None:
            return "–"
        if self.verdict == "same":
            return "= within noise" if self.overlap else "= same"
        return f"▲ {digits(gain)}× better" if gain > 1 else f"▼ {digits(1 / gain)}× worse"


class Pair(msgspec.Struct, frozen=True):
    """One measurement that both sides hold."""

    scenario: str
    label: str
    before: Group
    after: Group
    ratios: tuple[Ratio, ...]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All that both sides hold, and the names of what only one does."""

    pairs: tuple[Pair, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    doubts: tuple[str, ...] = ()


def work(result: Result) -> Hashable:
    """What was measured, whoever served it: matches a peer's results with ours."""
    return (result.scenario, result.load, tuple(sorted(result.options.items())))


def compare(
    before: Sequence[Result],
    after: Sequence[Result],
    *,
    key: Callable[[Result], Hashable] = lambda result: result.key,
) -> Comparison:
    """Matches by `key` (`Result.key`, or `work` across targets); repetitions become medians."""
    old, new = grouped(before, key), grouped(after, key)
    shared = [each for each in new if each in old]
    names = dict(zip([*new], _names(list(new.values())), strict=True))
    past = dict(zip([*old], _names(list(old.values())), strict=True))
    pairs = tuple(
        Pair(new[k].middle.scenario, names[k], old[k], new[k], _ratios(old[k], new[k]))
        for k in shared
    )
    return Comparison(
        pairs=pairs,
        only_before=_alone(old, past, new),
        only_after=_alone(new, names, old),
        doubts=tuple(_bound(pairs)),
    )


def compare_runs(before: Run, after: Run) -> Comparison:
    """The same, with a doubt about everything around the results that differs."""
    found = compare(before.results, after.results)
    shared = sorted(before.versions.keys() & after.versions.keys())
    pairs = [(name, before.versions[name], after.versions[name]) for name in shared]
    changed = [f"{name}: {old} before, {new} after" for name, old, new in pairs if old != new]
    doubts = [*_machines(before.machine, after.machine), *changed, *found.doubts]
    return msgspec.structs.replace(found, doubts=tuple(doubts))


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Prints a table for each measurement, then what could not be compared; see `show`."""
    if not console.is_terminal:
        console.width = WIDTH
    for pair in comparison.pairs:
        title = Text(f"{pair.scenario}, {pair.label}", style="bold")
        table = Table(
            "", title=title, title_justify="left", box=SIMPLE_HEAD, expand=True, pad_edge=False
        )
        table.columns[0].ratio = 1
        for name in ("before", "after", "ratio"):
            table.add_column(name, justify="right", no_wrap=True)
        for ratio in pair.ratios:
            style = {"better": "green", "worse": "red", "same": "dim"}[ratio.verdict]
            text = ratio.metric.text
            cells = (text(ratio.before), text(ratio.after), Text(ratio.told, style=style))
            table.add_row(Text(ratio.metric.name), *cells)
        console.print(table)
    for line in remarks(comparison):
        console.print(Text(f"! {line}", style="yellow"))


def remarks(comparison: Comparison) -> list[str]:
    """Doubts, and what stands alone."""
    lines = list(comparison.doubts)
    lines += [f"only before: {name}" for name in comparison.only_before]
    lines += [f"only after: {name}" for name in comparison.only_after]
    if not comparison.pairs:
        lines.append("nothing was measured on both sides with the same options")
    return lines


def _ratios(before: Group, after: Group) -> tuple[Ratio, ...]:
    found: list[Ratio] = []
    for metric in (*METRICS, *own_metrics((*before.results, *after.results))):
        old, new = before.values(metric), after.values(metric)
        past, now = before.median(metric), after.median(metric)
        if past is not None and now is not None:
            enough = min(len(old), len(new)) >= ROUNDS
            overlap = enough and old[0] <= new[-1] and new[0] <= old[-1]
            found.append(Ratio(metric, past, now, overlap))
    return tuple(found)


def _alone(
    groups: Mapping[Hashable, Group],
    names: Mapping[Hashable, str],
    others: Mapping[Hashable, Group],
) -> tuple[str, ...]:
    alone = [key for key in groups if key not in others]
    return tuple(f"{groups[key].middle.scenario}, {names[key]}" for key in alone)


def _names(groups: Sequence[Group]) -> list[str]:
    """Labels that tell groups of the same scenario apart, in the groups' order."""
    found = [""] * len(groups)
    for scenario in dict.fromkeys(group.middle.scenario for group in groups):
        places = [i for i, group in enumerate(groups) if group.middle.scenario == scenario]
        for i, label in zip(places, labels([groups[i] for i in places]), strict=True):
            found[i] = label
    return found


def _machines(before: Machine, after: Machine) -> list[str]:
    if before == after:
        return []
    return ["the machines differ: absolute figures of the two runs can not be compared"]


def _bound(pairs: Sequence[Pair]) -> list[str]:
    return [
        f"{pair.scenario}, {pair.label}: client-bound {side}, compare CPU per event only"
        for pair in pairs
        for side, group in (("before", pair.before), ("after", pair.after))
        if any(result.client_bound for result in group.results)
    ]
