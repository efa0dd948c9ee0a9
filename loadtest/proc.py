"""CPU and memory of a process as Linux tells them in /proc. Other systems: nothing is known."""

import os
import resource
from pathlib import Path

import msgspec

TICKS = os.sysconf("SC_CLK_TCK")


class Usage(msgspec.Struct, frozen=True):
    """Of one process, so far."""

    cpu_s: float
    rss_bytes: int
    descriptors: int


def usage(pid: int) -> Usage:
    """What the process uses; zeros for one that has ended."""
    root = Path(f"/proc/{pid}")
    try:
        return Usage(_cpu_s(root), _rss_bytes(root), len(list((root / "fd").iterdir())))
    except OSError:
        return Usage(0.0, 0, 0)


def children(pid: int) -> list[int]:
    """The processes that it has started and that live."""
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def cpu_s(pid: int) -> float:
    """User and system time so far, 0 of a process that has ended; far quicker than `usage`."""
    try:
        return _cpu_s(Path(f"/proc/{pid}"))
    except OSError:
        return 0.0


def raise_descriptor_limit() -> None:
    """As many descriptors for this process as it may ask for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pin(pid: int, cpus: set[int]) -> None:
    """Lets the process run on these CPUs alone; its later threads and children as well."""
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, cpus)


def split_cpus(wanted: bool) -> tuple[set[int], set[int]]:
    """CPUs for the servers that are measured, and for Redis and the clients; empty: do not pin."""
    if not wanted or not hasattr(os, "sched_getaffinity"):
        return set(), set()
    mine = sorted(os.sched_getaffinity(0))
    if len(mine) < 2:
        return set(), set()
    half = max(1, len(mine) // 2)
    return set(mine[:half]), set(mine[half:])


def _cpu_s(root: Path) -> float:
    """User and system, in nanoseconds where the kernel keeps them."""
    total_ns = 0
    for task in (root / "task").iterdir():
        total_ns += int((task / "schedstat").read_text().split()[0])
    if total_ns:
        return total_ns / 1e9
    fields = (root / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _rss_bytes(root: Path) -> int:
    """Resident, exact: `statm` may lag by megabytes."""
    for line in (root / "smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    return 0
