"""Every product for real, briefly: installed, served, published to, measured."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from loadtest.peers.case import Case
from loadtest.peers.command import FOLDER, peers
from loadtest.peers.install import Kit, install
from loadtest.peers.measure import PER_CONNECTION, measure
from loadtest.peers.products import PRODUCTS, Name
from loadtest.result import read

pytestmark = [pytest.mark.peers, pytest.mark.timeout(600)]

NAMES: Sequence[Name] = list(PRODUCTS)
BROADCAST = Case("broadcast", sockets=5, rooms=1, outstanding=4)
MULTIPLEX = Case("multiplex", sockets=4, rooms=12, outstanding=8)
IDLE = Case("idle", sockets=80, rooms=80, outstanding=0)


@pytest.fixture(scope="module")
def kit() -> Kit:
    return install(FOLDER.expanduser(), NAMES, lambda _: None)


@pytest.mark.parametrize("case", [BROADCAST, MULTIPLEX], ids=lambda case: case.scenario)
@pytest.mark.parametrize("name", NAMES)
def test_events_arrive_and_cost(kit: Kit, name: Name, case: Case) -> None:
    result = measure(kit, name, case, 0.5, pin=False)
    assert result.missing == 0
    assert result.events > 100
    assert 0 < result.server_us_per_event < 10_000
    assert result.role_us_per_event("redis") > 0


@pytest.mark.parametrize("name", NAMES)
def test_connections_are_held(kit: Kit, name: Name) -> None:
    (figure,) = measure(kit, name, IDLE, 0.5, pin=False).figures
    assert figure.name == PER_CONNECTION
    assert 0 <= figure.value < 1 << 20


@pytest.mark.parametrize("name", NAMES)
def test_versions_are_known(kit: Kit, name: Name) -> None:
    versions = PRODUCTS[name].versions(kit)
    assert versions
    assert [v for v in versions.values() if not v.removeprefix("v")[:1].isdigit()] == []


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peers(only=["socketio-node"], scenarios=["multiplex"], rounds=1, seconds=0.5, out=tmp_path)
    run = read(tmp_path / "run.json")
    assert [result.target for result in run.results] == ["redis", "socketio-node"]
    assert "Socket.IO (Node)" in capsys.readouterr().out
    assert (tmp_path / "table.md").read_text().startswith("| ")
