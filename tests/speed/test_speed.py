"""Hot paths cost what they did, within 20 %: CPU against a reference in the same process.

No wall-clock time is in it. The figures are written out (`pytest -rP`); docs/performance.md, Guard.
"""

import sys

import pytest

from tests.speed.baseline import Baseline
from tests.speed.guard import SLOWED, watched
from tests.speed.paths import PATHS


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.timeout(620)  # all tries on a machine that does much else
def test_a_path_costs_what_it_did(name: str) -> None:
    verdict = watched(name, Baseline())
    sys.stdout.write(f"{verdict}\n")
    assert not verdict.regressed, str(verdict)


def test_two_more_encodings_are_a_regression() -> None:
    verdict = watched("redis_news", Baseline(), SLOWED, tries=1)
    assert verdict.regressed, str(verdict)
