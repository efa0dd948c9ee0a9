"""The command: what it writes, and how it fails."""

import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.__main__ import main
from loadtest.result import read, write
from tests.loadtest.measured import result, run

ROOT = Path(__file__).parents[2]


def test_a_run_prints_a_table_and_writes_json_and_a_page(tmp_path: Path) -> None:
    options = ["--sessions", "4", "--sockets", "2", "--outstanding", "4"]
    short = ["--seconds", "0.5", "--warm-up", "0.1", "--out", str(tmp_path / "results")]
    done = subprocess.run(
        [sys.executable, "-m", "loadtest", "run", "multiplex", *options, *short],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    found = read(tmp_path / "results" / "run.json")

    assert "multiplex" in done.stdout
    assert done.stderr == ""  # no progress where nobody sees it
    assert found.results[0].scenario == "multiplex"
    assert "agent-gateway" in found.versions
    assert "<html" in (tmp_path / "results" / "run.html").read_text()


def test_two_runs_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, us in (("old", 2.0), ("new", 1.0)):
        write(run(result(us=us)), tmp_path / f"{name}.json")
    page = tmp_path / "ratios.html"
    code = main(
        ["compare", str(tmp_path / "old.json"), str(tmp_path / "new.json"), "--out", str(page)]
    )

    assert code == 0
    assert "ratio" in capsys.readouterr().out
    assert "<html" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "nothing"], "There is no scenario 'nothing'"),
        (["run", "--seconds", "long"], "seconds"),
        (["run", "tools", "--workers", "-1"], "--workers 0 or more"),
        (["compare", "/nowhere.json", "/nowhere.json"], "/nowhere.json cannot be read"),
        (["peers", "--only", "sails"], "sails"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("loadtest: ")
    assert told in said
    assert "Traceback" not in said


@pytest.mark.parametrize("text", ["{}", "no JSON"])
def test_a_file_of_something_else_is_told(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)

    assert main(["compare", str(path), str(path)]) == 2
    assert "is no " in capsys.readouterr().err
