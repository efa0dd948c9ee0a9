"""Coverage-guided fuzzing of what reads bytes of others: each target in a process of its own."""

import asyncio
import logging
import os
import re
import sys
from pathlib import Path

import pytest

from tests.fuzz.conftest import Budget, Tried
from tests.fuzz.targets import TARGETS, seeds

ROOT = Path(__file__).parents[2]
RUNS = re.compile(r"stat::number_of_executed_units: (\d+)")


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_are_no_findings(name: str, caplog: pytest.LogCaptureFixture) -> None:
    for good in seeds(name):
        TARGETS[name](good)
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("name", TARGETS)
async def test_target(name: str, tmp_path: Path, budget: Budget, tried: Tried) -> None:
    seconds = max(1, round(budget.seconds))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.fuzz", name, tmp_path / "corpus"),
        *(str(seconds), str(budget.seed)),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await process.communicate())[0].decode(errors="replace")
    found = {path.name: path.read_bytes()[:2_000] for path in tmp_path.glob("*-*")}
    assert process.returncode == 0, f"{found}\n{said[-5_000:]}"
    assert "Traceback" not in said, said[-5_000:]  # logged, not raised
    runs = RUNS.search(said)
    assert runs is not None, said[-5_000:]
    tried(int(runs[1]))
