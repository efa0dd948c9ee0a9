"""docs/reliability.md has a row for every fault, and the tests that it names are there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "reliability.md").read_text()
# kind -> how many faults of it there are
FAULTS = {
    "N": 15, "C": 18, "B": 11, "A": 10, "G": 7, "W": 10, "R": 17, "K": 4, "S": 9, "X": 9, "T": 7
}  # fmt: skip
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
ROW = re.compile(r"^\| ([A-Z]\d+) \| ([^|]+) \| (.+) \|$", re.MULTILINE)
TEST = re.compile(r"`([\w/.]+)::([^`]+)`")


def ids() -> list[str]:
    return [f"{kind}{number + 1}" for kind, count in FAULTS.items() for number in range(count)]


def names_in(path: Path) -> set[str]:
    """The tests of a module; of a class as `Class::test`."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, FUNCTION):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            functions = (f for f in node.body if isinstance(f, FUNCTION))
            found |= {f"{node.name}::{f.name}" for f in functions}
    return found


def test_every_fault_has_one_row() -> None:
    assert [row[0] for row in ROW.findall(TEXT)] == ids()


def test_a_row_names_its_test_or_says_why_there_is_none() -> None:
    for fault, about, cell in ROW.findall(TEXT):
        assert about.strip(), fault
        assert TEST.search(cell) or re.match(r"not covered: \w+", cell), fault


def test_every_test_that_is_named_is_there() -> None:
    named = TEST.findall(TEXT)
    missing: list[str] = []
    for place, name in named:
        path = ROOT / (place if place.startswith("web/") else f"tests/{place}")
        if not path.exists() or name not in names_in(path):
            missing.append(f"{place}::{name}")
    assert not missing
    assert len(named) > len(ids())


def test_tests_are_named_by_faults_that_exist() -> None:
    for path in sorted((ROOT / "tests" / "faults").glob("test_*.py")):
        for name in names_in(path):
            if row := re.match(r"test_([A-Z]\d+)_", name):
                assert row[1] in ids(), f"{path.name}::{name}"
