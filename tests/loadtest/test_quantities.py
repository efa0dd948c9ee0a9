"""Figures for people."""

import pytest

from loadtest.quantities import cost, digits, quantity
from loadtest.result import Unit


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "us", "0 µs"),
        (812, "us", "812 µs"),
        (1234, "us", "1.23 ms"),
        (2_500_000, "us", "2.50 s"),
        (0.25, "s", "250 ms"),
        (9.4, "bytes", "9.40 B"),
        (28_300, "bytes", "27.6 KiB"),
        (3 << 30, "bytes", "3.00 GiB"),
        (950, "per_s", "950/s"),
        (123_456, "per_s", "123 k/s"),
        (1_234_567, "per_s", "1.23 M/s"),
        (0.11, "count", "0.110"),
        (None, "us", "–"),
    ],
)
def test_quantity(value: float | None, unit: Unit, text: str) -> None:
    assert quantity(value, unit) == text


def test_costs_stay_in_microseconds() -> None:
    assert [cost(v) for v in (0.805, 4.6, 1234.5, None)] == ["0.805 µs", "4.60 µs", "1,234 µs", "–"]


def test_small_figures_have_no_exponent() -> None:
    assert digits(0.00012) == "0.000120"
