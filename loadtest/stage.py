"""A target with client processes (and a pacer) in front of it, and the steps that drivers share."""

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Self

import msgspec

from loadtest.ceiling import ceiling_per_s
from loadtest.client import Answer, Command, Job
from loadtest.crew import Crew, Member
from loadtest.histogram import Histogram
from loadtest.meter import Meter, Reading
from loadtest.modes import Counted
from loadtest.pacer import Pace
from loadtest.result import Figure, Latency, Moment, Option, Result
from loadtest.scenarios import Load, Scenario
from loadtest.scripts import script
from loadtest.target import Running, Watched

LOOK_S = 0.1
CLIENT_BOUND = 0.8
PATIENCE_S = 60.0
Progress = Callable[[str, float, float], None]
"""What is being done, how far it is, and how far it will be."""


class Stage:
    """`with Stage(...) as stage:`; every process that it started ends with the block."""

    def __init__(
        self, running: Running, scenario: Scenario, load: Load, progress: Progress
    ) -> None:
        self.running = running
        self.scenario = scenario
        self.load = load
        self.progress = progress
        self.sessions = [f"s_{secrets.token_hex(4)}{i:x}" for i in range(load.sessions)]
        self.notes = list(running.notes)
        self._stack = ExitStack()
        self._tabs = _layout(self.sessions, load)
        self._shares = _shares(self._tabs, load.clients)
        self.pacer: Member | None = None
        self.lag: Latency | None = None
        self.ceiling_per_s: float | None = None

    def __enter__(self) -> Self:
        try:
            if self.scenario.driver in ("stream", "slow", "soak"):
                self.progress("the client's own ceiling", 0, 1)
                pin = self.running.setup.pin
                self.ceiling_per_s = ceiling_per_s(self._tabs, self.load, pin=pin)
            self._enter()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _enter(self) -> None:
        running, load = self.running, self.load
        jobs = [
            Job(
                host=running.host,
                port=running.port,
                path=running.path,
                token=running.setup.token,
                agent="load" if running.setup.ours else "scripted",
                stamps=running.setup.ours,
                client=f"t{secrets.token_hex(3)}",
                tabs=tabs,
                acks=load.acks,
                tools=load.verb == "call",
                patience_s=PATIENCE_S,
                sample=load.sample,
            )
            for tabs in self._shares
        ]
        self.crew = self._stack.enter_context(Crew(jobs, running.client_cpus))
        watched = list(running.watched)
        programs = [member.program for member in self.crew.members]
        watched += [Watched(program.name, "client", program.pid) for program in programs]
        if load.rate and running.setup.ours:
            pace = Pace(load.rate * load.sessions, PATIENCE_S, once=load.verb == "write")
            self.pacer = Member("pacer", "loadtest.pacer", pace, running.client_cpus)
            self._stack.enter_context(self.pacer.program)
            watched.append(Watched("pacer", "client", self.pacer.program.pid))
        self.meter = Meter(watched, running.redis)

    # --- steps

    def open(self, at_once: int = 200) -> None:
        """All sockets, subscribed."""
        self.progress("connecting", 0, 1)
        self.crew.all(Command(do="open", at_once=at_once))

    def start(self) -> None:
        """A run of the load agent in every session, waiting for its first credit."""
        self.progress("starting runs", 0, 1)
        if not self.running.setup.ours:
            self._start_scripted()
            return
        slots = {session: slot for slot, session in enumerate(self.sessions)}
        ports: list[int] = []
        if self.pacer is not None:
            ports = [self.pacer.ask(Command(do="desk")).port]
        elif self.load.everywhere:
            ports = [answer.port for answer in self.crew.all(Command(do="desk"))]
        for member, tabs in zip(self.crew.members, self._shares, strict=True):
            mine = {s: slots.pop(s) for tab in tabs for s in tab if s in slots}
            member.ask(
                Command(
                    do="start",
                    verb=self.load.verb,
                    slots=mine,
                    ports=ports,
                    event_bytes=self.load.event_bytes,
                    per_s=self.load.rate if self.load.verb == "write" else 0.0,
                    count=0 if ports else len(mine),
                )
            )
        known = Command(do="known", count=len(self.sessions))
        if self.pacer is not None:
            self.pacer.ask(known)
        elif ports:
            self.crew.all(known)

    def _start_scripted(self) -> None:
        left = set(self.sessions)
        for member, tabs in zip(self.crew.members, self._shares, strict=True):
            mine = {s for tab in tabs for s in tab} & left
            left -= mine
            slots = dict.fromkeys(sorted(mine), 0)
            member.ask(Command(do="start", slots=slots, script=script(self.load)))

    def go(self) -> None:
        """Events flow, and are counted."""
        closed = self.pacer is None and self.running.setup.ours
        outstanding = self.load.outstanding if closed else 0
        if not self.load.everywhere:
            outstanding = -(-outstanding // len(self.crew.members))
        self.crew.all(Command(do="go", outstanding=outstanding, everywhere=self.load.everywhere))
        if self.pacer is not None:
            self.pacer.ask(Command(do="go"))

    def warm_up(self) -> None:
        """What the first second costs is not measured."""
        self._wait("warming up", self.load.warm_up_s)

    def window(self, look: Callable[[], None] = lambda: None) -> "Found":
        """Counts for `seconds`; `look` is called ten times a second."""
        began = datetime.now(UTC)
        still = self.meter.read()
        cpu, _ = self._both(Command(do="begin"))
        before = msgspec.structs.replace(still, cpu_s=cpu)
        self._wait("measuring", self.load.seconds, look, self.load.count)
        cpu, answers = self._both(Command(do="end"))
        after = self.meter.read(cpu)
        counted = [answer.counted for answer in answers if answer.counted is not None]
        return Found(self, began, (before, after), counted)

    def _both(self, command: Command) -> tuple[list[float], list[Answer]]:
        """CPU times, at the moment when the clients do what they are told."""
        for member in self.crew.members:
            member.tell(command)
        cpu = self.meter.cpu()
        return cpu, [member.answer() for member in self.crew.members]

    def once(self, command: Command) -> "Found":
        """A window that lasts as long as a command."""
        began = datetime.now(UTC)
        before = self.meter.read()
        answers = self.crew.all(command)
        after = self.meter.read()
        counted = [
            Counted(seconds=a.seconds, events=a.events, tokens=0, bytes=0, latency=None, moments=[])
            for a in answers
        ]
        return Found(self, began, (before, after), counted)

    def end(self) -> tuple[int, int]:
        """The runs end, everything that is on its way arrives: what is missing, and resets."""
        self.progress("ending", 0, 1)
        self.crew.all(Command(do="calm"))
        if not self.running.setup.ours:
            self.crew.all(Command(do="interrupt"))
        elif self.pacer is not None:
            self.lag = self.pacer.ask(Command(do="hang_up")).lag
        else:
            self.crew.all(Command(do="hang_up"))
        return self.verdict("finish")

    def verdict(self, how: str) -> tuple[int, int]:
        """What is missing, and resets, over all client processes."""
        answers = self.crew.all(Command(do=how))
        return sum(a.missing for a in answers), sum(a.resets for a in answers)

    def _wait(
        self,
        what: str,
        seconds: float,
        look: Callable[[], None] = lambda: None,
        count: int = 0,
    ) -> None:
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            if count and sum(a.events for a in self.crew.all(Command(do="peek"))) >= count:
                return
            self.progress(what, passed, seconds)
            look()
            time.sleep(max(0.0, min(LOOK_S, began + seconds - time.monotonic())))


class Found:
    """What a window found; `result` makes it a value."""

    def __init__(
        self,
        stage: Stage,
        began: datetime,
        readings: tuple[Reading, Reading],
        counted: Sequence[Counted],
    ) -> None:
        self._stage = stage
        self._began = began
        self.before, self.after = readings
        self._counted = counted
        self.events = sum(c.events for c in counted)
        self.seconds = max((c.seconds for c in counted), default=0.0)

    def result(
        self,
        ended: tuple[int, int] = (0, 0),
        *,
        figures: Sequence[Figure] = (),
        options: dict[str, Option] | None = None,
        notes: Sequence[str] = (),
    ) -> Result:
        """`ended`: what `Stage.end` returned."""
        stage, counted, events = self._stage, self._counted, self.events
        latency = Histogram()
        for some in counted:
            latency.merge(some.latency)
        missing, resets = ended
        setup, load = stage.running.setup, stage.load
        costs = stage.meter.costs(self.before, self.after, events)
        notes = [*stage.notes, *notes]
        if stage.ceiling_per_s is not None:
            axis = stage.scenario.axis
            notes.append(
                f"{stage.scenario.name}, {getattr(load, axis):,} {axis}: the clients alone take "
                f"{stage.ceiling_per_s:,.0f} events a second"
            )
        if resets:
            notes.append(f"{resets} subscriptions got a state instead of the events they asked for")
        return Result(
            scenario=stage.scenario.name,
            target=setup.target,
            began=self._began.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            seconds=self.seconds,
            events=events,
            bytes=sum(c.bytes for c in counted),
            tokens=sum(c.tokens for c in counted),
            processes=setup.processes,
            workers=setup.workers_started,
            options=_options(load) | (options or {}),
            missing=missing,
            latency=latency.latency(),
            lag=stage.lag,
            moments=_added(counted),
            costs=costs,
            ceiling_per_s=stage.ceiling_per_s,
            client_bound=self._client_bound(),
            redis=stage.meter.redis(self.before, self.after, events),
            figures=tuple(figures),
            load=float(getattr(load, stage.scenario.axis)),
            load_name=stage.scenario.axis,
            notes=tuple(notes),
        )

    def _client_bound(self) -> bool:
        """Whether the client was within 20 % of what it can take, or of all of its CPU."""
        ceiling = self._stage.ceiling_per_s
        if ceiling is not None and self.events > CLIENT_BOUND * ceiling * self.seconds:
            return True
        costs = self._stage.meter.costs(self.before, self.after, 1)
        busy = [cost.cpu_s for cost in costs if cost.role == "client"]
        return max(busy, default=0.0) > CLIENT_BOUND * self.seconds > 0


def _layout(sessions: Sequence[str], load: Load) -> list[list[str]]:
    """The sessions of each tab."""
    if load.everywhere:
        return [list(sessions) for _ in range(load.sockets)]
    return [list(sessions[i :: load.tabs]) for i in range(load.tabs)]


def _shares(tabs: list[list[str]], clients: int) -> list[list[list[str]]]:
    """The tabs of each client process."""
    return [share for i in range(clients) if (share := tabs[i::clients])]


def _options(load: Load) -> dict[str, Option]:
    names = ("sessions", "sockets", "outstanding", "rate", "event_bytes", "coalesce_ms", "acks")
    return {name: getattr(load, name) for name in names}


def _added(counted: Sequence[Counted]) -> tuple[Moment, ...]:
    """The moments of all client processes, which began together."""
    if not counted:
        return ()
    first, *others = counted
    moments: list[Moment] = []
    for i, moment in enumerate(first.moments):
        same = [c.moments[i] for c in others if i < len(c.moments)]
        moments.append(
            Moment(
                moment.at_s,
                moment.events + sum(m.events for m in same),
                moment.bytes + sum(m.bytes for m in same),
            )
        )
    return tuple(moments)
