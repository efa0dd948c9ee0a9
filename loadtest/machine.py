"""The machine and the versions that a result was measured with."""

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

import redis

from loadtest.result import Machine

PACKAGES = (
    "agent-gateway",
    "uvicorn",
    "uvloop",
    "websockets",
    "starlette",
    "msgspec",
    "redis",
    "hiredis",
)


def machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> Machine:
    """This machine; cores are those that this process may use."""
    return Machine(
        cpu=_cpu(cpuinfo),
        cores=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )


def versions(redis_url: str | None = None) -> dict[str, str]:
    """Of the packages that are installed, and of the Redis or Valkey server at this address.

    The address is redis-py's (`redis://…`); of a cluster, any node's.

    Raises:
        redis.exceptions.RedisError: the server does not answer.
    """
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # an optional one
    if redis_url is not None:
        name, version = _server(redis_url)
        found[name] = version
    return found


def _cpu(cpuinfo: Path) -> str:
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _server(url: str) -> tuple[str, str]:
    # The ignores: redis-py's **kwargs have no types.
    with redis.Redis.from_url(url) as client:  # pyright: ignore[reportUnknownMemberType]
        about = client.info("server")  # pyright: ignore[reportUnknownMemberType]
    # Valkey tells Redis' version, too: the one it is compatible with.
    if "valkey_version" in about:
        return "Valkey server", str(about["valkey_version"])
    return "Redis server", str(about["redis_version"])
