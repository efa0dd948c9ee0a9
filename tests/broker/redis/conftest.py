"""Servers of a test's own, to be flushed, frozen, restarted and killed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.processes import KeyValueServer, RedisServer, Valkey

PROGRAMS = {"valkey": Valkey, "redis": RedisServer}


@pytest.fixture(params=["valkey", "redis"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[KeyValueServer]:
    """Keeps nothing over a restart."""
    made = PROGRAMS[request.param](tmp_path)
    await made.start()
    yield made
    made.resume()
    await made.kill()


@pytest.fixture(params=["valkey", "redis"])
async def durable(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[KeyValueServer]:
    """Has every write on the disk before it answers."""
    made = PROGRAMS[request.param](tmp_path, append_only=True, options={"appendfsync": "always"})
    await made.start()
    yield made
    await made.kill()
