"""The public API as a type checker sees it: `typed_api.py` is checked, never run."""

import subprocess
import sys
from pathlib import Path

from tests.support.processes import ROOT

API = ROOT / "tests" / "client" / "typed_api.py"
WRONG = """
from gateway.client import Client

client = Client(8000)
client.agent("echo").send_message("Hello", if_busy="wait")
client.run("echo", stream=True).output
"""


def pyright(file: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, file]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_what_is_right_is_accepted() -> None:
    done = pyright(str(API))
    assert done.returncode == 0, done.stdout


def test_what_is_wrong_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(WRONG)
    done = pyright(str(file))
    assert done.returncode == 1, done.stdout
    for line in (4, 5, 6):
        assert f"wrong.py:{line}:" in done.stdout
