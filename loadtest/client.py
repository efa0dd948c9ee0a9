"""The client process: does what JSON lines on stdin say, and answers each on stdout.

It opens tabs, starts runs, gives credits for what has arrived, counts windows, cuts and resumes.
The order of these is the scenario's business; `Job` and `Command` are the whole vocabulary.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from loadtest.credits import Verb
from loadtest.errors import LoadError
from loadtest.loop import Loop
from loadtest.modes import Answering, Counted, Counting, Credit, Hearing, Sending, Timed
from loadtest.native import Canned, Native
from loadtest.proc import raise_descriptor_limit
from loadtest.result import Latency
from loadtest.tab import Tab

AT_ONCE = 200
MANY = 16
PAUSE_S = 0.0005
"""With so many on their way a client looks now and then instead of at each arrival: it and whoever
publishes work in batches then, and it is the gateway that has a queue."""
ROOM = (
    "does the gateway have the agent (--agents loadtest.agent:load), and room for so many runs "
    "(--max-runs)?"
)
SMALLER = "see what the gateway wrote, and try a smaller load."


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a client process is for; its first line."""

    host: str
    port: int
    path: str = "/v1/ws"
    token: str = ""
    client: str
    """What the ids of its tabs begin with."""
    tabs: list[list[str]]
    """The sessions of each tab."""
    agent: str = "load"
    acks: bool = True
    tools: bool = False
    canned: bool = False
    """The server only writes prepared frames: nothing is asked of it."""
    stamps: bool = True
    """Events hold stamps; else latencies are those of their `time`."""
    patience_s: float = 60.0
    """For the gateway to do what a command needs."""
    sample: int = 1
    """Of every k-th read the latencies are kept."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What to do; which of the fields matter is said by the method of that name."""

    do: str
    verb: Verb = "emit"
    slots: dict[str, int] = {}
    ports: list[int] = []
    event_bytes: int = 200
    per_s: float = 0.0
    message_tokens: int = 500
    script: list[Any] | None = None
    outstanding: int = 0
    everywhere: bool = False
    count: int = 0
    at_once: int = AT_ONCE
    bare: bool = False


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of a command; `error` if it could not be done."""

    error: str | None = None
    port: int = 0
    counted: Counted | None = None
    lag: Latency | None = None
    missing: int = 0
    resets: int = 0
    seconds: float = 0.0
    events: int = 0


class Client:
    """The tabs of one process, and what they are doing."""

    def __init__(self, job: Job, commands: int | None = None) -> None:
        self._job = job
        self._native = (Canned if job.canned else Native)(
            agent=job.agent, acks=job.acks, tools=job.tools, token=job.token
        )
        self._hearing = Hearing(self._native)
        self._loop = Loop(self._hearing, commands)
        self._tabs = [Tab(i, f"{job.client}_{i}", sessions) for i, sessions in enumerate(job.tabs)]
        self._slots: list[int] = []
        self._started: set[str] = set()
        self._cut_next = 0

    # --- commands

    def desk(self, _: Command) -> Answer:
        """Where publishers find us."""
        return Answer(port=self._loop.desk.port)

    def open(self, command: Command) -> Answer:
        """The next `count` tabs (0: all) connect, `at_once` at a time; unless `bare`, subscribe."""
        closed = [tab for tab in self._tabs if tab.sock is None]
        self._open(closed[: command.count or None], command.at_once, bare=command.bare)
        return Answer()

    def subscribe(self, command: Command) -> Answer:
        """The next `count` tabs (0: all) that have not yet do it."""
        left = [tab for tab in self._tabs if not tab.sees_all][: command.count or None]
        for at in range(0, len(left), command.at_once):
            some = left[at : at + command.at_once]
            for tab in some:
                tab.say(self._native.subscribing(tab))
            self._until_all(some, lambda tab: tab.sees_all)
        return Answer()

    def start(self, command: Command) -> Answer:
        """A run for each session of `slots`, by one of the tabs that have it."""
        ports = command.ports or [self._loop.desk.port]
        left = dict(command.slots)
        for tab in self._tabs:
            frames: list[bytes] = []
            for place in tab.places.values():
                slot = left.pop(place.session, None)
                if slot is None:
                    continue
                order: Any = command.script or {
                    "verb": command.verb,
                    "slot": slot,
                    "ports": ports,
                    "event_bytes": command.event_bytes,
                    "per_s": command.per_s,
                    "message_tokens": command.message_tokens,
                }
                place.ended = False
                frames.append(self._native.start(place, f"r{slot}_{tab.client}", order))
            if frames:
                tab.say(b"\n".join(frames))
        self._slots = list(command.slots.values())
        self._started |= set(command.slots)
        if command.count:
            self.known(command)
        return Answer()

    def known(self, command: Command) -> Answer:
        """Returns when publishers for `count` slots are there."""
        desk = self._loop.desk
        self._until(
            lambda: len(desk.slots) >= command.count,
            "The start of all runs",
            ROOM,
        )
        self._slots = sorted(desk.slots)
        return Answer()

    def go(self, command: Command) -> Answer:
        """Counts from now on; with `outstanding` credits in a closed loop, else only that."""
        credit = None
        if command.outstanding:
            credit = Credit(self._loop.desk, self._slots, self._tabs, everywhere=command.everywhere)
            credit.give(command.outstanding)
            self._loop.pause_s = PAUSE_S if command.outstanding >= MANY else 0.0
        kind = Counting if self._job.stamps else Timed
        self._loop.mode = kind(self._native, self._job.sample, credit)
        return Answer()

    def answer(self, _: Command) -> Answer:
        """Answers tool calls from now on."""
        self._loop.mode = Answering(self._native)
        return Answer()

    def send(self, command: Command) -> Answer:
        """Sends messages from now on, `outstanding` at a time on each connection."""
        sending = Sending(self._native)
        self._loop.mode = sending
        for tab in self._tabs:
            sending.send(tab, command.outstanding)
        return Answer()

    def burst(self, command: Command) -> Answer:
        """`count` credits for each slot, without waiting for anything."""
        for _ in range(command.count):
            self._loop.desk.give(self._slots)
        return Answer()

    def begin(self, _: Command) -> Answer:
        """A new window."""
        mode = self._loop.mode
        assert isinstance(mode, Counting), "something is counted"
        mode.begin()
        return Answer()

    def end(self, _: Command) -> Answer:
        """What the window found."""
        mode = self._loop.mode
        assert isinstance(mode, Counting), "something is counted"
        return Answer(counted=mode.window.counted())

    def peek(self, _: Command) -> Answer:
        """How many events the window has found so far."""
        mode = self._loop.mode
        assert isinstance(mode, Counting), "something is counted"
        return Answer(events=mode.window.events)

    def calm(self, _: Command) -> Answer:
        """Hears every frame again, and sends nothing more."""
        mode = self._loop.mode
        self._loop.mode = self._hearing
        if isinstance(mode, Sending):
            mode.open = False
            self._loop.mode = mode
            self._until(lambda: not mode.waiting, "The answer to every command")
        elif isinstance(mode, Answering):
            self._loop.mode = Hearing(self._native, mode.heard)
        return Answer()

    def hang_up(self, _: Command) -> Answer:
        """Publishers are told to end; how late they were."""
        desk = self._loop.desk
        desk.stop()
        self._until(lambda: not desk.publishers, "The end of the publishers")
        return Answer(lag=desk.lag.latency())

    def interrupt(self, _: Command) -> Answer:
        """Stops the runs that were started here."""
        for tab in self._tabs:
            for place in tab.places.values():
                if place.session in self._started:
                    tab.say(self._native.interrupt(place, f"i_{place.session}"))
                    self._started.discard(place.session)
        return Answer()

    def finish(self, _: Command) -> Answer:
        """Returns when every run has ended: what of its seqs is missing."""
        reading = [tab for tab in self._tabs if not tab.stalled]
        places = [place for tab in reading for place in tab.places.values()]
        self._until(lambda: all(p.ended for p in places), "The end of all runs")
        return self._verdict()

    def verdict(self, _: Command) -> Answer:
        """What of the seqs that have come so far is missing."""
        return self._verdict()

    def stall(self, command: Command) -> Answer:
        """The last `count` tabs read nothing any more."""
        for tab in self._tabs[len(self._tabs) - command.count :]:
            tab.stalled = True
            self._loop.remove(tab)
        return Answer()

    def cut(self, command: Command) -> Answer:
        """Drops the next `count` connections in rotation (0: all)."""
        count = command.count or len(self._tabs)
        for i in range(count):
            tab = self._tabs[(self._cut_next + i) % len(self._tabs)]
            self._loop.remove(tab)
            tab.cut()
        self._cut_next = (self._cut_next + count) % len(self._tabs)
        return Answer()

    def resume(self, command: Command) -> Answer:
        """Those that were cut come back and catch up; how long that took, with how many events."""
        gone = [tab for tab in self._tabs if tab.sock is None]
        before = sum(tab.events for tab in gone)
        began = time.monotonic()
        for tab in gone:
            tab.resuming = True
        self._open(gone, command.at_once)
        for tab in gone:
            tab.resuming = False
        return Answer(
            seconds=time.monotonic() - began, events=sum(tab.events for tab in gone) - before
        )

    # --- parts

    def _open(self, tabs: Sequence[Tab], at_once: int, *, bare: bool = False) -> None:
        host, port = self._job.host, self._job.port
        for at in range(0, len(tabs), at_once):
            some = tabs[at : at + at_once]
            for tab in some:
                tab.connect(host, port, self._native.request(f"{host}:{port}", self._job.path))
            for tab in some:
                tab.opened()
                text = self._native.hello(tab)
                if not bare and not tab.resuming:
                    text += b"\n" + self._native.subscribing(tab)
                tab.say(text)
                self._loop.add(tab)
            self._until_all(some, lambda tab: tab.welcome if bare else tab.sees_all)

    def _until_all(self, tabs: Sequence[Tab], ready: Callable[[Tab], bool]) -> None:
        self._until(lambda: all(map(ready, tabs)), "The subscription of all sessions")

    def _until(self, done: Callable[[], bool], what: str, remedy: str = SMALLER) -> None:
        self._loop.until(done, self._job.patience_s, what, remedy)

    def _verdict(self) -> Answer:
        reading = [tab for tab in self._tabs if not tab.stalled]
        return Answer(
            missing=sum(Native.missing(tab) for tab in reading),
            resets=sum(place.reset for tab in reading for place in tab.places.values()),
        )

    # --- the process

    def obey(self) -> None:
        """Until there are no more commands."""
        loop = self._loop
        while not loop.over:
            while loop.lines:
                self._tell(self._done(loop.lines.pop(0)))
            try:
                loop.turn()
            except LoadError as error:
                self._tell(Answer(error=str(error)))
                return

    def _done(self, line: bytes) -> Answer:
        command = msgspec.json.decode(line, type=Command)
        try:
            return getattr(self, command.do)(command)
        except LoadError as error:
            return Answer(error=str(error))

    def _tell(self, answer: Answer) -> None:
        os.write(sys.stdout.fileno(), msgspec.json.encode(answer) + b"\n")


def main() -> None:
    """The first line is the job, every other one a command."""
    raise_descriptor_limit()
    with open(0, "rb", buffering=0, closefd=False) as commands:  # not a byte beyond the line
        line = commands.readline()
    Client(msgspec.json.decode(line, type=Job), sys.stdin.fileno()).obey()


if __name__ == "__main__":
    main()
