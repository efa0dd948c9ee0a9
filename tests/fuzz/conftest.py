"""How long and with which seed the fuzzers run, and what they report of it.

`FUZZ_SECONDS` is for each target (`make fuzz` gives them longer), `FUZZ_SEED` repeats a run.
"""

import os
from collections.abc import Callable

import pytest
from msgspec import Struct

SECONDS = float(os.environ.get("FUZZ_SECONDS", "3"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
OVERHEAD = 20
"""A process that starts, a tool that loads: so many times longer may a target take in all."""

Tried = Callable[[int], None]


class Budget(Struct, frozen=True):
    """Of one target."""

    seconds: float
    seed: int


@pytest.fixture(scope="session")
def budget() -> Budget:
    return Budget(SECONDS, SEED)


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Tried:
    """Says how many inputs a target was given."""

    def tried(inputs: int) -> None:
        assert inputs > 0, "nothing was tried"
        request.node.user_properties.append(("inputs", inputs))

    return tried


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/tests/fuzz/" in str(item.path):
            item.add_marker(pytest.mark.timeout(600 + OVERHEAD * SECONDS))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [
        (report, dict(report.user_properties).get("inputs"))
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if report.when == "call" and "tests/fuzz/" in report.nodeid
    ]
    if not reports:
        return
    terminalreporter.section(f"fuzzing, {SECONDS:g} s a target, seed {SEED}")
    for report, inputs in sorted(reports, key=lambda found: found[0].nodeid):
        name = report.nodeid.rpartition("::")[2]
        found = "a finding, see above" if report.failed else "no finding"
        tried = "" if inputs is None else f"{inputs:,}"
        terminalreporter.write_line(f"{name:44} {tried:>12} inputs  {found}")
