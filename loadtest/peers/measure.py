"""One case on one product: receivers connected, a warm-up, a measured window."""

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec

from loadtest.errors import LoadError
from loadtest.meter import Meter
from loadtest.peers.case import Case
from loadtest.peers.install import Kit
from loadtest.peers.loop import Loop
from loadtest.peers.products import Name, publish_spec
from loadtest.peers.stand import Stand, standing
from loadtest.peers.swarm import Swarm
from loadtest.proc import pin as pin_process
from loadtest.programs import Program, module
from loadtest.result import Figure, Result
from loadtest.target import Watched

WARM_UP_S = 1.0
SETTLE_S = 1.0
PER_CONNECTION = "memory per idle connection"
WARM_PART = 4  # a quarter of the idle connections warms up; the others are measured


def measure(kit: Kit, name: Name, case: Case, seconds: float, *, pin: bool) -> Result:
    """Starts everything anew, measures, and ends everything.

    Raises:
        LoadError: a server did not start, hung up, or lost messages.
    """
    publishes = case.outstanding > 0
    with (
        standing(kit, name, publishes=publishes, pin=pin) as stand,
        Swarm(stand.place.port) as swarm,
        _on(stand.cpus),
    ):
        try:
            return _stream(stand, swarm, case, seconds) if publishes else _idle(stand, swarm, case)
        except (LoadError, OSError) as error:
            told = "" if stand.server.running else f"\nThe server has ended: {stand.server.said()}"
            raise LoadError(f"{error}{told}") from error


@contextmanager
def _on(cpus: set[int]) -> Generator[None]:
    """The receivers are this process: while they run it stays off the server's CPU."""
    before = os.sched_getaffinity(0)
    pin_process(os.getpid(), cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _connect(stand: Stand, swarm: Swarm, case: Case, receivers: range) -> None:
    for receiver in receivers:
        rooms = ",".join(case.rooms_of(receiver))
        swarm.connect(stand.product.path.format(rooms=rooms), engine=stand.product.engine)


def _idle(stand: Stand, swarm: Swarm, case: Case) -> Result:
    """Memory of connections that do nothing, each in a room of its own."""
    meter, warm = Meter(stand.watched), case.sockets // WARM_PART
    _connect(stand, swarm, case, range(warm))
    time.sleep(SETTLE_S)
    before = meter.read()
    _connect(stand, swarm, case, range(warm, case.sockets))
    time.sleep(SETTLE_S)
    costs = meter.costs(before, meter.read(), 0)
    costs = tuple(msgspec.structs.replace(cost, cpu_us_per_event=0.0) for cost in costs)
    grown = sum(c.rss_after_bytes - c.rss_before_bytes for c in costs if c.role == "peer")
    figure = Figure(PER_CONNECTION, grown / (case.sockets - warm), "bytes")
    empty = _empty(stand, case)
    return msgspec.structs.replace(empty, costs=costs, seconds=SETTLE_S, figures=(figure,))


def _stream(stand: Stand, swarm: Swarm, case: Case, seconds: float) -> Result:
    _connect(stand, swarm, case, range(case.sockets))
    spec = publish_spec(stand.product, stand.place, case.rooms, stand.publish_port)
    words = module("loadtest.peers.publisher", msgspec.json.encode(spec).decode())
    with Program("publisher", words, cpus=stand.cpus, talks=True) as publisher:
        try:
            return _window(stand, swarm, publisher, case, seconds)
        except (LoadError, OSError) as error:
            if publisher.running:
                raise
            raise LoadError(f"The publisher has ended: {publisher.said()}") from error


def _window(stand: Stand, swarm: Swarm, publisher: Program, case: Case, seconds: float) -> Result:
    loop = Loop(swarm, publisher.pipes[0], rooms=case.rooms, sockets=case.sockets)
    others = [Watched("publisher", "client", publisher.pid)]
    others += [Watched("receivers", "client", os.getpid())]
    meter = Meter([*stand.watched, *others], [stand.redis])
    loop.settle()
    loop.start(case.outstanding)
    loop.run(WARM_UP_S)
    before, first = meter.read(), loop.events
    took = loop.run(seconds)
    after, events = meter.read(), loop.events - first
    costs = meter.costs(before, after, events)
    busy = sum(cost.cpu_s for cost in costs if cost.role == "peer") / took
    return msgspec.structs.replace(
        _empty(stand, case),
        seconds=took,
        events=events,
        costs=costs,
        redis=meter.redis(before, after, events),
        missing=loop.drain(),
        notes=(f"the server was busy for {busy:.0%} of the time",),
    )


def _empty(stand: Stand, case: Case) -> Result:
    return Result(
        scenario=case.scenario,
        target=stand.name,
        began=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        seconds=0.0,
        events=0,
        bytes=0,
        options=case.options,
        load=float(case.sockets),
        load_name="sockets",
    )
