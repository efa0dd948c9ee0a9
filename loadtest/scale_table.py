"""Constants, plans and predictions as Markdown tables: the terminal and docs/scaling.md show the
same text."""

from collections.abc import Callable, Sequence

import msgspec

from loadtest.quantities import digits, quantity
from loadtest.result import Result
from loadtest.scale_model import SHARDS, Constants, Measured, Need, Plan, worker_us

# Constants, what they are called, and which unit they have.
NAMES: tuple[tuple[str, str], ...] = (
    ("gateway_alone_us", "gateway: an event, nothing shares its wake-up"),
    ("gateway_event_us", "gateway, busy: an event, a message of its own"),
    ("gateway_joined_us", "gateway, busy: an event, many in one message"),
    ("gateway_copy_us", "gateway: the same event to one more socket, a message of its own"),
    ("gateway_copy_joined_us", "gateway: the same, several events in one message"),
    ("gateway_command_us", "gateway: a command up"),
    ("gateway_resume_us", "gateway: a client back, with 100 missed events"),
    ("gateway_socket_us_per_s", "gateway: a silent socket, a second"),
    ("gateway_bytes", "gateway: with nobody in it"),
    ("connection_bytes", "gateway: a connection"),
    ("subscription_bytes", "gateway: a subscription"),
    ("feed_bytes", "gateway: a session that is followed"),
    ("feed_event_bytes", "gateway: one of its newest events"),
    ("worker_token_20_us", "worker: a token, `coalesce_ms` 20"),
    ("worker_token_60_us", "worker: a token, `coalesce_ms` 60"),
    ("worker_events_20", "events of a token, `coalesce_ms` 20"),
    ("worker_events_60", "events of a token, `coalesce_ms` 60"),
    ("worker_bytes", "worker: with nothing to do"),
    ("run_bytes", "worker: a live run"),
    ("redis_append_us", "Redis: an append, published once"),
    ("redis_copy_us", "Redis: published to one more process"),
    ("redis_command_us", "Redis: a command up"),
    ("redis_session_us_per_s", "Redis: a silent session that is followed, a second"),
    ("redis_process_us_per_s", "Redis: a gateway or worker with nothing to do, a second"),
    ("redis_session_bytes", "Redis: a session"),
    ("redis_event_bytes", "Redis: an event of it (a log entry each)"),
)


def constants_table(measured: Measured) -> str:
    """Where they were measured, and a row for each."""
    rows = [(told, _constant(name, getattr(measured.constants, name))) for name, told in NAMES]
    return f"{measured.machine}, {measured.date}, `{measured.command}`\n\n" + _markdown(
        ("constant", "value"), rows
    )


def _constant(name: str, value: float) -> str:
    if name.endswith("bytes"):
        return quantity(value, "bytes")
    return f"{digits(value)} µs" if "_us" in name else digits(value)


CONTROL_FULL = 0.6
"""Of the core of the master that has the control channel, which nothing divides."""


def limit(plan: Plan) -> str:
    """What stops this site first: what cannot be divided, else the role that needs most."""
    if plan.control_cpu > CONTROL_FULL:
        return "Redis: the control channel"
    if not plan.shards_enough:
        return f"Redis: more than {SHARDS} masters"
    needs = {"gateways": plan.gateways, "workers": plan.workers, "Redis": plan.redis}
    name, need = max(needs.items(), key=lambda item: item[1].count)
    return f"{name}' {need.limit}"


ROWS: tuple[tuple[str, Callable[[Plan], str]], ...] = (
    ("tokens a second", lambda p: _count(p.tokens_per_s)),
    ("appends a second", lambda p: _count(p.appends_per_s)),
    ("events delivered a second", lambda p: _count(p.delivered_per_s)),
    ("gateway processes", lambda p: _processes(p.gateways)),
    ("their cores, busy", lambda p: digits(p.gateways.cpu)),
    ("their memory", lambda p: quantity(p.gateways.memory_bytes, "bytes")),
    ("worker processes", lambda p: _processes(p.workers)),
    ("their cores, busy", lambda p: digits(p.workers.cpu)),
    ("their memory", lambda p: quantity(p.workers.memory_bytes, "bytes")),
    ("Redis masters", lambda p: _processes(p.redis) + ("" if p.shards_enough else " **too many**")),
    ("their cores, busy", lambda p: digits(p.redis.cpu)),
    ("their memory", lambda p: quantity(p.redis.memory_bytes, "bytes")),
    ("published by each master", lambda p: quantity(p.published_bytes_per_s, "bytes") + "/s"),
    ("connections to each master", lambda p: _count(p.connections_per_master)),
    ("the control channel, of one core", lambda p: f"{p.control_cpu:.0%}"),
    ("sockets of a gateway", lambda p: _count(p.sockets_per_gateway)),
    ("all cut at once: back after", lambda p: quantity(p.back_s, "s")),
    ("the limit", limit),
)


def plans_table(plans: Sequence[Plan]) -> str:
    """A column for each number of sockets."""
    head = ("sockets", *(f"{plan.workload.sockets:,}" for plan in plans))
    return _markdown(head, [(name, *(of(plan) for plan in plans)) for name, of in ROWS])


class Prediction(msgspec.Struct, frozen=True):
    """A role's CPU per event, as the model says it and as it was."""

    role: str
    predicted_us: float
    measured_us: float


def predictions(constants: Constants, result: Result) -> list[Prediction]:
    """A run of `tokens` beside what the model says of it."""
    per_token = result.events / result.tokens
    followers = 1  # each of its sessions has one socket
    predicted = {
        "gateway": constants.gateway_event_us,
        "worker": worker_us(constants, per_token) / per_token,
        "redis": constants.redis_append_us + followers * constants.redis_copy_us,
    }
    return [
        Prediction("gateway", predicted["gateway"], result.role_us_per_event("gateway")),
        Prediction("worker", predicted["worker"], result.role_us_per_event("worker")),
        Prediction("redis", predicted["redis"], result.role_us_per_event("redis")),
    ]


def predictions_table(constants: Constants, results: Sequence[Result]) -> str:
    """A row for each role of each run."""
    rows = [
        (
            _run(result),
            each.role,
            f"{digits(each.predicted_us)} µs",
            f"{digits(each.measured_us)} µs",
            f"{each.measured_us / each.predicted_us:.2f}",
        )
        for result in results
        for each in predictions(constants, result)
    ]
    return _markdown(("run", "role", "predicted", "measured", "measured / predicted"), rows)


def _run(result: Result) -> str:
    shape = f"{result.processes} gateways, {result.workers} workers"
    return f"{result.target}, {shape}, {digits(result.events_per_s)} events/s"


def _processes(need: Need) -> str:
    return f"{need.count:,} ({need.limit})"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [_line(head), _line(["---", *("---:" for _ in head[1:])])]
    return "\n".join([*lines, *(_line(row) for row in rows)]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
