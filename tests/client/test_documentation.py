"""docs/python-client.md: its programs run as they are but for the address; the lists of names."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import client as package
from tests.support.processes import ROOT, GatewayProcess
from tools import reference

PAGE = (ROOT / "docs" / "python-client.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SAID = [
    "And another one completed",
    "calculator {'expression': '42 * 17'}\nIt is 7.",
    '{"decision":"approve"}',
    "completed [] None\n{'answer': 42}",
    "completed Hello there\nHello thereAgain",  # perhaps twice: growing, and done
]


@pytest.mark.parametrize(("program", "said"), list(zip(PROGRAMS, SAID, strict=True)))
def test_its_programs_run(program: str, said: str, served: GatewayProcess, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(program.replace("http://127.0.0.1:8000", served.http_url))
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


@pytest.mark.parametrize("name", package.__all__)
def test_what_is_exported_exists(name: str) -> None:
    assert getattr(package, name).__name__.lower() == name.lower()


@pytest.mark.parametrize("name", ["python", "javascript"])
def test_the_list_of_names_is_current(name: str) -> None:
    """If not: run tools/reference.py."""
    current = {"python": reference.python_page, "javascript": reference.javascript_page}[name]()
    assert (ROOT / "docs" / f"{name}-api.md").read_text() == current
