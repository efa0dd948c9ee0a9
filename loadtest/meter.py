"""What a window cost: CPU and memory of every process, and what Redis says of itself."""

from collections.abc import Sequence

import msgspec

from loadtest.proc import cpu_s, usage
from loadtest.redis_server import Info, RedisServer
from loadtest.result import Cost, Redis
from loadtest.target import Watched


class Reading(msgspec.Struct, frozen=True):
    """All of it at one moment, process by process."""

    cpu_s: list[float]
    rss_bytes: list[int]
    infos: list[Info]


class Meter:
    """Reads the same processes again and again."""

    def __init__(self, watched: Sequence[Watched], redis: Sequence[RedisServer] = ()) -> None:
        self._watched = watched
        self._redis = redis

    def cpu(self) -> list[float]:
        """CPU times alone: at once, so that it can be when a window begins or ends."""
        return [cpu_s(watched.pid) for watched in self._watched]

    def read(self, cpu: list[float] | None = None) -> Reading:
        """All of it, with CPU times that were read before if given. Takes milliseconds, and work
        of Redis."""
        cpu = self.cpu() if cpu is None else cpu
        memory = [usage(watched.pid).rss_bytes for watched in self._watched]
        return Reading(cpu, memory, [server.info() for server in self._redis])

    def costs(self, before: Reading, after: Reading, events: int) -> tuple[Cost, ...]:
        """Each process between two readings, per event."""
        spent = [b - a for a, b in zip(before.cpu_s, after.cpu_s, strict=True)]
        return tuple(
            Cost(
                name=watched.name,
                role=watched.role,
                cpu_s=spent[i],
                cpu_us_per_event=spent[i] * 1e6 / events if events else 0.0,
                rss_before_bytes=before.rss_bytes[i],
                rss_after_bytes=after.rss_bytes[i],
            )
            for i, watched in enumerate(self._watched)
        )

    def redis(self, before: Reading, after: Reading, events: int) -> Redis | None:
        """What was stored, and by how many commands."""
        if not self._redis:
            return None
        grown = sum(i.used_memory_bytes for i in after.infos) - sum(
            i.used_memory_bytes for i in before.infos
        )
        commands = sum(i.commands for i in after.infos) - sum(i.commands for i in before.infos)
        return Redis(
            used_memory_bytes=grown,
            bytes_per_event=grown / events if events else 0.0,
            commands_per_event=commands / events if events else 0.0,
        )
