"""A feed: the newest events of one session in this process, encoded once for all connections.

It keeps a dense run of events `first … last` of one epoch and knows when it is behind: a jump of
the seq, a header without bodies, another epoch. It never reads the log itself (the hub fills it)
and knows no connection, only that somebody follows.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, TypeVar

import msgspec

from gateway.broker.base import News
from protocol.codec import decode_event, encode, splice
from protocol.detail import KINDS, View, without_provider
from protocol.events import Event, ToolCallStarted
from protocol.state import State

PROVIDER = b'"provider":'
CALL_STARTED = b'"tool_call.started"'
DELTA = b'{"type":"message.delta"'
PLAIN = (b'"type":"message.delta"', b'"type":"custom"', b'"type":"tool_call.delta"')
"""How events begin, behind their brace, of which a feed notes nothing and which hide nothing."""
DELETED = b'{"type":"session.deleted"'
RUN = b'{"type":"run.'
WORK_BEGINS = (b"started", b"retrying", b"resumed")
WORK_ENDS = (b"completed", b"failed", b"cancelled")
MAX_CALL_NAMES = 4096
MAX_VIEWS = 64
CHUNK_EVENTS = 64
CHUNK_BYTES = 64 * 1024
LOST = "-"
"""The epoch of a feed whose log is gone; no log has it."""
Tools = frozenset[str]
T = TypeVar("T")


class Peek(msgspec.Struct, gc=False):
    """All that decides who sees a delta."""

    type: Any = None
    kind: Any = None


_peek = msgspec.json.Decoder(Peek).decode


class Entry:
    """One event: its frame for `full`, and what other views of it are, made when asked for."""

    __slots__ = ("_event", "_views", "body", "frame", "seq", "session")

    def __init__(self, session: str, seq: int, body: bytes, frame: bytes | None = None) -> None:
        self.session = session
        self.seq = seq
        if frame is None:
            body = _stripped(body)
            frame = splice(body, session, seq)
        self.body = body
        self.frame = frame
        self._event: Event | None = None
        self._views: dict[tuple[int, Tools], bytes] | None = None

    @property
    def event(self) -> Event | None:
        """The event, or None if this version does not know its type."""
        if self._event is None:
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
            frame = self._filtered(view, calls)
            _keep(self._views, key, frame)
        return frame

    def _filtered(self, view: View, calls: "CallNames") -> bytes:
        event = self.event
        seen = None if event is None else view.event(event, calls.get)
        if seen is None:
            return b""
        return self.frame if seen is event else splice(encode(seen), self.session, self.seq)


def _keep(made: dict[tuple[int, Tools], T], key: tuple[int, Tools], value: T) -> None:
    """Subscribers name their tools as they like: what is made for them is bounded."""
    if len(made) >= MAX_VIEWS:
        made.clear()
    made[key] = value


class _Unknown(msgspec.Struct):
    """All that is passed on of an event that holds a provider's data where nobody knows."""

    type: str = ""
    time: str = ""


_unknown = msgspec.json.Decoder(_Unknown).decode


def _stripped(body: bytes) -> bytes:
    """The body without a provider's private data, which leaves at no detail (docs/protocol.md)."""
    if PROVIDER not in body:
        return body
    event = decode_event(body)
    if event is None:  # of a newer version: who sees everything still sees that it was there
        return encode(_unknown(body))
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


class Chunk(msgspec.Struct, gc=False):
    """What a view sees of the events behind a cursor, joined once for all who stand there."""

    after: int
    last: int
    message: bytes
    frames: int
    runs: tuple[tuple[int, int], ...] | None
    """The seqs of its frames as runs (first, last); None: all of them."""
    hidden_before: int = 0
    """Hidden events before the first frame; all of them if there is none."""
    hidden_behind: int = 0
    """The same behind the last frame."""


NO_CHUNK = Chunk(-1, -1, b"", 0, None)
FULL_VIEW = View("full")
NO_EVENTS: deque[bytes] = deque(maxlen=0)
"""Every feed's ring until it has an event: most sessions that are followed are silent."""


class Feed:
    """A ring of frames, dense from `first` to `last`, bounded by count and bytes.

    `epoch` is empty until a position is known. `behind` says that something is missing: the hub
    then reads the log. One event is always kept, whatever its size.
    """

    __slots__ = (
        *("_bytes", "doubted", "_entries", "_epoch", "_head", "_max_bytes", "_max_events"),
        *(
            "_seen",
            "calls",
            "deleted",
            "epoch",
            "heard",
            "last",
            "live",
            "newest",
            "ring",
            "session",
        ),
    )

    def __init__(self, session: str, *, max_events: int = 2048, max_bytes: int = 4 << 20) -> None:
        self.session = session
        self.epoch = ""
        self._epoch = b""
        self.last = 0
        self.calls = CallNames()
        self.live = False  # whether a run is at work, as far as its events were seen
        self.deleted = False
        self.heard = 0  # the highest seq that anybody spoke of
        self.doubted = False
        self._head = b'{"session":"%b","seq":' % session.encode()
        self.ring = NO_EVENTS
        """Frames for `full`. Only read elsewhere."""
        self._bytes = 0
        self._entries: dict[int, Entry] = {}  # seq -> entry, of those in the ring that were asked
        self.newest = NO_CHUNK  # the last that was made for `full`
        self._seen: dict[tuple[int, Tools], Chunk] = {}  # the newest for other views
        self._max_events = max_events
        self._max_bytes = max_bytes

    @property
    def first(self) -> int:
        """The seq of the oldest event; `last + 1` if there is none."""
        return self.last + 1 - len(self.ring)

    @property
    def behind(self) -> bool:
        """Whether the log may hold what this feed lacks."""
        return self.doubted or (self.heard > self.last and self.epoch != "")

    def accept(self, news: News) -> bool:
        """Takes news in; True if there are new events. Look at `behind` afterwards."""
        epoch = news.epoch
        if epoch != self.epoch:
            if epoch == "" or self.epoch:
                self.doubted = True
                return False
            if news.bodies:
                self.restart(epoch, news.first - 1)
        self.heard = max(self.heard, news.last)
        if news.first != self.last + 1:
            return self.extend(enumerate(news.bodies, news.first))
        self._append(news.bodies)
        return bool(news.bodies)

    def hear(self, epoch: bytes, first: bytes, count: bytes, text: bytes) -> bool:
        """Takes news as it is published, if it is of the usual kind; else nothing: `accept` it.

        `text` is the bodies, one per line, each without its opening brace. In one piece: each event
        of each session comes here, and what it touches costs more than what it does: docs/adr/0018.
        """
        last = self.last
        if (
            epoch != self._epoch
            or first != b"%d" % (last + 1)
            or self.heard != last
            or self.doubted
            or not epoch
        ):
            return False
        ring = self.ring
        if count == b"1":
            if not text.startswith(PLAIN):
                return False
            frame = b"".join((self._head, first, b",", text))
            ring.append(frame)
            self._bytes += len(frame)
            self.last = self.heard = last + 1
        elif not self._hear_many(count, text):
            return False
        if self._bytes > self._max_bytes or len(ring) > self._max_events:
            self._trim()
        return True

    def _hear_many(self, count: bytes, text: bytes) -> bool:
        bodies = text.split(b"\n{")
        if b"%d" % len(bodies) != count or not all(body.startswith(PLAIN) for body in bodies):
            return False
        head, seq = self._head, self.last
        for body in bodies:
            seq += 1
            frame = b"%b%d,%b" % (head, seq, body)
            self.ring.append(frame)
            self._bytes += len(frame)
        self.last = self.heard = seq
        return True

    def extend(self, events: Iterable[tuple[int, bytes]]) -> bool:
        """Appends those (seq, body) that follow on the newest; True if there was one."""
        bodies: list[bytes] = []
        for seq, body in events:
            if seq == self.last + len(bodies) + 1:
                bodies.append(body)
        self._append(bodies)
        self.heard = max(self.heard, self.last)
        return bool(bodies)

    def _append(self, bodies: Sequence[bytes]) -> None:
        if self.ring is NO_EVENTS and bodies:
            self.ring, self._epoch = deque[bytes](), self.epoch.encode()
        ring, head, seq = self.ring, self._head, self.last
        for body in bodies:
            self.last = seq = seq + 1
            if body.startswith(DELTA):  # nothing that must be noted is ever in a delta
                frame = b"%b%d,%b" % (head, seq, body[1:])
            else:
                bare = self._noted(body)
                frame = b"%b%d,%b" % (head, seq, bare[1:])
            ring.append(frame)
            self._bytes += len(frame)
        if self._bytes > self._max_bytes or len(ring) > self._max_events:
            self._trim()

    def _noted(self, body: bytes) -> bytes:
        """The body as it may leave; what it says of calls and runs is kept."""
        self.deleted = body.startswith(DELETED)
        if body.startswith(RUN):
            self.live = body.startswith(WORK_BEGINS, len(RUN)) or (
                self.live and not body.startswith(WORK_ENDS, len(RUN))
            )
        body = _stripped(body)
        if CALL_STARTED in body:
            self.calls.note(Entry(self.session, self.last, body))
        return body

    def _trim(self) -> None:
        ring = self.ring
        while len(ring) > 1 and (len(ring) > self._max_events or self._bytes > self._max_bytes):
            self._bytes -= len(ring.popleft())
            if self._entries:
                self._entries.pop(self.first - 1, None)

    def begin(self, epoch: str, seq: int) -> bool:
        """A loaded state stands at `seq` of `epoch`; False if the feed is of another epoch."""
        if self.epoch in ("", LOST):
            heard = self.heard
            self.restart(epoch, seq)
            self.heard = max(heard, seq)
        return self.epoch == epoch

    def restart(self, epoch: str, seq: int) -> None:
        """Forgets the events: the log stands at `seq` of `epoch`."""
        self.ring = NO_EVENTS
        self._entries.clear()
        self.newest = NO_CHUNK
        self._seen.clear()
        self._bytes = 0
        self.epoch, self.last = epoch, seq
        self._epoch = b""  # until there is a ring, nothing goes straight into it
        self.heard, self.doubted, self.deleted = seq, False, False

    def lose(self) -> None:
        """The log is gone; subscribers must load the session and be told."""
        self.restart(LOST, 0)

    def doubt(self) -> None:
        """Something may be missing: `behind` until somebody has looked."""
        self.doubted = True

    def stands_at(self, seq: int) -> None:
        """Somebody looked: the log of this epoch stands at `seq`."""
        self.doubted = False
        self.heard = max(seq, self.heard, self.last)

    # --- what is behind a cursor

    def chunk(self, cursor: int, view: View) -> Chunk | None:
        """What `view` sees behind a cursor; None if there is nothing new or too much at once."""
        if view.detail == "full":
            return self.joined(cursor)
        key = (view.level, view.tools)
        chunk = self._seen.get(key)
        if chunk is None or chunk.after != cursor or chunk.last != self.last:
            frames = self._newest(cursor)
            chunk = None if frames is None else self._filtered(cursor, frames, view)
            if chunk is not None:
                _keep(self._seen, key, chunk)
        return chunk

    def joined(self, cursor: int) -> Chunk | None:
        """`chunk` for `full`; look first whether it is `newest`."""
        last = self.last
        if self.newest.after == cursor and self.newest.last == last:
            return self.newest
        if last == cursor + 1 and self.ring and 0 < len(self.ring[-1]) <= CHUNK_BYTES:
            self.newest = Chunk(cursor, last, self.ring[-1], 1, None)
            return self.newest
        frames = self._newest(cursor)
        if frames is None:
            return None
        if not all(frames):
            return self._filtered(cursor, frames, FULL_VIEW)
        message = b"\n".join(frames)
        if len(message) > CHUNK_BYTES:
            return None
        self.newest = Chunk(cursor, last, message, len(frames), None)
        return self.newest

    def _newest(self, cursor: int) -> Sequence[bytes] | None:
        """The frames behind a cursor, if they are few."""
        count = self.last - cursor
        if not 0 < count <= min(CHUNK_EVENTS, len(self.ring)):
            return None
        frames = list(islice(reversed(self.ring), count))
        frames.reverse()
        return frames

    def _filtered(self, cursor: int, frames: Sequence[bytes], view: View) -> Chunk | None:
        visible: list[bytes] = []
        runs: list[tuple[int, int]] = []
        before = behind = 0
        for seq, frame in enumerate(frames, cursor + 1):
            seen = frame if view.detail == "full" else self._seen_by(view, seq, frame)
            if seen:
                visible.append(seen)
                first = runs.pop()[0] if runs and runs[-1][1] == seq - 1 else seq
                runs.append((first, seq))
                behind = 0
            elif visible:
                behind += 1
            else:
                before += 1
        message = b"\n".join(visible)
        if len(message) > CHUNK_BYTES:
            return None
        return Chunk(cursor, self.last, message, len(visible), tuple(runs), before, behind)

    def _seen_by(self, view: View, seq: int, frame: bytes) -> bytes:
        """One frame as a view sees it. Nearly all are deltas: their kind decides."""
        peek = _peek(frame)
        if peek.type == "message.delta" and peek.kind in KINDS:
            return frame if KINDS[peek.kind] <= view.level else b""
        return self._entry(seq, frame).seen(view, self.calls)

    def _entry(self, seq: int, frame: bytes) -> Entry:
        entry = self._entries.get(seq)
        if entry is None:
            body = b"{" + frame[len(self._head) + len(str(seq)) + 1 :]
            entry = self._entries[seq] = Entry(self.session, seq, body, frame)
        return entry

    def reaches(self, cursor: int) -> bool:
        """Whether everything behind a cursor is here."""
        return self.last - cursor <= len(self.ring)

    def after(self, cursor: int) -> Sequence[Entry] | None:
        """The entries behind a cursor, in order; None if the feed does not reach back."""
        count = self.last - cursor
        if count <= 0:
            return ()
        if count > len(self.ring):
            return None
        newest = list(islice(reversed(self.ring), count))
        newest.reverse()
        return [self._entry(seq, frame) for seq, frame in enumerate(newest, cursor + 1)]
