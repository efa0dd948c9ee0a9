"""A feed: the newest events of one session in this process, encoded once for all connections.

It keeps a dense run of events `first … last` of one epoch and knows when it is behind: a jump of
the seq, a header without bodies, another epoch. It never reads the log itself (the hub fills it)
and knows no connection, only that somebody follows.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from gateway.broker.base import News
from protocol.codec import decode_event, encode, splice
from protocol.detail import View, without_provider
from protocol.events import Event, ToolCallStarted
from protocol.state import State

PROVIDER = b'"provider":'
CALL_STARTED = b'"tool_call.started"'
DELTA = b'{"type":"message.delta"'
DELETED = b'{"type":"session.deleted"'
RUN = b'{"type":"run.'
WORK_BEGINS = (b"started", b"retrying", b"resumed")
WORK_ENDS = (b"completed", b"failed", b"cancelled")
MAX_CALL_NAMES = 4096
CHUNK_EVENTS = 64
CHUNK_BYTES = 64 * 1024
LOST = "-"
"""The epoch of a feed whose log is gone; no log has it."""
Tools = frozenset[str]


class Entry:
    """One event: its frame for `full`, and what other views of it are, made when asked for."""

    __slots__ = ("_event", "_views", "body", "frame", "seq", "session")

    def __init__(self, session: str, seq: int, body: bytes) -> None:
        self.session = session
        self.seq = seq
        if PROVIDER in body:
            body = _stripped(body)
        self.body = body
        # b"": an event that this version does not know and that holds a provider's data
        self.frame = splice(body, session, seq) if body else b""
        self._event: Event | None = None
        self._views: dict[tuple[int, Tools], bytes] | None = None

    @property
    def event(self) -> Event | None:
        """The event, or None if this version does not know its type."""
        if self._event is None and self.body:
            self._event = decode_event(self.body)
        return self._event

    @property
    def is_delta(self) -> bool:
        """Whether neighbours may be merged with it."""
        return self.body.startswith(DELTA)

    def seen(self, view: View, calls: "CallNames") -> bytes:
        """The frame as `view` sees it; empty if it sees nothing."""
        if view.detail == "full":
            return self.frame
        key = (view.level, view.tools)
        if self._views is None:
            self._views = {}
        if (frame := self._views.get(key)) is None:
            frame = self._views[key] = self._filtered(view, calls)
        return frame

    def _filtered(self, view: View, calls: "CallNames") -> bytes:
        event = self.event
        seen = None if event is None else view.event(event, calls.get)
        if seen is None:
            return b""
        return self.frame if seen is event else splice(encode(seen), self.session, self.seq)


def _stripped(body: bytes) -> bytes:
    """The body without a provider's private data, which leaves at no detail (docs/protocol.md)."""
    event = decode_event(body)
    if event is None:
        return b""
    bare = without_provider(event)
    return body if bare is event else encode(bare)


class CallNames:
    """Call id -> (name, target): what a filter must know of calls that began before."""

    __slots__ = ("_names",)

    def __init__(self) -> None:
        self._names: dict[str, tuple[str, str]] = {}

    def get(self, call: str) -> tuple[str, str] | None:
        """Name and target of a call; None if it is unknown."""
        return self._names.get(call)

    def learn(self, state: State) -> None:
        """All calls that a state holds."""
        for call in state.calls.values():
            self._add(call.id, call.name, call.target)

    def note(self, entry: Entry) -> None:
        """The call that an event starts, if it starts one."""
        if CALL_STARTED in entry.body and isinstance(entry.event, ToolCallStarted):
            event = entry.event
            self._add(event.call, event.name, event.target)

    def _add(self, call: str, name: str, target: str) -> None:
        self._names[call] = (name, target)
        if len(self._names) > MAX_CALL_NAMES:
            del self._names[next(iter(self._names))]


class Chunk(NamedTuple):
    """Frames of consecutive events, joined once for all who stand at the same cursor."""

    message: bytes
    frames: int
    last: int


class Feed:
    """A ring of entries, dense from `first` to `last`, bounded by count and bytes.

    `epoch` is empty until a position is known. `behind` says that something is missing: the hub
    then reads the log. One event is always kept, whatever its size.
    """

    def __init__(self, session: str, *, max_events: int = 2048, max_bytes: int = 4 << 20) -> None:
        self.session = session
        self.epoch = ""
        self.last = 0
        self.calls = CallNames()
        self.live = False  # whether a run is at work, as far as its events were seen
        self.deleted = False
        self.heard = 0  # the highest seq that anybody spoke of
        self._doubt = False
        self._ring: deque[Entry] = deque()
        self._bytes = 0
        self._chunk: tuple[int, Chunk | None] = (-1, None)  # cursor -> chunk, the newest only
        self._max_events = max_events
        self._max_bytes = max_bytes

    @property
    def first(self) -> int:
        """The seq of the oldest entry; `last + 1` if there is none."""
        return self.last + 1 - len(self._ring)

    @property
    def behind(self) -> bool:
        """Whether the log may hold what this feed lacks."""
        return self._doubt or (self.epoch != "" and self.heard > self.last)

    def accept(self, news: News) -> bool:
        """Takes news in; True if there are new entries. Look at `behind` afterwards."""
        if news.epoch == "" or (self.epoch and news.epoch != self.epoch):
            self._doubt = True
            return False
        self.heard = max(self.heard, news.last)
        if not news.bodies:
            return False
        if not self.epoch:
            self.restart(news.epoch, news.first - 1)
        return self.extend(enumerate(news.bodies, news.first))

    def extend(self, events: Iterable[tuple[int, bytes]]) -> bool:
        """Appends those (seq, body) that follow on the newest; True if there was one."""
        before = self.last
        for seq, body in events:
            if seq == self.last + 1:
                self._append(Entry(self.session, seq, body))
        self.heard = max(self.heard, self.last)
        return self.last > before

    def _append(self, entry: Entry) -> None:
        self._ring.append(entry)
        self._chunk = (-1, None)
        self.last = entry.seq
        self._bytes += len(entry.frame)
        self.calls.note(entry)
        body = entry.body
        self.deleted = body.startswith(DELETED)
        if body.startswith(RUN):
            self.live = body.startswith(WORK_BEGINS, len(RUN)) or (
                self.live and not body.startswith(WORK_ENDS, len(RUN))
            )
        while len(self._ring) > 1 and (
            len(self._ring) > self._max_events or self._bytes > self._max_bytes
        ):
            self._bytes -= len(self._ring.popleft().frame)

    def begin(self, epoch: str, seq: int) -> bool:
        """A loaded state stands at `seq` of `epoch`; False if the feed is of another epoch."""
        if self.epoch in ("", LOST):
            heard = self.heard
            self.restart(epoch, seq)
            self.heard = max(heard, seq)
        return self.epoch == epoch

    def restart(self, epoch: str, seq: int) -> None:
        """Forgets the entries: the log stands at `seq` of `epoch`."""
        self._ring.clear()
        self._chunk = (-1, None)
        self._bytes = 0
        self.epoch, self.last = epoch, seq
        self.heard, self._doubt, self.deleted = seq, False, False

    def lose(self) -> None:
        """The log is gone; subscribers must load the session and be told."""
        self.restart(LOST, 0)

    def doubt(self) -> None:
        """Something may be missing: `behind` until somebody has looked."""
        self._doubt = True

    def stands_at(self, seq: int) -> None:
        """Somebody looked: the log of this epoch stands at `seq`."""
        self._doubt = False
        self.heard = max(seq, self.heard, self.last)

    def chunk(self, cursor: int) -> Chunk | None:
        """All frames behind a cursor as one; None if these are none, many or not all visible."""
        if cursor >= self.last:
            return None
        if self._chunk[0] != cursor:
            self._chunk = (cursor, self._joined(cursor))
        return self._chunk[1]

    def _joined(self, cursor: int) -> Chunk | None:
        if self.last - cursor > CHUNK_EVENTS:
            return None
        frames = [entry.frame for entry in self.after(cursor) or ()]
        if not frames or not all(frames) or sum(map(len, frames)) > CHUNK_BYTES:
            return None
        return Chunk(b"\n".join(frames), len(frames), self.last)

    def after(self, cursor: int) -> Sequence[Entry] | None:
        """The entries behind a cursor, in order; None if the feed does not reach back."""
        count = self.last - cursor
        if count <= 0:
            return ()
        if count > len(self._ring):
            return None
        newest = list(islice(reversed(self._ring), count))
        newest.reverse()
        return newest
