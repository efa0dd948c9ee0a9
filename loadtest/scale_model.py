"""The capacity model: what a number of sockets needs, of measured costs. Arithmetic, nothing else.

Every process is filled to a share of its core (`full`); what it costs is CPU time per unit of work.
The figures are of a gateway that is busy: events that come at the same time share a read, but
each is a message of its own. That is the dear case that remains under load (docs/scaling.md).
"""

import math
from typing import Literal

from msgspec import Struct

RECONNECTS_PER_S = 500
"""Handshakes of one gateway, by default (`handshakes_per_s`)."""
FEED_EVENTS = 2_048
"""The newest events of a session that a gateway keeps (`feed_events`)."""
SHARDS = 64
"""Hash tags: more masters than these would stand idle."""
LISTENERS = SHARDS + 1
WIRES = 2
"""Connections for commands that a process holds at each master, beside its listeners."""
LEAST_SPARE = 0.01
"""Of a core, where what every process hears would fill it."""
MIB, GIB = 2**20, 2**30
Limit = Literal["CPU", "memory"]


class Constants(Struct, frozen=True, kw_only=True):
    """What one unit of work costs: µs of CPU, bytes of memory."""

    gateway_alone_us: float
    """An event that nothing shares its wake-up with."""
    gateway_event_us: float
    """An event to the first socket of its session, a message of its own, in a busy gateway."""
    gateway_joined_us: float
    """The same, many events in one message."""
    gateway_copy_us: float
    """The same event to one more socket, a message of its own."""
    gateway_copy_joined_us: float
    """The same, several events in one message."""
    gateway_command_us: float
    gateway_resume_us: float
    """A client that comes back and catches up with 100 events."""
    gateway_socket_us_per_s: float
    """A silent socket with a subscription: pings, and a look at the session's head."""
    gateway_bytes: float
    """A gateway with nobody in it."""
    connection_bytes: float
    subscription_bytes: float
    feed_bytes: float
    """A session that is followed, whoever of its sockets."""
    feed_event_bytes: float
    """One of its newest events."""
    worker_token_20_us: float
    worker_token_60_us: float
    worker_events_20: float
    """Events that a token makes at `coalesce_ms` 20 and the rate that was measured."""
    worker_events_60: float
    worker_bytes: float
    run_bytes: float
    """A live run."""
    redis_append_us: float
    """An append of a busy worker, published once."""
    redis_copy_us: float
    """Published to one more process that follows the session."""
    redis_command_us: float
    redis_session_us_per_s: float
    """A silent session: its head is looked at once a minute."""
    redis_process_us_per_s: float
    """A process with nothing to do: it asks for due timers and runs, and hears its canary."""
    redis_session_bytes: float
    redis_event_bytes: float


class Measured(Struct, frozen=True, kw_only=True):
    """Constants and where they come from."""

    machine: str
    date: str
    command: str
    constants: Constants


class Workload(Struct, frozen=True, kw_only=True):
    """What the users do."""

    sockets: int
    sessions_per_socket: float = 1.0
    sockets_per_session: float = 1.0
    """1: nobody shares a session."""
    active: float = 0.05
    """The share of sessions with a model at work."""
    tokens_per_s: float = 30.0
    coalesce_ms: float = 20.0
    commands_per_s: float = 0.01
    """Up, of each socket."""
    run_s: float = 20.0
    """How long a model works at an answer."""
    stays_s: float = 600.0
    """How long a socket lives until it is cut, or its page leaves and another comes."""
    kept_events: int = 1_000
    """Of each session, in Redis (a gateway keeps the newest 2,048 of them)."""
    event_bytes: int = 200
    stored: float = 1.0
    """Sessions in Redis for each that somebody looks at."""


class Site(Struct, frozen=True, kw_only=True):
    """What a process may use of the machine."""

    full: float = 0.6
    gateway_bytes: float = 2 * GIB
    worker_bytes: float = 2 * GIB
    redis_bytes: float = 16 * GIB


class Need(Struct, frozen=True):
    """How many processes of a role, why so many, and what they use together."""

    count: int
    limit: Limit
    cpu: float
    """Cores that are busy."""
    memory_bytes: float


class Plan(Struct, frozen=True, kw_only=True):
    """What a workload needs, and what follows of it."""

    workload: Workload
    gateways: Need
    workers: Need
    redis: Need
    tokens_per_s: float
    delivered_per_s: float
    appends_per_s: float
    published_bytes_per_s: float
    """What Redis sends to the processes that follow, of each master."""
    connections_per_master: float
    control_cpu: float
    """Cores of the one master that has the channel of all processes, for that channel."""
    back_s: float
    """Until all sockets are back if all were cut at once and found these gateways."""

    @property
    def shards_enough(self) -> bool:
        """Whether 64 hash tags spread over so many masters."""
        return self.redis.count <= SHARDS

    @property
    def sockets_per_gateway(self) -> float:
        return self.workload.sockets / self.gateways.count


def plan(constants: Constants, workload: Workload, site: Site = Site()) -> Plan:  # noqa: B008 - frozen
    """How many of each, so that none is fuller than `site` allows."""
    flow = _flow(workload)
    # Each socket of a session may be at another gateway, as far as there are so many.
    once = _gateways(constants, workload, site, flow, workload.sockets_per_session)
    followers = max(1.0, min(workload.sockets_per_session, once.count))
    gateways = _gateways(constants, workload, site, flow, followers)
    workers = _workers(constants, workload, site, flow)
    processes = gateways.count + workers.count
    # Each that connects is told to all processes, through one channel.
    word = processes * constants.redis_copy_us / 1e6
    wakes = flow.runs_per_s * workers.count * constants.redis_copy_us / 1e6
    words = flow.connects_per_s * word + wakes
    redis = _redis(constants, workload, site, flow, followers, processes, words)
    masters = redis.count
    # One server has one listener of each process; in a Cluster one for each hash tag.
    listeners = LISTENERS / masters if masters > 1 else 1
    published = flow.events_per_s * (followers + 1) * workload.event_bytes / masters
    each = workload.sockets / gateways.count
    return Plan(
        workload=workload,
        gateways=gateways,
        workers=workers,
        redis=redis,
        tokens_per_s=flow.tokens_per_s,
        delivered_per_s=flow.delivered_per_s,
        appends_per_s=flow.events_per_s,
        published_bytes_per_s=published,
        connections_per_master=processes * (WIRES + listeners),
        control_cpu=flow.connects_per_s * word,
        back_s=max(
            each * constants.gateway_resume_us / 1e6,
            each / RECONNECTS_PER_S,
            workload.sockets * word,
        ),
    )


class _Flow(Struct, frozen=True):
    sessions: float
    live: float
    tokens_per_s: float
    events_per_s: float
    delivered_per_s: float
    commands_per_s: float
    connects_per_s: float
    runs_per_s: float


def _flow(workload: Workload) -> _Flow:
    sessions = workload.sockets * workload.sessions_per_socket / workload.sockets_per_session
    live = sessions * workload.active
    events = live * events_per_s(workload.tokens_per_s, workload.coalesce_ms)
    return _Flow(
        sessions=sessions,
        live=live,
        tokens_per_s=live * workload.tokens_per_s,
        events_per_s=events,
        delivered_per_s=events * workload.sockets_per_session,
        commands_per_s=workload.sockets * workload.commands_per_s,
        connects_per_s=workload.sockets / workload.stays_s,
        runs_per_s=live / workload.run_s,
    )


def events_per_s(tokens_per_s: float, coalesce_ms: float) -> float:
    """What is left of a run's tokens once neighbours are merged."""
    return min(tokens_per_s, 1000 / coalesce_ms) if coalesce_ms else tokens_per_s


def worker_us(constants: Constants, events_per_token: float) -> float:
    """A worker's cost of a token, on the line through the two that were measured."""
    e20, e60 = constants.worker_events_20, constants.worker_events_60
    t20, t60 = constants.worker_token_20_us, constants.worker_token_60_us
    per_event = max(0.0, (t20 - t60) / (e20 - e60)) if e20 > e60 else 0.0
    return max(0.0, t60 + per_event * (events_per_token - e60))


def _gateways(c: Constants, w: Workload, site: Site, flow: _Flow, followers: float) -> Need:
    first = flow.events_per_s * followers
    us = first * c.gateway_event_us
    us += max(0.0, flow.delivered_per_s - first) * c.gateway_copy_us
    us += flow.commands_per_s * c.gateway_command_us
    us += flow.connects_per_s * c.gateway_resume_us
    us += w.sockets * c.gateway_socket_us_per_s
    feeds = flow.sessions * followers
    kept = min(w.kept_events, FEED_EVENTS) * c.feed_event_bytes
    memory = w.sockets * (c.connection_bytes + w.sessions_per_socket * c.subscription_bytes)
    memory += feeds * (c.feed_bytes + kept)
    heard = flow.connects_per_s * c.gateway_joined_us / 1e6
    return _need(us / 1e6, heard, memory, site.full, c.gateway_bytes, site.gateway_bytes)


def _workers(c: Constants, w: Workload, site: Site, flow: _Flow) -> Need:
    per_token = events_per_s(w.tokens_per_s, w.coalesce_ms) / w.tokens_per_s
    cpu = flow.tokens_per_s * worker_us(c, per_token) / 1e6
    heard = (flow.connects_per_s + flow.runs_per_s) * c.gateway_joined_us / 1e6
    memory = flow.live * c.run_bytes
    return _need(cpu, heard, memory, site.full, c.worker_bytes, site.worker_bytes)


def _redis(
    c: Constants,
    w: Workload,
    site: Site,
    flow: _Flow,
    followers: float,
    processes: int,
    words: float,
) -> Need:
    # The worker follows its own sessions, too: that is the one more.
    us = flow.events_per_s * (c.redis_append_us + followers * c.redis_copy_us)
    us += flow.commands_per_s * c.redis_command_us
    us += flow.sessions * followers * c.redis_session_us_per_s
    us += processes * c.redis_process_us_per_s
    stored = flow.sessions * w.stored
    memory = stored * (c.redis_session_bytes + w.kept_events * c.redis_event_bytes)
    need = _need(us / 1e6 + words, 0.0, memory, site.full, 0.0, site.redis_bytes)
    fill = max(need.cpu / site.full, need.memory_bytes / site.redis_bytes)
    return Need(masters(fill), need.limit, need.cpu, need.memory_bytes)


def masters(fill: float) -> int:
    """How many masters hold what would fill so many, if the hash tags are dealt out evenly.

    A tag is not divided: 33 masters are no better than 32. More than 64 is what it would take.
    """
    for count in range(1, SHARDS + 1):
        if fill * math.ceil(SHARDS / count) <= SHARDS:
            return count
    return math.ceil(fill)


def _need(
    cpu: float, each_cpu: float, memory: float, full: float, own_bytes: float, most_bytes: float
) -> Need:
    """Processes of one core each; `each_cpu` and `own_bytes` is what every one has besides."""
    by_cpu = math.ceil(cpu / max(LEAST_SPARE, full - each_cpu))
    by_memory = math.ceil(memory / (most_bytes - own_bytes))
    count = max(1, by_cpu, by_memory)
    limit: Limit = "memory" if by_memory > by_cpu else "CPU"
    return Need(count, limit, cpu + count * each_cpu, memory + count * own_bytes)
