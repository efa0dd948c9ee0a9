"""What the system lets a process have."""

import os
from pathlib import Path

import pytest

from gateway.delivery import resources as resources_module
from gateway.delivery.resources import Resources

GIB = 2**30


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system of the test's own, with 4 GiB."""
    for name, path in {
        "STATM": "statm",
        "MEMINFO": "meminfo",
        "CGROUP": "cgroup",
        "CGROUPS": "cgroups",
    }.items():
        monkeypatch.setattr(resources_module, name, tmp_path / path)
    (tmp_path / "meminfo").write_text("MemFree: 7 kB\nMemTotal:       4194304 kB\n")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_machine_is_the_limit(system: Path) -> None:
    assert Resources().memory_bytes() == 4 * GIB


def test_a_control_group_of_version_2_and_those_around_it(system: Path) -> None:
    write(system / "cgroup", "0::/pod/container\n")
    write(system / "cgroups/pod/container/memory.max", "max\n")
    write(system / "cgroups/pod/memory.max", f"{GIB}\n")
    assert Resources().memory_bytes() == GIB


def test_in_a_container_the_root_is_its_group(system: Path) -> None:
    write(system / "cgroup", "0::/somewhere/outside\n")
    write(system / "cgroups/memory.max", f"{2 * GIB}\n")
    assert Resources().memory_bytes() == 2 * GIB


def test_a_control_group_of_version_1(system: Path) -> None:
    write(system / "cgroup", "9:name=systemd:/\n4:cpu,memory:/mine\n")
    write(system / "cgroups/memory/mine/memory.limit_in_bytes", f"{3 * GIB}\n")
    write(system / "cgroups/memory/memory.limit_in_bytes", f"{2**63 - 4096}\n")  # none
    assert Resources().memory_bytes() == 3 * GIB


def test_where_nothing_is_known_nothing_is_limited(system: Path) -> None:
    (system / "meminfo").write_text("nonsense")
    write(system / "cgroup", "nonsense\n\n0\n")
    write(system / "statm", "x")
    assert Resources().memory_bytes() is None
    assert Resources().resident_bytes() is None


def test_the_memory_of_this_process() -> None:
    resident = Resources().resident_bytes()
    assert resident is not None
    assert 10 * 2**20 < resident < Resources().memory_bytes()  # type: ignore[operator]


def test_descriptors_of_this_process() -> None:
    resources = Resources()
    most, lowest = resources.descriptors(), resources.lowest_free_descriptor()
    assert lowest is not None
    with Path(os.devnull).open() as file:
        assert file.fileno() == lowest
        assert resources.lowest_free_descriptor() != lowest
    assert most is None or lowest < most
