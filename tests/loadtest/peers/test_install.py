"""Installing once, and telling what is missing."""

from pathlib import Path

import pytest

from loadtest.peers.install import Missing, install


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the path; it holds a `node`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    write(folder / "node", "exit 0")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def write(path: Path, lines: str) -> None:
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)


def test_what_is_there_is_not_installed_again(programs: Path, tmp_path: Path) -> None:
    write(programs / "npm", f'echo "$@" >> {tmp_path / "calls"}')
    said: list[str] = []
    kit, _ = [install(tmp_path / "kit", ["socketio-node"], said.append) for _ in range(2)]
    assert (tmp_path / "calls").read_text().startswith("install")
    assert len((tmp_path / "calls").read_text().splitlines()) == len(said) == 1
    assert (kit.node_folder / "socketio_node.mjs").exists()
    assert kit.node == str(programs / "node")


def test_a_failure_is_told_and_tried_again(programs: Path, tmp_path: Path) -> None:
    write(programs / "npm", "echo no route to the registry >&2; exit 1")
    for _ in range(2):
        with pytest.raises(Missing, match=r"registry must be in reach.*\n.*no route"):
            install(tmp_path / "kit", ["socketio-node"], lambda _: None)


def test_a_missing_program_is_named(programs: Path, tmp_path: Path) -> None:
    assert not (programs / "npm").exists()
    with pytest.raises(Missing, match="npm"):
        install(tmp_path / "kit", ["socketio-node"], lambda _: None)
