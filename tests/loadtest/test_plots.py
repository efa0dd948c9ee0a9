"""Axes, and what the plots draw, read back from the SVG."""

import itertools
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loadtest.plots import HEIGHT, WIDTH, Curve, bars, curves, gains, linear, logarithmic
from tests.loadtest.reading import SVG

positive = st.floats(1e-3, 1e9)


def plain(value: float) -> str:
    return f"{value:g}"


def parts(svg: str, tag: str) -> list[ET.Element]:
    return ET.fromstring(svg).findall(f".//{SVG}{tag}")


def texts(svg: str) -> list[str]:
    return [each.text or "" for each in parts(svg, "text")]


@example([999_999_999.9999999])
@given(st.lists(positive, min_size=1, max_size=20))
def test_axes_hold_all_their_values_in_order(values: list[float]) -> None:
    for axis in (linear("x", values, plain), logarithmic("x", values, plain)):
        places = [axis.place(value) for value in sorted(values)]
        assert places == sorted(places)
        assert all(0 <= place <= 1 for place in places)
        assert all(axis.low <= value <= axis.high * (1 + 1e-9) for value in values)
        ticks = [axis.place(value) for value, _ in axis.ticks]
        assert ticks == sorted(ticks)
        assert 2 <= len(ticks) <= 15


def test_ticks_are_round() -> None:
    assert [text for _, text in linear("x", [7.3], lambda v: f"{v:.2f}").ticks] == [
        "0", "2", "4", "6", "8",
    ]  # fmt: skip
    assert [value for value, _ in logarithmic("x", [30, 900], plain).ticks] == [
        20, 50, 100, 200, 500, 1000,
    ]  # fmt: skip


def test_an_axis_of_nothing_still_is_one() -> None:
    assert linear("x", [], plain).place(0.5) == 0.5
    assert logarithmic("x", [], plain).place(1.0) == 0.0


def test_a_curve_has_its_points_and_its_number() -> None:
    x, y = linear("x", [10], plain), linear("y", [10], plain)
    drawn = [Curve("a<b", 0, ((0, 0), (10, 10)), marked=True), Curve("none", 1, ())]
    svg = curves("Title", "What it shows", drawn, x, y)
    assert [each.text for each in parts(svg, "title")] == ["Title", "a<b: 0 at 0", "a<b: 10 at 10"]
    first, last = parts(svg, "circle")
    assert float(first.get("cy", 0)) > float(last.get("cy", 0))  # up is more
    assert "1" in texts(svg)
    assert [each.get("class") for each in parts(svg, "path")] == ["curve"]


@pytest.mark.parametrize("height", [0.0, 5.0, 10.0])
def test_numbers_of_curves_that_end_together_do_not_cover_each_other(height: float) -> None:
    x, y = linear("x", [10], plain), linear("y", [10], plain)
    drawn = [Curve(str(i), i, ((0, 1), (10, height))) for i in range(9)]
    svg = curves("t", "d", drawn, x, y)
    ends = sorted(float(t.get("y", 0)) for t in parts(svg, "text") if t.get("class") == "end")
    assert len(ends) == 9
    assert all(b - a > 12 for a, b in itertools.pairwise(ends))
    assert 0 < ends[0] < ends[-1] < HEIGHT


def test_stacked_bars_touch_and_add_up() -> None:
    svg = bars("t", "d", [("one", {"gateway": 3.0, "redis": 1.0})], linear("x", [4.0], plain))
    first, second = parts(svg, "rect")
    width = float(first.get("width", 0))
    assert float(first.get("x", 0)) + width == pytest.approx(float(second.get("x", 0)), abs=0.1)
    assert width == pytest.approx(3 * float(second.get("width", 0)), rel=0.01)
    assert texts(svg) == ["one", "4"]


def test_gains_go_right_and_losses_left_by_the_same_length() -> None:
    rows = [("a", 4.0, "better"), ("b", 0.25, "worse"), ("c", 1.0, "same")]
    svg = gains("t", "d", rows)
    better, worse, same = parts(svg, "rect")
    assert better.get("width") == worse.get("width")
    assert float(same.get("width", 9)) == 0
    left, width = float(worse.get("x", 0)), float(worse.get("width", 0))
    assert left + width == pytest.approx(float(better.get("x", 0)), abs=0.1)
    assert 0 < left < WIDTH
    assert texts(svg).count("4.00×") == 2
