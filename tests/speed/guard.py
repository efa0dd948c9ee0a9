"""Measures paths, each in a process of its own: a clean heap, and the same hashes every time."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.speed.baseline import Baseline, Verdict
from tests.speed.measuring import Figure

ROOT = Path(__file__).parents[2]
TRIES = 5
PATIENCE_S = 120
SLOWED = "--slowed"


def measured(name: str, *options: str) -> Figure:
    """One path's figure; `options` as of `python -m tests.speed`.

    Raises `AssertionError` with what the process complained of.
    """
    command = (sys.executable, "-m", "tests.speed", name, "--here", *options)
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert ended.returncode == 0, ended.stderr.decode()
    return msgspec.json.decode(ended.stdout, type=Figure)


def watched(name: str, baseline: Baseline, *options: str, tries: int = TRIES) -> Verdict:
    """The first verdict that is no regression, else the best: noise never makes anything cheap."""
    verdicts: list[Verdict] = []
    for _ in range(tries):
        verdicts.append(baseline.judge(name, measured(name, *options)))
        if not verdicts[-1].regressed:
            break
    return min(verdicts, key=lambda verdict: verdict.growth)


def settled(names: Sequence[str], rounds: int = 5) -> dict[str, Figure]:
    """Figures to store: medians of rounds through all paths, so that none has a lucky minute."""
    figures: dict[str, list[Figure]] = {name: [] for name in names}
    for _ in range(rounds):
        for name, found in figures.items():
            found.append(measured(name))
    return {
        name: sorted(found, key=lambda figure: figure.ratio)[rounds // 2]
        for name, found in figures.items()
    }
