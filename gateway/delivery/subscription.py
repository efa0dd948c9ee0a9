"""One connection's subscription to one session: a cursor, and what may go out behind it.

`pull` is the only way that events reach a connection, live and in a replay alike: from the feed,
or from a page of the log when the feed no longer reaches back. It gives every event that the view
sees, once, in seq order (docs/protocol.md). It does no I/O: if a page is needed it says so.
"""

import enum
from collections import deque
from collections.abc import Sequence

from msgspec import structs

from gateway.delivery.feed import Chunk, Entry, Feed
from gateway.delivery.window import Window
from gateway.sessions.access import Facts
from protocol.codec import encode, splice_merged
from protocol.detail import View
from protocol.events import MessageDelta
from protocol.frames import Cursor

HIDDEN_IN_A_ROW = 256
LAGGING_EVENTS = 64
MAX_MERGED_CHARS = 16_384


class Need(enum.Enum):
    """Why a pull ended."""

    NEWS = enum.auto()  # caught up
    TURN = enum.auto()  # the turn's bytes are used up
    ACK = enum.auto()  # the window is full
    LOG = enum.auto()  # the feed does not reach back: a page of the log is needed
    STATE = enum.auto()  # the log is of another epoch


class Subscription:
    """A cursor on a feed. `replay_to`: the seq at which a replay ends, None after a state."""

    __slots__ = (
        *(
            "_confirmed",
            "_dense",
            "_hidden",
            "_view",
            "_keeps_up",
            "_lagging",
            "_limit",
            "_page",
            "_window",
        ),
        *("acked", "cursor", "epoch", "facts", "feed", "full_since", "in_line", "line", "messages"),
        *("replay_to", "told"),
    )

    def __init__(
        self,
        feed: Feed,
        view: View,
        *,
        facts: Facts,
        epoch: str,
        cursor: int,
        window: int | None = None,
        messages: int = 100,
    ) -> None:
        self.feed = feed
        self.view = view
        self.facts = facts  # by which it was let in
        self.messages = messages
        self.in_line = False  # kept by the outbox
        self.line: list[Subscription] = []  # the outbox's
        self.full_since: float | None = None  # kept by the connection's clock
        self._limit = window
        self.restart(epoch, cursor, replay_to=None)

    def restart(self, epoch: str, cursor: int, *, replay_to: int | None) -> None:
        """The client was told that its cursor is `cursor` of `epoch`."""
        self.epoch = epoch
        self.cursor = cursor
        self.replay_to = replay_to
        self.told = cursor  # the highest seq that the client knows of
        self.acked = cursor
        self._confirmed = 0  # the highest ack since this beginning
        self._window = Window(self._limit) if self._limit else None
        self._page: deque[Entry] | None = None
        self._hidden = 0
        self._lagging = replay_to is not None
        self._keeps_up = replay_to is None

    @property
    def view(self) -> View:
        """What it may see."""
        return self._view

    @view.setter
    def view(self, view: View) -> None:
        self._view = view
        self._dense = view.detail == "full"

    @property
    def full(self) -> bool:
        """Whether as many frames are unacknowledged as the window allows."""
        return self._window is not None and self._window.room <= 0

    def ack(self, seq: int) -> bool:
        """Everything up to `seq` was received; False if that cannot be.

        An ack from before a new beginning may still be on its way: that is no error, but one below
        an earlier ack is.
        """
        if seq > self.told or seq < self._confirmed:
            return False
        self._confirmed = seq
        if seq <= self.acked:
            return True
        self.full_since = None
        self.acked = seq
        if self._window is not None:
            self._window.ack(seq)
        return True

    def offer(self, events: Sequence[tuple[int, bytes]]) -> bool:
        """A page of the log behind the cursor; False if it does not follow on it."""
        if not events or events[0][0] > self.cursor + 1:
            return False
        entries = (Entry(self.feed.session, seq, body) for seq, body in events)
        self._page = deque(entry for entry in entries if entry.seq > self.cursor)
        for entry in self._page:
            self.feed.calls.note(entry)
        self._keeps_up = False
        return True

    def wake(self) -> None:
        """There may be something to pull."""
        if not self.in_line:
            self.in_line = True
            self.line.append(self)

    def newest(self) -> bytes:
        """The frame of the one event behind the cursor, where that is all a pull would give.

        Else nothing. In one piece, as `chunk`.
        """
        feed, last = self.feed, self.cursor + 1
        if (
            feed.last != last
            or not self._dense
            or not self._keeps_up
            or self.epoch != feed.epoch
            or not feed.ring
            or not (frame := feed.ring[-1])
        ):
            return b""
        window = self._window
        if window is not None:
            if window.room <= 0:
                return b""
            if window.last + 1 == last:
                window.last = last
                window.room -= 1
            else:
                window.sent(last, last)
        self.cursor = self.told = last
        return frame

    def chunk(self) -> Chunk | None:
        """What a pull would give, where that is the same for all who keep up; else None.

        Called for every frame that goes to everyone: hence in one piece.
        """
        feed, cursor = self.feed, self.cursor
        if not self._keeps_up or self.epoch != feed.epoch:
            return None
        if self._dense:
            chunk = feed.newest
            if chunk.after != cursor or chunk.last != feed.last:
                chunk = feed.joined(cursor)
        else:
            chunk = feed.chunk(cursor, self.view)
        if chunk is None:
            return None
        window = self._window
        if window is not None and chunk.frames > window.room:
            return None
        if chunk.runs is not None:
            return self._take_runs(chunk, chunk.runs)
        last = self.cursor = self.told = chunk.last
        if window is not None:
            if window.last == cursor:
                window.last = last
                window.room -= chunk.frames
            else:
                window.sent(cursor + 1, last)
        return chunk

    def _take_runs(self, chunk: Chunk, runs: Sequence[tuple[int, int]]) -> Chunk | None:
        """Takes a chunk with hidden events; None if a cursor is due within it."""
        hidden = self._hidden + chunk.hidden_before
        if hidden >= HIDDEN_IN_A_ROW:
            return None
        self._hidden = hidden
        self.cursor = chunk.last
        if runs:
            self._hidden = chunk.hidden_behind
            self.told = runs[-1][1]
            if self._window is not None:
                for first, last in runs:
                    self._window.sent(first, last)
        return chunk

    def pull(self, max_bytes: int, *, must: bool) -> tuple[list[bytes], Need]:
        """The next frames, at most `max_bytes` of them, and why there are no more.

        With `must` there is at least one if there is any, however large.
        """
        frames: list[bytes] = []
        need = self._pull(frames, max_bytes, must)
        self._keeps_up = not (self._lagging or self.replay_to is not None or self._page)
        return frames, need

    def _pull(self, frames: list[bytes], room: int, must: bool) -> Need:
        while True:
            if self.epoch != self.feed.epoch:
                return Need.STATE
            if self.cursor == self.replay_to:
                frames.append(self._end_replay())
            entries = self._source()
            if entries is None:
                return Need.LOG
            if not entries:
                self._lagging = False
                return Need.NEWS
            size, need = self._take(entries, frames, room, must and not frames)
            room -= size
            if need is not None:
                self._lagging = True
                return need

    def _source(self) -> Sequence[Entry] | None:
        """The entries behind the cursor, not beyond the end of a replay; None: read the log."""
        page = self._page
        while page and page[0].seq <= self.cursor:
            page.popleft()
        entries = list(page) if page else self.feed.after(self.cursor)
        if entries is None:
            return None
        if len(entries) > LAGGING_EVENTS:
            self._lagging = True
        if self.replay_to is not None:
            return entries[: max(0, self.replay_to - self.cursor)]
        return entries

    def _take(
        self, entries: Sequence[Entry], frames: list[bytes], room: int, must: bool
    ) -> tuple[int, Need | None]:
        """Moves the cursor over `entries`, as far as room and window allow; bytes, why it ended."""
        size, at = 0, 0
        while at < len(entries):
            entry = entries[at]
            frame = entry.seen(self.view, self.feed.calls)
            if not frame:
                at += 1
                size += self._hide(entry.seq, frames)
                continue
            if self.full:
                return size, Need.ACK
            end = at + 1
            if self._lagging and entry.is_delta:
                end = _run_of_deltas(entries, at)
                if end > at + 1:
                    frame = _merged(entries[at:end])
            if size + len(frame) > room and not (must and size == 0):
                return size, Need.TURN
            at = end
            frames.append(frame)
            size += len(frame) + 1
            self._sent(entries[end - 1].seq)
        return size, None

    def _sent(self, seq: int) -> None:
        self.cursor = self.told = seq
        self._hidden = 0
        if self._window is not None:
            self._window.sent(seq, seq)

    def _hide(self, seq: int, frames: list[bytes]) -> int:
        self.cursor = seq
        self._hidden += 1
        if self._hidden < HIDDEN_IN_A_ROW:
            return 0
        frames.append(self._cursor_frame())
        return len(frames[-1]) + 1

    def _end_replay(self) -> bytes:
        self.replay_to = None
        self._lagging = False
        return self._cursor_frame()

    def _cursor_frame(self) -> bytes:
        self._hidden = 0
        self.told = self.cursor
        return encode(Cursor(session=self.feed.session, seq=self.cursor))


def _run_of_deltas(entries: Sequence[Entry], at: int) -> int:
    """Where the run of neighbouring deltas of one part that starts at `at` ends."""
    first = entries[at].event
    if not isinstance(first, MessageDelta):  # only a newer version knows what is in it
        return at + 1
    end, chars = at + 1, len(first.delta)
    while end < len(entries) and entries[end].is_delta:
        delta = entries[end].event
        if not isinstance(delta, MessageDelta):
            break
        chars += len(delta.delta)
        same = (delta.message, delta.part, delta.kind) == (first.message, first.part, first.kind)
        if not same or chars > MAX_MERGED_CHARS:
            break
        end += 1
    return end


def _merged(entries: Sequence[Entry]) -> bytes:
    """One frame for several deltas; it has the last one's seq and time."""
    deltas = [entry.event for entry in entries]
    last = deltas[-1]
    assert isinstance(last, MessageDelta)
    text = "".join(delta.delta for delta in deltas if isinstance(delta, MessageDelta))
    body = encode(structs.replace(last, delta=text))
    return splice_merged(body, entries[-1].session, entries[-1].seq, entries[0].seq)
