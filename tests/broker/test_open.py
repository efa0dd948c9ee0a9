import sys
from pathlib import Path

import pytest

from gateway.broker.memory import MemoryBroker
from gateway.broker.open import open_broker
from gateway.broker.redis.broker import RedisBroker
from gateway.errors import ConfigurationError
from tests.broker.driving import make
from tests.support.processes import Valkey


def test_memory() -> None:
    assert isinstance(open_broker("memory://"), MemoryBroker)


@pytest.mark.parametrize("url", ["redis://h", "rediss://h:1/2", "unix:///tmp/x.sock"])
def test_redis(url: str) -> None:
    assert isinstance(open_broker(url), RedisBroker)


@pytest.mark.parametrize("url", ["", "redis", "http://h", "memory", "nats://h"])
def test_what_is_no_broker(url: str) -> None:
    with pytest.raises(ConfigurationError, match="memory://"):
        open_broker(url)


@pytest.mark.parametrize("url", ["redis://[::1:6379/0", "redis://h:x", "redis+cluster://[::1:1"])
def test_what_cannot_be_read(url: str) -> None:
    with pytest.raises(ConfigurationError, match="URL cannot be read"):
        open_broker(url)


def test_missing_extra_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("gateway.broker.redis")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis.exceptions", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'agent-gateway\[redis\]'"):
        open_broker("redis://h")


async def test_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "v.sock"
    server = Valkey(tmp_path, options={"unixsocket": str(path)})
    await server.start()
    try:
        broker = open_broker(f"unix://{path}")
        await broker.start()
        session = await make(broker)
        assert await session.append("a") == 2
        await broker.close()
    finally:
        await server.kill()
