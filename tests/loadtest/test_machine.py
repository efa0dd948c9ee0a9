"""What is told of the machine, and of the servers that were measured."""

from pathlib import Path

import pytest
import redis.exceptions

from loadtest.machine import machine, versions
from tests.support.processes import KeyValueServer


def test_the_cpu_is_named_by_its_model(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz: fast\nflags\t: fpu\n")
    assert machine(cpuinfo).cpu == "Some CPU @ 3 GHz: fast"


@pytest.mark.parametrize("content", [None, "processor: 0\n"])
def test_a_cpu_without_a_model_has_an_architecture(tmp_path: Path, content: str | None) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    if content is not None:
        cpuinfo.write_text(content)
    found = machine(cpuinfo)
    assert found.cpu
    assert found.cores >= 1
    assert found.python.startswith("3.")


def test_installed_packages_have_versions() -> None:
    found = versions()
    assert {"uvicorn", "websockets", "redis", "hiredis"} <= found.keys()
    assert all(version[0].isdigit() for version in found.values())


def test_the_server_tells_its_kind_and_version(
    redis_server: KeyValueServer, valkey: KeyValueServer
) -> None:
    assert versions(redis_server.url)["Redis server"].count(".") == 2
    assert versions(valkey.url)["Valkey server"].count(".") == 2


def test_a_server_that_does_not_answer_is_an_error(unused_tcp_port: int) -> None:
    with pytest.raises(redis.exceptions.ConnectionError):
        versions(f"redis://127.0.0.1:{unused_tcp_port}/0")
