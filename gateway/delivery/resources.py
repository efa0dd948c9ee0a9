"""What the system lets this process have, and what it has: memory and file descriptors.

Reads `/proc`, `/sys/fs/cgroup` and resource limits; where there are none, nothing is known (None)
and nothing is limited.
"""

import os
from contextlib import suppress
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None

STATM = Path("/proc/self/statm")
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")
UNLIMITED = 2**60
"""cgroup v1 writes "no limit" as some number above this."""


class Resources:
    """The real ones; tests put numbers in their place."""

    def resident_bytes(self) -> int | None:
        """Memory that this process occupies."""
        with suppress(OSError, ValueError, IndexError):
            return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return None

    def memory_bytes(self) -> int | None:
        """The least of what its control groups and the machine have."""
        known = [size for size in (*_cgroup_bytes(), _machine_bytes()) if size is not None]
        return min(known, default=None)

    def descriptors(self) -> int | None:
        """How many file descriptors it may have open."""
        if resource is None:
            return None
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return None if soft == resource.RLIM_INFINITY else soft

    def lowest_free_descriptor(self) -> int | None:
        """All below it are in use (POSIX gives the lowest); None: there is none."""
        try:
            number = os.open(os.devnull, os.O_RDONLY)
        except OSError:
            return None
        os.close(number)
        return number


def raise_descriptor_limit() -> None:
    """To what the system allows without asking; a shell's default is about a thousand."""
    if resource is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _machine_bytes() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in MEMINFO.read_text().splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) * 1024
    return None


def _cgroup_bytes() -> list[int]:
    """The limits of its own control group and of those around it, version 1 or 2."""
    lines: list[str] = []
    with suppress(OSError):
        lines = CGROUP.read_text().splitlines()
    found: list[int] = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            found += _limits(CGROUPS, path, "memory.max")
        elif "memory" in controllers.split(","):
            found += _limits(CGROUPS / "memory", path, "memory.limit_in_bytes")
    return found


def _limits(root: Path, path: str, file: str) -> list[int]:
    """In a container the path may be one of outside: then its root is what counts."""
    found: list[int] = []
    inner = root / path.lstrip("/")
    for folder in (inner, *inner.parents):
        if not folder.is_relative_to(root):
            break
        with suppress(OSError, ValueError):  # "max": no limit
            size = int((folder / file).read_text())
            if size < UNLIMITED:
                found.append(size)
    return found
