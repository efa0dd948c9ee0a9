"""What the memory broker keeps beside sessions: values that are taken once, notices on boards.

Times are seconds since the epoch, given by the caller; nothing here waits.
"""

import heapq


class Shelf:
    """Values by key and notices by board, each until its time."""

    def __init__(self) -> None:
        # key -> (value, until)
        self._kept: dict[str, tuple[bytes, float]] = {}
        # What of them ends first; one that was taken or replaced meanwhile is skipped
        self._ends: list[tuple[float, str]] = []
        # board -> notice -> until
        self._boards: dict[str, dict[bytes, float]] = {}

    def keep(self, key: str, value: bytes, until: float, now: float) -> None:
        self._forget(now)
        self._kept[key] = (value, until)
        heapq.heappush(self._ends, (until, key))

    def take(self, key: str, now: float) -> bytes | None:
        self._forget(now)
        return self._kept.pop(key, (None, now))[0]

    def _forget(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            _, key = heapq.heappop(self._ends)
            if key in self._kept and self._kept[key][1] <= now:
                del self._kept[key]

    def post(self, board: str, notice: bytes, until: float) -> None:
        notices = self._boards.setdefault(board, {})
        notices[notice] = max(until, notices.get(notice, until))

    def posted(self, board: str, now: float) -> list[bytes]:
        notices = {n: until for n, until in self._boards.get(board, {}).items() if until > now}
        self._boards[board] = notices
        return list(notices)
