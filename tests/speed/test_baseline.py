"""What is stored, and what is said of a figure beside it."""

from pathlib import Path

import msgspec
import pytest

from tests.speed.baseline import MOST_ELSEWHERE, USUAL, Baseline
from tests.speed.measuring import Figure
from tests.speed.paths import PATHS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "baseline.json"
    path.write_text(f'{{"{USUAL}": {{"up": 2.0, "down": 1.0}}}}')
    return path


def cost(ratio: float) -> Figure:
    return Figure(ratio=ratio, us=3.0)


def test_every_path_has_a_stored_ratio() -> None:
    ratios = [Baseline(kind=USUAL).judge(name, cost(1)).stored for name in PATHS]
    assert all(ratio > 0 for ratio in ratios)


@pytest.mark.parametrize(
    ("ratio", "regressed", "improved"),
    [(2.0, False, False), (2.39, False, False), (2.41, True, False), (1.59, False, True)],
)
def test_a_fifth_decides(path: Path, ratio: float, *, regressed: bool, improved: bool) -> None:
    verdict = Baseline(path, USUAL).judge("up", cost(ratio))
    assert (verdict.regressed, verdict.improved) == (regressed, improved)


def test_a_regression_says_what_to_do(path: Path) -> None:
    said = str(Baseline(path, USUAL).judge("up", cost(2.5)))
    for words in ("2.5", "stored: 2", "× 1.25", "up --profile", "--store"):
        assert words in said


def test_an_improvement_is_to_be_kept(path: Path) -> None:
    assert "--store" in str(Baseline(path, USUAL).judge("up", cost(1.0)))
    assert "--store" not in str(Baseline(path, USUAL).judge("up", cost(2.0)))


def test_a_kind_of_machine_without_ratios_is_given_more(path: Path) -> None:
    verdict = Baseline(path, "cpython-3.99-abacus").judge("up", cost(2.5))
    assert (verdict.stored, verdict.most, verdict.regressed) == (2.0, MOST_ELSEWHERE, False)


def test_storing_replaces_what_was_measured_and_nothing_else(path: Path) -> None:
    Baseline(path, "cpython-3.99-abacus").store({"up": cost(7)})
    Baseline(path, USUAL).store({"up": cost(2.123456)})
    assert msgspec.json.decode(path.read_bytes()) == {
        USUAL: {"up": 2.123, "down": 1.0},
        "cpython-3.99-abacus": {"up": 7.0},
    }
    assert Baseline(path, USUAL).judge("up", cost(2.123)).growth == 1
