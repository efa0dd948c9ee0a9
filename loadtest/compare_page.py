"""A comparison of two runs as one self-contained HTML page."""

from collections.abc import Iterator

from loadtest.compare import Comparison, Pair, Ratio, remarks
from loadtest.document import Content, Markup, document, element, table
from loadtest.page import facts
from loadtest.plots import gains
from loadtest.result import Run

CLASSES = {"better": "good", "worse": "bad", "same": "quiet"}


def comparison_page(comparison: Comparison, before: Run, after: Run) -> str:
    """The file's text."""
    told = remarks(comparison)
    scenarios = dict.fromkeys(pair.scenario for pair in comparison.pairs)
    alarms = element("ul", [element("li", each) for each in told], class_="warnings")
    return document(
        "Load test: two runs compared",
        element("h1", "Two runs compared"),
        element("p", _sum(comparison), class_="quiet"),
        element("section", element("h3", "before"), facts(before), class_="card"),
        element("section", element("h3", "after"), facts(after), class_="card"),
        alarms if told else "",
        [_scenario(name, comparison) for name in scenarios],
    )


def _sum(comparison: Comparison) -> str:
    ratios = [ratio for pair in comparison.pairs for ratio in pair.ratios]
    count = {name: sum(ratio.verdict == name for ratio in ratios) for name in CLASSES}
    return (
        f"{len(ratios)} figures on both sides: {count['better']} better, {count['worse']} worse, "
        f"{count['same']} the same. Ratios are of medians and say how many times better."
    )


def _scenario(name: str, comparison: Comparison) -> Markup:
    figures = [_pair(pair) for pair in comparison.pairs if pair.scenario == name]
    return element("section", element("h2", name), figures)


def _pair(pair: Pair) -> Markup:
    rows = [list(_row(ratio)) for ratio in pair.ratios]
    bars = [(ratio.metric.name, ratio.gain, ratio.verdict) for ratio in pair.ratios]
    known = [(name, gain, verdict) for name, gain, verdict in bars if gain is not None]
    description = "; ".join(f"{ratio.metric.name} {ratio.told}" for ratio in pair.ratios)
    plot = gains("How many times better or worse", description, known)
    cells = table(["", "before", "after", "ratio"], rows)
    side = element("div", element("div", plot), cells, class_="beside")
    heading = element("figcaption", element("h3", pair.label))
    return element("figure", heading, side)


def _row(ratio: Ratio) -> Iterator[Content]:
    yield ratio.metric.name
    yield ratio.metric.text(ratio.before)
    yield ratio.metric.text(ratio.after)
    yield element("span", ratio.told, class_=CLASSES[ratio.verdict])
