"""What a client process does with what comes: hear every frame, count, answer tools, send commands.

A mode of a busy time never decodes. `Window` is what is measured between `begin` and `end`.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Protocol

import msgspec

from loadtest.credits import Desk
from loadtest.errors import LoadError
from loadtest.frames import texts
from loadtest.histogram import Histogram
from loadtest.result import Latency, Moment
from loadtest.stamps import MARK, PATTERN, ages_us, now_us
from loadtest.tab import Tab

MOMENT_S = 0.25
DAY_S = 86_400
_TIME = re.compile(rb',"time":"[^T"]+T(\d\d):(\d\d):(\d\d\.\d+)Z"')
_ERROR = b'"type":"error"'
_OK = re.compile(rb'"id":"(m\d+_[^"]+)"')


class Dialect(Protocol):
    """What modes need of the wire that is spoken."""

    @property
    def event(self) -> bytes:
        """What every event holds once, and nothing else does."""
        ...

    def hear(self, tab: Tab, text: bytes) -> list[dict[str, Any]]:
        """Takes a whole message; returns its frames."""
        ...

    def follow(self, tab: Tab, buffer: bytearray, end: int, events: int, now: float) -> None:
        """Takes whole frames of a busy time, so many of them events."""
        ...

    def tick(self, now: float) -> None:
        """Does what is due by time."""
        ...


class Counted(msgspec.Struct, frozen=True):
    """What a window found."""

    seconds: float
    events: int
    tokens: int
    bytes: int
    latency: Latency | None
    moments: list[Moment]


class Window:
    """Counts from its beginning."""

    def __init__(self, sample: int) -> None:
        self.events = self.tokens = self.bytes = 0
        self._sample = sample
        self._reads = 0
        self._ages: Counter[int] = Counter()  # µs -> how many
        self._began = time.monotonic()
        self._moments: list[Moment] = []
        self._next = self._began + MOMENT_S
        self._then = (0, 0)

    def stamps(self, buffer: bytearray, end: int) -> None:
        """The latencies of all stamps of one read, of every k-th read."""
        self._reads += 1
        if self._reads % self._sample == 0:
            self._ages.update(ages_us(PATTERN.findall(buffer, 0, end), now_us()))

    def latency(self, us: int) -> None:
        """One latency that was measured otherwise."""
        self._ages[us] += 1

    def turned(self, now: float) -> None:
        """Keeps the throughput over time."""
        if now >= self._next:
            events, size = self._then
            self._then = (self.events, self.bytes)
            at_s = round(now - self._began, 3)
            self._moments.append(Moment(at_s, self.events - events, self.bytes - size))
            self._next = now + MOMENT_S

    def counted(self) -> Counted:
        """All of it so far."""
        histogram = Histogram()
        for us, count in self._ages.items():
            histogram.record(us, count)
        return Counted(
            seconds=time.monotonic() - self._began,
            events=self.events,
            tokens=self.tokens,
            bytes=self.bytes,
            latency=histogram.latency(),
            moments=self._moments,
        )


def _since(at: float, now: float) -> int:
    """Microseconds between two times of day; a clock that is a little ahead counts as none."""
    passed = (now - at) % DAY_S
    return 0 if passed > DAY_S / 2 else round(passed * 1e6)


class Hearing:
    """Decodes every frame: beginnings and ends. `heard` is told of each."""

    blank = False

    def __init__(
        self, dialect: Dialect, heard: Callable[[Tab, dict[str, Any]], None] | None = None
    ) -> None:
        self._dialect = dialect
        self._heard = heard

    def take(self, tab: Tab, buffer: bytearray, end: int) -> None:
        for text in texts(buffer, end):
            for frame in self._dialect.hear(tab, text):
                if self._heard is not None:
                    self._heard(tab, frame)

    def turned(self, now: float) -> None:
        self._dialect.tick(now)


class Credit:
    """Gives a credit for what has arrived, in rotation over the slots.

    With `everywhere` an event has arrived when every tab has it, else when one has.
    """

    def __init__(
        self, desk: Desk, slots: Sequence[int], tabs: Sequence[Tab], *, everywhere: bool
    ) -> None:
        self._desk = desk
        self._slots = slots
        self._tabs = tabs if everywhere else ()
        self._next = 0
        self._given_for = 0
        self._start = {tab: tab.tokens for tab in tabs}
        self._all = sum(self._start.values())
        self.arrived = 0  # tokens at any tab

    def give(self, count: int) -> None:
        """So many more may be on their way."""
        slots, at = self._slots, self._next
        if len(slots) == 1:
            self._desk.give([slots[0]] * count)
            return
        chosen = list(islice(slots, at, at + count))
        while len(chosen) < count:
            chosen += slots[: count - len(chosen)]
        self._next = (at + count) % len(slots)
        self._desk.give(chosen)

    def settle(self) -> None:
        """Gives back what has arrived since the last time."""
        fans = len(self._tabs) or 1
        if self.arrived < (self._given_for + 1) * fans:
            return
        if self._tabs:
            start = self._start
            arrived = min(tab.tokens - start[tab] for tab in self._tabs if not tab.stalled)
        else:
            arrived = self.arrived
        if arrived > self._given_for:
            self.give(arrived - self._given_for)
            self._given_for = arrived


class Counting:
    """Counts events and stamps; credits go back once a turn, so that they collect as acks do."""

    blank = True

    def __init__(self, dialect: Dialect, sample: int, credit: Credit | None = None) -> None:
        self._dialect = dialect
        self._event = dialect.event
        self._sample = sample
        self.credit = credit
        self.window: Window = Window(sample)

    def begin(self) -> None:
        """A new window."""
        self.window = Window(self._sample)

    def take(self, tab: Tab, buffer: bytearray, end: int) -> None:
        if tab.resuming:
            self._resumed(tab, buffer, end)
            return
        window = self.window
        events = buffer.count(self._event, 0, end)
        tokens = buffer.count(MARK, 0, end)
        tab.events += events
        tab.tokens += tokens
        window.events += events
        window.tokens += tokens
        window.bytes += end
        if tokens:
            window.stamps(buffer, end)
            if self.credit is not None:
                self.credit.arrived += tokens
        self._dialect.follow(tab, buffer, end, events, time.monotonic())

    def turned(self, now: float) -> None:
        if self.credit is not None:
            self.credit.settle()
        self._dialect.tick(now)
        self.window.turned(now)

    def _resumed(self, tab: Tab, buffer: bytearray, end: int) -> None:
        """What a tab missed while it was away counts, but not for the latency."""
        before = tab.events
        for text in texts(buffer, end):
            self._dialect.hear(tab, text)
            tokens = text.count(MARK)
            tab.tokens += tokens
            self.window.tokens += tokens
        self.window.events += tab.events - before
        self.window.bytes += end


class Timed(Counting):
    """The same of events without stamps: the latency is from their `time`, in whole ms."""

    def take(self, tab: Tab, buffer: bytearray, end: int) -> None:
        now = time.time() % DAY_S
        for hours, minutes, seconds in _TIME.findall(buffer, 0, end):
            at = int(hours) * 3_600 + int(minutes) * 60 + float(seconds)
            self.window.latency(_since(at, now))
        super().take(tab, buffer, end)


class Answering(Counting):
    """Answers tool calls at once; what is counted are round trips.

    The latency is from a result to the same session's next call.
    """

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect, 1)
        self._answered: dict[bytes, int] = {}  # session -> when its last result went up
        self._id = 0

    def take(self, tab: Tab, buffer: bytearray, end: int) -> None:
        now = now_us()
        answers: list[bytes] = []
        events = buffer.count(self._event, 0, end)
        tab.events += events
        for line in bytes(buffer[:end]).split(b"\n"):
            if b'"tool_call.requested"' not in line:
                continue
            session = line.partition(b'"session":"')[2].partition(b'"')[0]
            call = line.partition(b'"call":"')[2].partition(b'"')[0]
            if (then := self._answered.get(session)) is not None:
                self.window.latency(now - then)
                self.window.events += 1
            self._answered[session] = now
            answers.append(self._result(tab, session, call))
        if answers:
            tab.say(b"\n".join(answers))
        self.window.bytes += end
        self._dialect.follow(tab, buffer, end, events, time.monotonic())

    def heard(self, tab: Tab, frame: dict[str, Any]) -> None:
        """Goes on answering when frames are decoded."""
        if frame["type"] == "tool_call.requested":
            tab.say(self._result(tab, frame["session"].encode(), frame["call"].encode()))

    def _result(self, tab: Tab, session: bytes, call: bytes) -> bytes:
        self._id += 1
        return b'{"type":"tool.result","id":"a%d_%b","session":"%b","call":"%b","output":1}' % (
            self._id,
            tab.client.encode(),
            session,
            call,
        )


class Sending(Counting):
    """Sends messages that start no run: one for each that was answered.

    What is counted are answers; the latency is from a command to its `ok`.
    """

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect, 1)
        self._turn: dict[Tab, int] = {}  # tab -> which of its sessions is next
        self._sent: dict[bytes, int] = {}  # id -> when it went up
        self._id = 0
        self.open = True
        """Whether answers are followed by more commands."""

    @property
    def waiting(self) -> int:
        """Commands without an answer."""
        return len(self._sent)

    def send(self, tab: Tab, count: int) -> None:
        """So many commands."""
        sessions = list(tab.places)
        at = self._turn.get(tab, 0)
        frames: list[bytes] = []
        for i in range(count):
            self._id += 1
            name = b"m%d_%b" % (self._id, tab.client.encode())
            self._sent[name] = now_us()
            frames.append(
                b'{"type":"message.send","id":"%b","session":"%b","content":"%b","start":false}'
                % (name, sessions[(at + i) % len(sessions)], b"hello, " * 8)
            )
        self._turn[tab] = (at + count) % len(sessions)
        tab.say(b"\n".join(frames))

    def take(self, tab: Tab, buffer: bytearray, end: int) -> None:
        now = now_us()
        answered = 0
        for name in _OK.findall(buffer, 0, end):
            then = self._sent.pop(name, None)
            if then is not None:
                self.window.latency(now - then)
                answered += 1
        events = buffer.count(self._event, 0, end)
        tab.events += events
        self.window.events += answered
        self.window.bytes += end
        self._dialect.follow(tab, buffer, end, events, time.monotonic())
        if buffer.find(_ERROR, 0, end) >= 0:
            raise LoadError(
                "The gateway refused a command. Start it with --frames-per-s 1000000 "
                "--frames-burst 1000000, or lower --outstanding."
            )
        if answered and self.open:
            self.send(tab, answered)
