"""A run as one self-contained HTML page: plots, each beside its table, no script needed."""

import math
from collections.abc import Iterator, Sequence

import msgspec

from loadtest.document import Content, Markup, document, element, table
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
from loadtest.plots import Axis, Curve, bars, colour, curves, linear, logarithmic
from loadtest.quantities import cost, digits, quantity
from loadtest.report import by_scenario, notes, warnings
from loadtest.result import Latency, Result, Role, Run

ROLES: tuple[Role, ...] = ("gateway", "worker", "peer", "redis")
# The axis of an HDR plot: each nine takes as much room as the one before.
QUANTILES = ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99"))
SAMPLES = 48  # of a percentile curve
READING = (
    ("event", "a delivered event frame; one may hold several merged tokens"),
    ("CPU per event", "CPU time, user and system, of the named processes over the measured window"),
    ("latency", "from the moment the agent meant to emit to the client's receive"),
    ("p99", "99 of 100 events took at most this long"),
    ("median of n", "of n rounds; plots and processes are those of the round in the middle"),
    ("client-bound", "the load generator was near its own ceiling: see loadtest/README.md"),
)


def page(run: Run) -> str:
    """The file's text."""
    names = ", ".join(dict.fromkeys(result.scenario for result in run.results))
    return document(
        f"Load test: {names}",
        element("h1", f"Load test: {names}"),
        facts(run),
        [_scenario(name, groups) for name, groups in by_scenario(run.results).items()],
        element("details", element("summary", "What the words mean"), terms(READING)),
    )


def facts(run: Run) -> Markup:
    """Where and how it ran."""
    machine = run.machine
    began = run.results[0].began if run.results else ""
    return terms(
        (
            ("command", element("code", run.command)),
            ("machine", f"{machine.cpu}, {machine.cores} cores, {machine.kernel}"),
            ("versions", ", ".join(f"{name} {version}" for name, version in run.versions.items())),
            ("began", began),
        )
    )


def terms(rows: Sequence[tuple[str, Content]]) -> Markup:
    """A list of terms and what they are."""
    return element("dl", [[element("dt", name), element("dd", what)] for name, what in rows])


def _scenario(name: str, groups: Sequence[Group]) -> Markup:
    told = labels(groups)
    alarms = [
        element("li", f"{label}: {warning}" if len(groups) > 1 else warning)
        for label, group in zip(told, groups, strict=True)
        for warning in dict.fromkeys(w for result in group.results for w in warnings(result))
    ]
    return element(
        "section",
        element("h2", name),
        element("ul", alarms, class_="warnings") if alarms else "",
        _summary(told, groups),
        _cpu(told, groups),
        _against_load(groups),
        _latency(told, groups),
        _throughput(told, groups),
        _processes(told, groups),
        [
            element("p", note, class_="quiet")
            for note in notes(r for g in groups for r in g.results)
        ],
    )


def _badge(number: int) -> Markup:
    return element("span", str(number + 1), class_=f"badge {colour(number)}")


def _named(number: int, name: str) -> Content:
    return [_badge(number), name]


def _mark(number: int, name: str) -> Content:
    """Only the number is seen, where a legend above says the name; it is read aloud with it."""
    return [_badge(number), element("span", name, class_="unseen")]


def _figure(
    title: str, caption: str, legend: Sequence[Content], plot: Content, cells: Content
) -> Markup:
    heading = element("figcaption", element("h3", title), caption)
    key = element("ul", [element("li", each) for each in legend], class_="legend")
    beside = element("div", element("div", plot), cells, class_="beside")
    return element("figure", heading, key, beside)


def _legend(told: Sequence[str]) -> list[Content]:
    return [_named(i, label) for i, label in enumerate(told)]


def _summary(told: Sequence[str], groups: Sequence[Group]) -> Markup:
    columns = {
        "events/s": EVENTS,
        "server CPU per event": SERVER_CPU,
        "with Redis": ALL_CPU,
        "per token": TOKEN_CPU,
        "p50": P50,
        "p99": P99,
        "p99.9": P999,
    }
    own = own_metrics(result for group in groups for result in group.results)
    columns |= {metric.name: metric for metric in own}
    present = {n: m for n, m in columns.items() if any(g.values(m) for g in groups)}
    rows = [
        [_named(i, label), *(metric.text(group.median(metric)) for metric in present.values())]
        for i, (label, group) in enumerate(zip(told, groups, strict=True))
    ]
    return element("section", table(["measurement", *present], rows), class_="card")


def _cpu(told: Sequence[str], groups: Sequence[Group]) -> Content:
    rows = [
        (label, {role: us for role in ROLES if (us := group.middle.role_us_per_event(role))})
        for label, group in zip(told, groups, strict=True)
    ]
    present = [role for role in ROLES if any(role in parts for _, parts in rows)]
    if not present:
        return ""
    legend: list[Content] = [[element("span", class_=f"swatch {role}"), role] for role in present]
    x = linear("µs per event", (sum(parts.values()) for _, parts in rows), cost)
    numbered = [(f"{i + 1}  {label}", parts) for i, (label, parts) in enumerate(rows)]
    plot = bars("CPU per event by role", _told(told), numbered, x)
    cells = [
        [
            _mark(i, label),
            *(cost(parts.get(role)) for role in present),
            cost(sum(parts.values())),
        ]
        for i, (label, parts) in enumerate(rows)
    ]
    return _figure(
        "CPU per event",
        "Of every process but the load generator, per delivered event.",
        legend,
        plot,
        table(["", *present, "sum"], cells),
    )


def _against_load(groups: Sequence[Group]) -> Content:
    whole = [result for group in groups for result in group.results if result.load is not None]
    series = list(grouped(whole, lambda result: _without_load(result).key).values())
    lines: dict[str, list[tuple[float, float]]] = {}
    for label, group in zip(_series_labels(series), series, strict=True):
        loads = grouped(group.results, lambda result: result.load)
        medians = ((g.middle.load, g.median(SERVER_CPU)) for g in loads.values())
        points = sorted((load, us) for load, us in medians if load is not None and us is not None)
        if len(points) > 1:
            lines[label] = points
    if not lines:
        return ""
    name = groups[0].results[0].load_name
    loads = sorted({load for points in lines.values() for load, _ in points})
    x = _loads(name, loads)
    y = linear("µs per event", (us for points in lines.values() for _, us in points), cost)
    drawn = [
        Curve(label, i, tuple(points), marked=True)
        for i, (label, points) in enumerate(lines.items())
    ]
    cells = [
        [f"{load:,.0f}", *(cost(dict(points).get(load)) for points in lines.values())]
        for load in loads
    ]
    return _figure(
        f"Server CPU per event against {name}",
        "A flat line is what scales: the cost of an event does not depend on how many there are.",
        _legend(list(lines)),
        curves(f"Server CPU per event against {name}", _told(list(lines)), drawn, x, y),
        table([name, *(_mark(i, label) for i, label in enumerate(lines))], cells),
    )


def _series_labels(series: Sequence[Group]) -> list[str]:
    return labels([Group((_without_load(group.results[0]),)) for group in series])


def _without_load(result: Result) -> Result:
    kept = {name: value for name, value in result.options.items() if name != result.load_name}
    return msgspec.structs.replace(result, load=None, options=kept)


def _loads(name: str, loads: Sequence[float]) -> Axis:
    def text(value: float) -> str:
        return f"{value:,.0f}"

    if loads[0] > 0 and loads[-1] / loads[0] >= 10:
        return logarithmic(name, loads, text)
    return linear(name, loads, text)


def _latency(told: Sequence[str], groups: Sequence[Group]) -> Content:
    drawn: list[Curve] = []
    cells: list[list[Content]] = []
    for i, (label, group) in enumerate(zip(told, groups, strict=True)):
        latency, lag = group.middle.latency, group.middle.lag
        if latency:
            drawn.append(Curve(label, i, _percentiles(latency)))
            cells.append([_mark(i, label), *_row(latency)])
        if lag:
            drawn.append(Curve(f"{label}: the agent's lag", i, _percentiles(lag), thin=True))
            cells.append([[_badge(i), "lag"], *_row(lag)])
    if not drawn:
        return ""
    y = logarithmic("latency", (up for curve in drawn for _, up in curve.points), _us)
    last = max(curve.points[-1][0] for curve in drawn)
    ticks = tuple((_nines(q), name) for q, name in QUANTILES if _nines(q) <= last + 1e-9)
    x = Axis("percentile", 0.0, max(last, 1.0), ticks, _percentile)
    names = ["p50", "p90", "p99", "p99.9", "p99.99", "max"]
    thin = " Dotted: how late the agent itself was, which is part of the latency."
    return _figure(
        "Latency by percentile",
        "From emit to receive; each nine takes as much room as the one before."
        + (thin if any(curve.thin for curve in drawn) else ""),
        _legend(told),
        curves("Latency by percentile", _told(told), drawn, x, y),
        table(["", *names], cells),
    )


def _nines(quantile: float) -> float:
    return -math.log10(1 - quantile)


def _percentile(nines: float) -> str:
    return f"p{100 * (1 - 10**-nines):.4g}"


def _us(us: float) -> str:
    return quantity(us, "us")


def _percentiles(latency: Latency) -> tuple[tuple[float, float], ...]:
    """As many nines as there are values for, four at most."""
    last = min(4.0, max(0.3, math.log10(latency.count)))
    steps = [last * i / SAMPLES for i in range(SAMPLES + 1)]
    values = latency.at_many(tuple(1 - 10**-step for step in steps))
    return tuple((step, max(value, 1)) for step, value in zip(steps, values, strict=True))


def _row(latency: Latency) -> list[str]:
    values = latency.at_many(tuple(quantile for quantile, _ in QUANTILES))
    known = [
        _us(value) if latency.count * (1 - quantile) >= 1 - 1e-9 else "–"
        for value, (quantile, _) in zip(values, QUANTILES, strict=True)
    ]
    return [*known, _us(latency.max_us)]


def _throughput(told: Sequence[str], groups: Sequence[Group]) -> Content:
    drawn: list[Curve] = []
    cells: list[list[Content]] = []
    for i, (label, group) in enumerate(zip(told, groups, strict=True)):
        rates = tuple(_rates(group.middle))
        if rates:
            drawn.append(Curve(label, i, rates))
            ordered = sorted(rate for _, rate in rates)
            median = ordered[len(ordered) // 2]
            told_bytes = quantity(group.middle.bytes / (group.middle.seconds or 1), "bytes") + "/s"
            figures = [quantity(v, "per_s") for v in (ordered[0], median, ordered[-1])]
            cells.append([_mark(i, label), *figures, told_bytes])
    if not drawn:
        return ""
    x = linear("seconds", (curve.points[-1][0] for curve in drawn), _seconds)
    last = max(curve.points[-1][0] for curve in drawn)
    ticks = tuple(tick for tick in x.ticks if tick[0] <= last)
    x = Axis(x.label, 0.0, last, ticks, x.text)
    rates = (rate for curve in drawn for _, rate in curve.points)
    y = linear("events/s", rates, lambda rate: quantity(rate, "per_s"))
    return _figure(
        "Throughput over time",
        "Events delivered per second, by interval. A dip is a pause of somebody.",
        _legend(told),
        curves("Throughput over time", _told(told), drawn, x, y),
        table(["", "least", "median", "most", "bytes"], cells),
    )


def _seconds(value: float) -> str:
    return f"{digits(value)} s"


def _rates(result: Result) -> Iterator[tuple[float, float]]:
    before = 0.0
    for moment in result.moments:
        if moment.at_s > before:
            yield moment.at_s, moment.events / (moment.at_s - before)
        before = moment.at_s


def _processes(told: Sequence[str], groups: Sequence[Group]) -> Content:
    rows = [
        [
            f"{label}: {each.name}" if len(groups) > 1 else each.name,
            quantity(each.cpu_s, "s"),
            cost(each.cpu_us_per_event if group.middle.events else None),
            quantity(each.rss_before_bytes or None, "bytes"),
            quantity(each.rss_after_bytes or None, "bytes"),
        ]
        for label, group in zip(told, groups, strict=True)
        for each in group.middle.costs
    ]
    if not rows:
        return ""
    head = ["process", "CPU", "per event", "memory before", "memory after"]
    listing = table(head, rows, caption="Every process over the measured window")
    return element("section", listing, _redis(told, groups), class_="card")


def _redis(told: Sequence[str], groups: Sequence[Group]) -> Content:
    rows = [
        [
            label,
            quantity(redis.used_memory_bytes, "bytes"),
            quantity(redis.bytes_per_event, "bytes"),
            digits(redis.commands_per_event),
        ]
        for label, group in zip(told, groups, strict=True)
        if (redis := group.middle.redis)
    ]
    if not rows:
        return ""
    head = ["", "more memory", "bytes per event", "commands per event"]
    return table(head, rows, caption="Redis, by its own INFO")


def _told(names: Sequence[str]) -> str:
    return "; ".join(f"{i + 1}: {name}" for i, name in enumerate(names))
