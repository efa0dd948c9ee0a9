"""A session in memory: its log, snapshot and stored answers. Values alone: no clock, no promise.

What may be stored when is the broker's business.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.broker.base import Head, Share, StoredCommand


@dataclass(slots=True)
class MemorySession:
    """One session as the broker in memory holds it."""

    owner: str
    agent: str
    epoch: str
    seq: int = 0
    version: int = 0
    fence: int = 0
    # The last append of an attempt: (fence, n) and the seq it was answered with.
    last_n: tuple[int, int] | None = None
    last_n_seq: int = 0
    held: bool = False
    deleted: bool = False
    # events[i] has seq `trimmed + 1 + i` and was stored at times[i]
    trimmed: int = 0
    events: list[bytes] = field(default_factory=list[bytes])
    times: list[float] = field(default_factory=list[float])
    snapshot: bytes | None = None
    snapshot_seq: int = 0
    commands: dict[str, StoredCommand] = field(default_factory=dict[str, StoredCommand])
    # principal -> what it may do
    shares: dict[str, Share] = field(default_factory=dict[str, Share])
    log_bytes: int = 0

    @property
    def head(self) -> Head:
        """Where the log stands."""
        return Head(self.epoch, self.seq, self.version, self.fence)

    def after(self, seq: int) -> Iterator[tuple[int, bytes]]:
        """The kept events after `seq`, with their seqs."""
        start = max(seq, self.trimmed)
        return enumerate(self.events[start - self.trimmed :], start + 1)

    def trim(self, up_to: int) -> None:
        """Forget the events up to a seq."""
        if up_to > self.trimmed:
            del self.events[: up_to - self.trimmed]
            del self.times[: up_to - self.trimmed]
            self.trimmed = up_to

    def too_much(self, seq: int, keep_bytes: int | None, oldest: float) -> int:
        """Up to where events must go, of those up to `seq`, for their size or their age."""
        kept = 0
        for index in range(seq - self.trimmed - 1, -1, -1):
            if self.times[index] < oldest or (keep_bytes is not None and kept >= keep_bytes):
                return self.trimmed + index + 1
            kept += len(self.events[index])
        return self.trimmed
