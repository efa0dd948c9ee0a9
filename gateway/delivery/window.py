"""How many frames a client may have been sent and not yet acknowledged (docs/protocol.md)."""

from collections import deque

MAX_WINDOW = 8192


class Window:
    """Frames sent, as runs of seqs with one frame each; what is merged counts as one frame."""

    __slots__ = ("_limit", "_runs", "_unacked")

    def __init__(self, limit: int) -> None:
        self._limit = min(limit, MAX_WINDOW)
        self._runs: deque[tuple[int, int]] = deque()  # (first, last)
        self._unacked = 0

    @property
    def room(self) -> int:
        """How many frames more may be sent."""
        return self._limit - self._unacked

    def sent(self, first: int, last: int) -> None:
        """One frame went out for each seq from `first` to `last`."""
        self._unacked += last - first + 1
        if self._runs and self._runs[-1][1] == first - 1:
            first, _ = self._runs.pop()
        self._runs.append((first, last))

    def ack(self, seq: int) -> None:
        """Everything up to `seq` was received."""
        while self._runs and self._runs[0][0] <= seq:
            first, last = self._runs.popleft()
            if last > seq:
                self._runs.appendleft((seq + 1, last))
                last = seq
            self._unacked -= last - first + 1
