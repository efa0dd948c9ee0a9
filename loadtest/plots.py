"""Plots as SVG: curves over two axes, and stacked bars. Colours are classes of `page.css`.

A plot knows values, axes and names, not what was measured. Each has a title and a description for
those who do not see it, and every point says its value when the pointer rests on it.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from loadtest.document import Content, Markup, element

WIDTH, HEIGHT = 680, 340
LEFT, RIGHT, TOP, BOTTOM = 70, 34, 16, 48
COLOURS = 6


class Axis(msgspec.Struct, frozen=True):
    """From `low` to `high`; `ticks` are (value, text); `text` writes any value."""

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    text: Callable[[float], str]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Where on the axis, 0 to 1."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return (value - low) / (high - low)


class Curve(msgspec.Struct, frozen=True):
    """One line; its number stands at its end and picks its colour, from 0."""

    name: str
    number: int
    points: tuple[tuple[float, float], ...]
    marked: bool = False  # a dot at each point: they are measurements, not a sampled curve
    thin: bool = False  # belongs to another curve of the same number


def linear(label: str, values: Iterable[float], text: Callable[[float], str]) -> Axis:
    """An axis from 0 to the round tick above the greatest value, with about five round ticks."""
    greatest = max(values, default=0.0) or 1.0
    step = 10 ** math.floor(math.log10(greatest / 5))
    step *= next(m for m in (1, 2, 2.5, 5, 10) if step * m >= greatest / 5)
    count = math.ceil(greatest / step - 1e-9)
    ticks = tuple((i * step, _trimmed(text(i * step))) for i in range(count + 1))
    return Axis(label, 0.0, count * step, ticks, text)


def logarithmic(label: str, values: Iterable[float], text: Callable[[float], str]) -> Axis:
    """An axis from 1, 2 or 5 times a power of ten below all values to one above."""
    known = [value for value in values if value > 0] or [1.0]
    low, high = min(known), max(known)
    first, last = math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1
    rounds = [m * 10.0**e for e in range(first, last + 1) for m in (1, 2, 5)]
    begin = max(value for value in rounds if value <= low)
    end = min(value for value in rounds if value >= high and value > begin)
    inside = [value for value in rounds if begin <= value <= end]
    if end / begin > 1000:
        inside = [value for value in inside if math.log10(value) % 1 < 1e-9]
    return Axis(
        label, begin, end, tuple((v, _trimmed(text(v))) for v in inside), text, logarithmic=True
    )


def colour(number: int) -> str:
    """The class that sets a series' colour."""
    return f"s{number % COLOURS}"


def curves(title: str, description: str, drawn: Sequence[Curve], x: Axis, y: Axis) -> Markup:
    """Lines over two axes, numbered at their right ends."""
    drawn = [curve for curve in drawn if curve.points]
    ends = _apart({c.number: _y(y, c.points[-1][1]) for c in drawn if not c.thin})
    groups = [
        element(
            "g",
            _line(curve, x, y),
            "" if curve.thin else _end(curve, x, ends),
            class_=colour(curve.number),
        )
        for curve in drawn
    ]
    return _svg(title, description, HEIGHT, _frame(x, y), groups)


def bars(
    title: str, description: str, rows: Sequence[tuple[str, Mapping[str, float]]], x: Axis
) -> Markup:
    """A horizontal bar for each row, stacked by the classes that its mapping names."""
    pitch, thick, left = 42, 16, 4
    wide = WIDTH - left - 84  # the total stands behind the bar
    groups: list[Markup] = []
    for i, (name, parts) in enumerate(rows):
        top = TOP + i * pitch
        at = 0.0
        groups.append(element("text", name, class_="name", x=left, y=top + 8))
        for kind, value in parts.items():
            start, end = left + x.place(at) * wide, left + x.place(at + value) * wide
            told = element("title", f"{name}, {kind}: {x.text(value)}")
            box = {"x": start, "y": top + 14, "width": max(end - start, 0.5), "height": thick}
            groups.append(element("rect", told, class_=f"bar {kind}", **box))
            at += value
        end = left + x.place(at) * wide + 7
        groups.append(element("text", x.text(at), class_="value", x=end, y=top + 27))
    return _svg(title, description, TOP + pitch * len(rows) - 4, groups)


def gains(title: str, description: str, rows: Sequence[tuple[str, float, str]]) -> Markup:
    """A bar from 1 to each ratio on a logarithmic axis, to the right where it is above 1.

    The third of a row is the bar's class.
    """
    pitch, names = 30, 190
    reach = max(2.0, *(max(gain, 1 / gain) for _, gain, _ in rows)) if rows else 2.0
    middle, half = names + (WIDTH - names) / 2, (WIDTH - names) / 2 - 56
    low = TOP + pitch * len(rows)
    drawn: list[Markup] = [
        element("line", x1=middle, x2=middle, y1=TOP, y2=low, class_="axis"),
        element("text", "worse", x=middle - 12, y=low + 18, text_anchor="end"),
        element("text", "better", x=middle + 12, y=low + 18),
    ]
    for i, (name, gain, kind) in enumerate(rows):
        top, good = TOP + i * pitch, gain >= 1
        far = middle + half * math.log(gain) / math.log(reach)
        told = f"{max(gain, 1 / gain):.2f}×"
        box = {"x": min(far, middle), "y": top + 6, "width": abs(far - middle), "height": 18}
        side: dict[str, str | float] = {"x": far + (6 if good else -6), "y": top + 19}
        side["text_anchor"] = "start" if good else "end"
        drawn.append(element("text", name, class_="name", x=4, y=top + 19))
        drawn.append(element("rect", class_=f"bar {kind}", **box))
        drawn.append(element("text", told, class_="value", **side))
    return _svg(title, description, low + 26, drawn)


def _line(curve: Curve, x: Axis, y: Axis) -> Iterator[Markup]:
    places = [(_x(x, across), _y(y, up)) for across, up in curve.points]
    path = "M" + "L".join(f"{across:.1f} {up:.1f}" for across, up in places)
    again = " again" if curve.number >= COLOURS else ""
    yield element("path", d=path, class_="curve thin" if curve.thin else f"curve{again}")
    for (cx, cy), (across, up) in zip(places, curve.points, strict=True):
        told = element("title", f"{curve.name}: {y.text(up)} at {x.text(across)}")
        yield element("circle", told, cx=cx, cy=cy, r=4, class_="dot" if curve.marked else "hit")


def _end(curve: Curve, x: Axis, ends: Mapping[int, float]) -> Markup:
    across = _x(x, curve.points[-1][0]) + 9
    return element("text", str(curve.number + 1), class_="end", x=across, y=ends[curve.number] + 4)


def _apart(wanted: Mapping[int, float], gap: float = 13) -> dict[int, float]:
    """The numbers' heights, none covering another: pushed up from below, then down from the top."""
    order = sorted(wanted, key=lambda number: -wanted[number])  # the lowest on the page first
    heights: list[float] = []
    limit = float(HEIGHT - BOTTOM)
    for number in order:
        heights.append(min(wanted[number], limit))
        limit = heights[-1] - gap
    limit = float(TOP)
    for i in reversed(range(len(heights))):
        heights[i] = max(heights[i], limit)
        limit = heights[i] + gap
    return dict(zip(order, heights, strict=True))


def _frame(x: Axis, y: Axis) -> Iterator[Markup]:
    floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for value, text in y.ticks:
        at = _y(y, value)
        yield element("line", x1=LEFT, x2=right, y1=at, y2=at, class_="grid")
        yield element("text", text, x=LEFT - 8, y=at + 4, text_anchor="end")
    for value, text in x.ticks:
        at = _x(x, value)
        yield element("line", x1=at, x2=at, y1=TOP, y2=floor, class_="grid")
        yield element("text", text, x=at, y=floor + 18, text_anchor="middle")
    yield element("line", x1=LEFT, x2=right, y1=floor, y2=floor, class_="axis")
    middle = (LEFT + right) / 2
    yield element("text", x.label, x=middle, y=HEIGHT - 8, text_anchor="middle")


def _trimmed(text: str) -> str:
    """A tick without the zeros that a table's figures line up by."""
    return re.sub(r"(\.\d*?)0+(?!\d)", lambda found: found[1].rstrip("."), text)


def _svg(title: str, description: str, height: float, *content: Content) -> Markup:
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        *content,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {height:g}",
        role="img",
        aria_label=f"{title}. {description}",
    )


def _x(axis: Axis, value: float) -> float:
    return LEFT + axis.place(value) * (WIDTH - LEFT - RIGHT)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - axis.place(value) * (HEIGHT - TOP - BOTTOM)
