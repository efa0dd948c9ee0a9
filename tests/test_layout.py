"""The tree keeps its shape: tests mirror the source, the protocol needs next to nothing."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Modules whose tests are not at the mirrored path, each with where they are tested and why.
TESTED_ELSEWHERE: dict[str, str] = {
    "gateway/delivery/delivery.py": "tests/delivery/test_connection.py: it only holds the parts",
}


def modules(package: str) -> Iterator[Path]:
    for path in sorted((ROOT / package).rglob("*.py")):
        if path.stem not in ("__init__", "__main__"):
            yield path.relative_to(ROOT)


def mirrored(module: Path) -> list[Path]:
    """Where its tests may be: `test_<module>.py`, or `test_<module>_<aspect>.py` beside it.

    gateway/x/y.py in tests/x, protocol/y.py in tests/protocol; a private module `_y` as `y`.
    """
    parents = module.parts[1:-1] if module.parts[0] == "gateway" else module.parts[:-1]
    folder = ROOT.joinpath("tests", *parents)
    name = module.stem.removeprefix("_")
    return [*folder.glob(f"test_{name}.py"), *folder.glob(f"test_{name}_*.py")]


@pytest.mark.parametrize("package", ["gateway", "protocol"])
def test_every_module_has_its_tests(package: str) -> None:
    lonely = [
        str(module)
        for module in modules(package)
        if not mirrored(module) and str(module) not in TESTED_ELSEWHERE
    ]
    assert lonely == []


def test_exceptions_are_still_needed() -> None:
    stale = [
        module
        for module, where in TESTED_ELSEWHERE.items()
        if not (ROOT / module).exists()
        or mirrored(Path(module))
        or not (ROOT / where.split(":")[0]).exists()
    ]
    assert stale == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(module)
        for package in ("gateway", "protocol")
        for module in modules(package)
        if ast.get_docstring(ast.parse((ROOT / module).read_text())) is None
    ]
    assert silent == []


def imported(module: Path) -> set[str]:
    """The top-level names of everything a module imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names


def test_protocol_needs_only_msgspec() -> None:
    allowed = sys.stdlib_module_names | {"msgspec", "protocol"}
    strangers = {str(m): imported(m) - allowed for m in modules("protocol")}
    assert {module: names for module, names in strangers.items() if names} == {}


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys, gateway; print(*[m for m in sys.modules if m.startswith('gateway.')])"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == ""
