"""The command: what it prints of a model, and how it fails."""

from pathlib import Path

import msgspec
import pytest

from loadtest.__main__ import main
from loadtest.result import write
from loadtest.scale import read_measured
from tests.loadtest.measured import result, run, through_redis


def test_so_many_sockets_need_so_much(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scale", "--sockets", "10000", "1000000", "--active", "0.1"]) == 0

    said = capsys.readouterr().out
    assert "| sockets | 10,000 | 1,000,000 |" in said
    assert "| tokens a second | 30,000 | 3,000,000 |" in said


def test_a_run_is_checked_against_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = msgspec.structs.replace(through_redis(), scenario="tokens", processes=2, workers=2)
    write(run(two, result()), tmp_path / "run.json")

    assert main(["scale", "--check", str(tmp_path / "run.json")]) == 0
    said = capsys.readouterr().out
    assert said.count("redis, 2 gateways, 2 workers") == 3  # its three roles; no other run
    assert "| worker |" in said


def test_the_shipped_constants_can_be_read() -> None:
    measured = read_measured()

    assert measured.machine
    assert measured.date
    assert 0 < measured.constants.gateway_joined_us < measured.constants.gateway_alone_us


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--sockets", "0"], "--sockets makes no sense"),
        (["--sockets", "9", "--active", "2"], "--active makes no sense"),
        (["--sockets", "9", "--tokens-per-s", "0"], "--tokens-per-s makes no sense"),
        (["--sockets", "9", "--kept-events", "-1"], "--kept-events makes no sense"),
        (["--sockets", "9", "--full", "2"], "--full is a share"),
        (["--sockets", "9", "--redis-gib", "0"], "0.5 or more"),
        (["--sockets", "9", "--measured", "/nowhere.json"], "/nowhere.json cannot be read"),
        (["--check", "/nowhere.json"], "/nowhere.json cannot be read"),
        (["--rounds", "0"], "--rounds must be 1 or more"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scale", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("loadtest: ")
    assert told in said
    assert "Traceback" not in said


def test_a_file_of_something_else_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.json"
    write(run(result()), path)

    assert main(["scale", "--sockets", "9", "--measured", str(path)]) == 2
    assert main(["scale", "--check", str(path)]) == 2
    said = capsys.readouterr().err
    assert "is no scale.json" in said
    assert "needs a run of tokens with workers" in said
