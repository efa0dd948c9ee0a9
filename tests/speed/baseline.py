"""The stored ratios, and what is said of a path that is measured against its own.

Ratios of one kind of interpreter and CPU are not those of another: each has its own. Of a kind
that has none, only what no difference of machines explains is a regression.
"""

import platform
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.speed.measuring import Figure

STORED = Path(__file__).with_name("baseline.json")
MOST, LEAST = 1.2, 0.8
MOST_ELSEWHERE = 1.5
"""On a kind of machine without ratios of its own."""
USUAL = "cpython-3.11-x86_64"


def kind_of_machine() -> str:
    """Interpreter and CPU, as ratios are stored for them."""
    python = f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}"
    return f"{python}-{platform.machine()}"


class Verdict(Struct, frozen=True):
    """One path's figure beside its stored ratio."""

    name: str
    figure: Figure
    stored: float
    most: float

    @property
    def growth(self) -> float:
        """1 is unchanged."""
        return self.figure.ratio / self.stored

    @property
    def regressed(self) -> bool:
        return self.growth > self.most

    @property
    def improved(self) -> bool:
        return self.growth < LEAST

    def __str__(self) -> str:
        line = (
            f"{self.name:16} {self.figure.us:7.3f} µs an event, {self.figure.ratio:.4g} of the "
            f"reference's (stored: {self.stored:.4g}), × {self.growth:.2f}"
        )
        if self.regressed:
            return (
                f"{line}: more than × {self.most:g} is a regression.\n"
                f"Where it goes: python -m tests.speed {self.name} --profile\n"
                "If it is worth it: python -m tests.speed --store, and commit baseline.json with "
                "the reason."
            )
        if self.improved:
            return f"{line}: faster. Keep it so: python -m tests.speed --store"
        return line


class Baseline:
    """The file of ratios, read at once."""

    def __init__(self, path: Path = STORED, kind: str | None = None) -> None:
        self._path = path
        self._kind = kind or kind_of_machine()
        # kind of machine -> path -> ratio
        self._ratios = msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, float]])

    def judge(self, name: str, figure: Figure) -> Verdict:
        """Raises `KeyError` for a path without a stored ratio."""
        known = self._ratios.get(self._kind)
        if known is None:
            return Verdict(name, figure, self._ratios[USUAL][name], MOST_ELSEWHERE)
        return Verdict(name, figure, known[name], MOST)

    def store(self, figures: dict[str, Figure]) -> None:
        """These replace what was stored for this kind of machine; the others stay."""
        known = self._ratios.setdefault(self._kind, {})
        known.update({name: float(f"{figure.ratio:.4g}") for name, figure in figures.items()})
        sorted_ = {kind: dict(sorted(self._ratios[kind].items())) for kind in sorted(self._ratios)}
        text = msgspec.json.format(msgspec.json.encode(sorted_), indent=2)
        self._path.write_bytes(text + b"\n")
