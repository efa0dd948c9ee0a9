"""How each scenario is measured: the steps of a stage, in order."""

import time
from collections.abc import Callable, Sequence

from loadtest.client import Command
from loadtest.errors import LoadError
from loadtest.meter import Reading
from loadtest.proc import usage
from loadtest.result import SERVER, Figure, Option, Result
from loadtest.scenarios import Driver, Load, Scenario
from loadtest.stage import Progress, Stage
from loadtest.target import Running

Drive = Callable[[Running, Scenario, Load, Progress], list[Result]]
QUIET_CPU, QUIET_S, QUIET_MOST_S = 0.1, 0.5, 120.0
"""A server is quiet when it used less than this share of a CPU for so long."""
SETTLE_S = 1.0
LOOK_S = 1.0
WARM_SHARE = 20
"""One connection in so many comes first, so that what is made once is not counted."""


def stream(running: Running, scenario: Scenario, load: Load, progress: Progress) -> list[Result]:
    """Broadcast, multiplex, tokens, latency: events flow for a while."""
    with Stage(running, scenario, load, progress) as stage:
        stage.open()
        stage.start()
        stage.go()
        stage.warm_up()
        found = stage.window()
        return [found.result(stage.end())]


def slow(running: Running, scenario: Scenario, load: Load, progress: Progress) -> list[Result]:
    """The same twice: all read, then some stand still. The second is of those that read."""
    if not 0 < load.stalled < load.sockets:
        raise LoadError(f"--stalled must be from 1 to {load.sockets - 1}, one less than --sockets.")
    with Stage(running, scenario, load, progress) as stage:
        stage.open()
        stage.start()
        stage.go()
        stage.warm_up()
        before = stage.window().result(options={"stalled": 0})
        share = -(-load.stalled // len(stage.crew.members))
        stage.crew.all(Command(do="stall", count=share))
        stage.warm_up()
        found = stage.window()
        ended = stage.end()
        return [before, found.result(ended, options={"stalled": load.stalled})]


def tools(running: Running, scenario: Scenario, load: Load, progress: Progress) -> list[Result]:
    """The agent calls a tool of the page again and again; events are round trips."""
    with Stage(running, scenario, load, progress) as stage:
        stage.open()
        stage.crew.all(Command(do="answer"))
        stage.start()
        stage.warm_up()
        found = stage.window()
        return [found.result(stage.end(), notes=["an event is a round trip of a tool"])]


def commands(running: Running, scenario: Scenario, load: Load, progress: Progress) -> list[Result]:
    """Messages up, so many without an answer on each connection; events are answers."""
    if load.outstanding < 1:
        raise LoadError("--outstanding must be 1 or more: commands on their way per connection.")
    with Stage(running, scenario, load, progress) as stage:
        stage.open()
        stage.crew.all(Command(do="send", outstanding=load.outstanding))
        stage.warm_up()
        found = stage.window()
        stage.crew.all(Command(do="calm"))
        ended = stage.verdict("verdict")
        return [found.result(ended, notes=["an event is a command that was answered"])]


def idle(running: Running, scenario: Scenario, load: Load, progress: Progress) -> list[Result]:
    """Connections, and then subscribed sessions on them: memory of the gateways for each."""
    with Stage(running, scenario, load, progress) as stage:
        members = len(stage.crew.members)
        first = max(1, load.tabs // members // WARM_SHARE)
        stage.crew.all(Command(do="open", count=first, bare=True))
        empty = _settled(stage)
        stage.crew.all(Command(do="open", bare=True))
        connected = _settled(stage)
        stage.crew.all(Command(do="subscribe", count=first))
        begun = _settled(stage)
        stage.crew.all(Command(do="subscribe"))
        subscribed = _settled(stage)
        stage.crew.all(Command(do="go"))
        found = stage.window()
        ended = stage.verdict("verdict")
        warm = first * members
        sessions = load.sessions - warm * load.sessions / load.tabs
        figures = [
            Figure("a connection", _grown(stage, empty, connected) / (load.tabs - warm), "bytes"),
            Figure("a subscribed session", _grown(stage, begun, subscribed) / sessions, "bytes"),
            Figure("CPU of the idle gateway", _cpu_s(stage, found.before, found.after), "s"),
        ]
        return [found.result(ended, figures=figures)]


def storm(running: Running, scenario: Scenario, load: Load, progress: Progress) -> list[Result]:
    """All connections are cut, events go on, all come back at once and catch up."""
    if not running.setup.ours:
        raise LoadError("storm needs a gateway of its own: use --target memory or redis.")
    with Stage(running, scenario, load, progress) as stage:
        stage.open()
        stage.start()
        stage.crew.all(Command(do="cut"))
        progress("publishing what is missed", 0, 1)
        stage.crew.all(Command(do="burst", count=load.missed), 600)
        _quiet(stage)
        stage.crew.all(Command(do="hang_up"))
        _quiet(stage)
        progress("coming back", 0, 1)
        found = stage.once(Command(do="resume", at_once=load.tabs))
        figures = [
            Figure(
                "server CPU until all have caught up", _cpu_s(stage, found.before, found.after), "s"
            ),
            Figure("time until all have caught up", found.seconds, "s"),
            Figure("events each has missed", found.events / load.tabs, "count", "higher"),
        ]
        options: dict[str, Option] = {"missed": load.missed}
        return [found.result(stage.verdict("finish"), figures=figures, options=options)]


def soak(running: Running, scenario: Scenario, load: Load, progress: Progress) -> list[Result]:
    """A stream for long, with connections that come and go; memory and descriptors over time."""
    with Stage(running, scenario, load, progress) as stage:
        stage.open()
        stage.start()
        stage.go()
        stage.warm_up()
        looked: list[tuple[float, int, int]] = []  # (when, memory, descriptors)
        came = 0

        def look() -> None:
            nonlocal came
            now = time.monotonic()
            if looked and now < looked[-1][0] + LOOK_S:
                return
            usages = [usage(w.pid) for w in running.watched if w.role in SERVER]
            memory, descriptors = (
                sum(u.rss_bytes for u in usages),
                sum(u.descriptors for u in usages),
            )
            looked.append((now, memory, descriptors))
            if load.churn:
                stage.crew.first(Command(do="cut", count=load.churn))
                stage.crew.first(Command(do="resume"))
                came += load.churn

        found = stage.window(look)
        figures = [
            Figure("memory growth a minute, second half", _slope(looked) * 60, "bytes"),
            Figure("descriptors at the beginning", looked[0][2], "count"),
            Figure("descriptors at the end", looked[-1][2], "count"),
            Figure("connections cut and resumed", came, "count", "higher"),
        ]
        step = max(1, len(looked) // 10)
        told = ", ".join(f"{memory / 2**20:.1f}" for _, memory, _ in looked[::step])
        return [
            found.result(
                stage.end(),
                figures=figures,
                options={"churn": load.churn},
                notes=[f"memory of gateways and workers over time, MiB: {told}"],
            )
        ]


def _quiet(stage: Stage) -> None:
    """Returns when the servers have done all they had to."""
    deadline = time.monotonic() + QUIET_MOST_S
    before = stage.meter.read()
    while time.monotonic() < deadline:
        time.sleep(QUIET_S)
        after = stage.meter.read()
        if _cpu_s(stage, before, after) < QUIET_CPU * QUIET_S:
            return
        before = after
    raise LoadError(f"The gateway was still busy after {QUIET_MOST_S:.0f} s: try a smaller load.")


def _settled(stage: Stage) -> Reading:
    time.sleep(SETTLE_S)
    return stage.meter.read()


def _cpu_s(stage: Stage, before: Reading, after: Reading) -> float:
    """Of gateways and workers."""
    costs = stage.meter.costs(before, after, 1)
    return sum(cost.cpu_s for cost in costs if cost.role in SERVER)


def _grown(stage: Stage, before: Reading, after: Reading) -> float:
    """Memory of the gateways."""
    costs = stage.meter.costs(before, after, 1)
    return sum(c.rss_after_bytes - c.rss_before_bytes for c in costs if c.role == "gateway")


def _slope(looked: Sequence[tuple[float, int, int]]) -> float:
    """Bytes a second over the second half, by least squares."""
    half = looked[len(looked) // 2 :]
    mean_t = sum(t for t, _, _ in half) / len(half)
    mean_m = sum(m for _, m, _ in half) / len(half)
    spread = sum((t - mean_t) ** 2 for t, _, _ in half)
    return sum((t - mean_t) * (m - mean_m) for t, m, _ in half) / spread if spread else 0.0


DRIVERS: dict[Driver, Drive] = {
    "stream": stream,
    "slow": slow,
    "tools": tools,
    "commands": commands,
    "idle": idle,
    "storm": storm,
    "soak": soak,
}
