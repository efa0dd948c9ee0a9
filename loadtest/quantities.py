"""How figures are written for people: three significant digits and a unit that suits."""

import math

from loadtest.result import Unit

_SCALES: dict[Unit, tuple[tuple[float, str], ...]] = {
    "us": ((1e6, " s"), (1e3, " ms"), (1, " µs")),
    "s": ((1, " s"), (1e-3, " ms"), (1e-6, " µs")),
    "bytes": ((2**30, " GiB"), (2**20, " MiB"), (2**10, " KiB"), (1, " B")),
    "per_s": ((1e6, " M/s"), (1e3, " k/s"), (1, "/s")),
    "count": ((1, ""),),
}


def digits(value: float) -> str:
    """Three significant digits, never an exponent."""
    if not value:
        return "0"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(places, 6)}f}"


def quantity(value: float | None, unit: Unit) -> str:
    """The value in the largest unit that leaves a figure of at least 1; a dash for None."""
    if value is None:
        return "–"
    scales = _SCALES[unit]
    size, name = next((s for s in scales if abs(value) >= s[0]), scales[-1])
    return digits(value / size) + name


def cost(us: float | None) -> str:
    """CPU per event, always in µs: costs are compared down a column."""
    return "–" if us is None else f"{digits(us)} µs"
