"""How many frames a client may have been sent and not yet acknowledged (docs/protocol.md)."""

from collections import deque

MAX_WINDOW = 8192


class Window:
    """Frames sent, as runs of seqs with one frame each; what is merged counts as one frame."""

    __slots__ = ("_first", "_older", "last", "room")

    def __init__(self, limit: int) -> None:
        self.room = min(limit, MAX_WINDOW)  # how many frames more may be sent
        # the newest run, which a frame of the next seq goes on; empty while `last` is below it
        self._first = 1
        self.last = 0
        self._older: deque[tuple[int, int]] | None = None  # runs before it, if there are any

    def sent(self, first: int, last: int) -> None:
        """One frame went out for each seq from `first` to `last`."""
        self.room -= last - first + 1
        if first != self.last + 1:
            self._begin_run(first)
        self.last = last

    def _begin_run(self, first: int) -> None:
        if self.last >= self._first:
            if self._older is None:
                self._older = deque()
            self._older.append((self._first, self.last))
        self._first = first

    def ack(self, seq: int) -> None:
        """Everything up to `seq` was received."""
        older = self._older
        while older and older[0][0] <= seq:
            first, last = older.popleft()
            if last > seq:
                older.appendleft((seq + 1, last))
                last = seq
            self.room += last - first + 1
        acked = min(seq, self.last) - self._first + 1
        if acked > 0:
            self.room += acked
            self._first += acked
