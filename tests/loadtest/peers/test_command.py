"""What the command refuses before it installs anything."""

from pathlib import Path

import pytest

from loadtest.errors import LoadError
from loadtest.peers.command import peers


def test_an_unknown_scenario_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"'storm'.* broadcast, idle, multiplex"):
        peers(scenarios=["storm"], folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
