"""A short fixed plan of scenarios, and the constants of the capacity model that it gives.

What is measured twice to get at a difference (one more follower, one more session) is said at the
constant. No model in here, and nothing is printed.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Literal

import msgspec

from loadtest.errors import LoadError
from loadtest.measuring import measure
from loadtest.result import Result, Role
from loadtest.scale_model import Constants
from loadtest.scenarios import SCENARIOS, Load
from loadtest.stage import Progress
from loadtest.target import Setup

Name = Literal[
    "alone", "busy", "joined", "copy", "copy-joined", "one-follower", "four-followers",
    "tokens-20", "tokens-60", "fan-in", "idle-few", "idle-many", "everywhere", "storm",
]  # fmt: skip
FOLLOWERS = 4
"""Gateways that all follow the same sessions."""
FEW, MANY = 200, 2_000
"""Silent sockets."""
MINUTE_S = 62.0
"""In which the head of every silent session is looked at once, and every socket is pinged."""
Values = Mapping[Name, Sequence[Result]]


class Step(msgspec.Struct, frozen=True):
    """One measurement of the plan."""

    scenario: str
    setup: Setup
    changes: Mapping[str, object]

    @property
    def load(self) -> Load:
        """The scenario's load, changed."""
        return msgspec.structs.replace(SCENARIOS[self.scenario].load, **self.changes)


_BARE = Setup(target="redis", publisher=True)
_WHOLE = Setup(target="redis")
# Few sockets, but at each gateway one; many sessions, so that Redis is busy.
_WATCHED = {"sessions": 60, "sockets": 12, "outstanding": 60}
_TOKENS = {"sessions": 400, "sockets": 400, "rate": 40.0}

STEPS: dict[Name, Step] = {
    "alone": Step("multiplex", _BARE, {"sockets": 1_000, "outstanding": 0, "rate": 2.0}),
    "busy": Step("multiplex", _BARE, {"sockets": 1_000}),
    "joined": Step("multiplex", _BARE, {"sessions": 500, "sockets": 10, "outstanding": 1_000}),
    "copy": Step("broadcast", _BARE, {"outstanding": 1}),
    "copy-joined": Step("broadcast", _BARE, {}),
    "one-follower": Step("broadcast", _BARE, _WATCHED),
    "four-followers": Step(
        "broadcast", msgspec.structs.replace(_BARE, processes=FOLLOWERS), _WATCHED
    ),
    "tokens-20": Step("tokens", _WHOLE, _TOKENS | {"coalesce_ms": 20}),
    "tokens-60": Step("tokens", _WHOLE, _TOKENS | {"coalesce_ms": 60}),
    "fan-in": Step("fan-in", _WHOLE, {}),
    "idle-few": Step("idle", _WHOLE, {"sessions": FEW, "sockets": FEW}),
    "idle-many": Step("idle", _WHOLE, {"sessions": MANY, "sockets": MANY, "seconds": MINUTE_S}),
    "everywhere": Step("idle", _WHOLE, {"sessions": 1, "sockets": MANY, "everywhere": True}),
    "storm": Step("storm", _WHOLE, {"sessions": 1_000, "sockets": 1_000}),
}


def run(
    progress: Callable[[str], Progress], *, rounds: int, quick: bool
) -> tuple[dict[Name, list[Result]], dict[str, str]]:
    """Measures each step `rounds` times, in turns: the results, and the versions of what ran.

    Raises:
        LoadError: a step cannot be measured; names the remedy.
    """
    found: dict[Name, list[Result]] = {name: [] for name in STEPS}
    told: dict[str, str] = {}
    for _ in range(rounds):
        for name, step in STEPS.items():
            results, seen = _measured(name, step, progress(name), quick=quick)
            found[name] += results
            told |= seen
    return found, told


def _measured(
    name: Name, step: Step, progress: Progress, *, quick: bool
) -> tuple[list[Result], dict[str, str]]:
    load = _shortened(step.load) if quick else step.load
    try:
        return measure(SCENARIOS[step.scenario], step.setup, load, progress)
    except LoadError as error:
        raise LoadError(f"{name}: {error}") from None


def constants(found: Values) -> Constants:
    """The model's constants: of memory the medians, of CPU the least that was found.

    What disturbs a round (a neighbour, a cold cache, a clock that was throttled) only ever adds CPU
    time, and differences of disturbed rounds mean nothing.

    Raises:
        LoadError: a step found nothing, or lost events, and says nothing therefore.
    """
    for name, results in found.items():
        if not results or any(result.missing for result in results):
            raise LoadError(f"{name} lost events: its costs mean nothing. Measure again.")
    us = _Costs(found)
    return Constants(
        gateway_alone_us=us("alone", "gateway"),
        gateway_event_us=us("busy", "gateway"),
        gateway_joined_us=us("joined", "gateway"),
        gateway_copy_us=us("copy", "gateway"),
        gateway_copy_joined_us=us("copy-joined", "gateway"),
        gateway_command_us=us("fan-in", "gateway"),
        gateway_resume_us=us("storm", "gateway") * _median(found["storm"], _events_of_each),
        gateway_socket_us_per_s=_slope(found, "gateway"),
        gateway_bytes=_median(found["fan-in"], lambda r: _rss(r, "gateway", before=True)),
        connection_bytes=_median(found["idle-many"], lambda r: _figure(r, "a connection")),
        subscription_bytes=_subscription(found),
        feed_bytes=_feed(found),
        feed_event_bytes=_median(found["joined"], _grown_per_event),
        worker_token_20_us=_least(found["tokens-20"], _worker_per_token),
        worker_token_60_us=_least(found["tokens-60"], _worker_per_token),
        worker_events_20=_median(found["tokens-20"], lambda r: r.events / r.tokens),
        worker_events_60=_median(found["tokens-60"], lambda r: r.events / r.tokens),
        worker_bytes=_median(found["fan-in"], lambda r: _rss(r, "worker", before=True)),
        run_bytes=_run(found),
        redis_append_us=us("busy", "redis"),
        redis_copy_us=_copy(found),
        redis_command_us=us("fan-in", "redis"),
        redis_session_us_per_s=_slope(found, "redis"),
        redis_process_us_per_s=_least(found["idle-few"], _redis_us_per_s) / 2,
        redis_session_bytes=_redis_session(found),
        redis_event_bytes=_median(found["tokens-20"], _redis_bytes),
    )


class _Costs:
    """CPU per event of a role, the least of a step's rounds."""

    def __init__(self, found: Values) -> None:
        self._found = found

    def __call__(self, name: Name, role: Role) -> float:
        return _least(self._found[name], lambda result: result.role_us_per_event(role))


def _shortened(load: Load) -> Load:
    return msgspec.structs.replace(load, seconds=2.0, warm_up_s=0.5)


def _median(results: Sequence[Result], of: Callable[[Result], float]) -> float:
    return median(of(result) for result in results)


def _least(results: Sequence[Result], of: Callable[[Result], float]) -> float:
    return min(of(result) for result in results)


def _rss(result: Result, role: Role, *, before: bool = False) -> float:
    return sum(
        cost.rss_before_bytes if before else cost.rss_after_bytes
        for cost in result.costs
        if cost.role == role
    )


def _cpu_us_per_s(result: Result, role: Role) -> float:
    return sum(c.cpu_s for c in result.costs if c.role == role) * 1e6 / result.seconds


def _redis_us_per_s(result: Result) -> float:
    return _cpu_us_per_s(result, "redis")


def _figure(result: Result, name: str) -> float:
    return next(figure.value for figure in result.figures if figure.name == name)


def _events_of_each(result: Result) -> float:
    return _figure(result, "events each has missed")


def _worker_per_token(result: Result) -> float:
    return result.role_us_per_event("worker") * result.events / result.tokens


def _grown_per_event(result: Result) -> float:
    grown = _rss(result, "gateway") - _rss(result, "gateway", before=True)
    return max(0.0, grown / result.events)


def _redis_bytes(result: Result) -> float:
    return result.redis.bytes_per_event if result.redis else 0.0


def _slope(found: Values, role: Role) -> float:
    """CPU a second of one more silent socket with a session."""
    few = _least(found["idle-few"], lambda r: _cpu_us_per_s(r, role))
    many = _least(found["idle-many"], lambda r: _cpu_us_per_s(r, role))
    return max(0.0, (many - few) / (MANY - FEW))


def _redis_session(found: Values) -> float:
    """Memory of one more session in which nothing has happened."""
    few = _median(found["idle-few"], lambda r: _rss(r, "redis"))
    many = _median(found["idle-many"], lambda r: _rss(r, "redis"))
    return max(0.0, (many - few) / (MANY - FEW))


def _subscription(found: Values) -> float:
    """One more socket at sessions that are followed anyway."""
    step = STEPS["everywhere"].load
    return _median(found["everywhere"], lambda r: _figure(r, "a subscribed session") / step.sockets)


def _feed(found: Values) -> float:
    whole = _median(found["idle-many"], lambda r: _figure(r, "a subscribed session"))
    return max(0.0, whole - _subscription(found))


def _run(found: Values) -> float:
    empty = _median(found["fan-in"], lambda r: _rss(r, "worker", before=True))
    full = _median(found["tokens-20"], lambda r: _rss(r, "worker"))
    return max(0.0, (full - empty) / STEPS["tokens-20"].load.sessions)


def _copy(found: Values) -> float:
    """CPU of Redis for one more gateway that follows, per append (an event of the session)."""
    one, four = (
        _least(found[name], lambda r: r.role_us_per_event("redis")) * STEPS[name].load.sockets
        for name in ("one-follower", "four-followers")
    )
    return max(0.0, (four - one) / (FOLLOWERS - 1))
