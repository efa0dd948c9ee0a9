"""What is measured: a gateway that is started for it, alone, with a Redis or with a cluster; or
somebody's gateway by its URL. Everything that was started ends with the block.
"""

import http.client
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import msgspec

from loadtest import redis_server
from loadtest.errors import LoadError
from loadtest.proc import children, split_cpus
from loadtest.programs import Program, free_port, module
from loadtest.redis_server import RedisServer
from loadtest.result import Role

AGENTS = "loadtest.agent:load,scripted,echo"
LARGE = "1000000"
NOT_OURS = (
    "a gateway that was not started here: its CPU and memory are not known; the agent is "
    "scripted, in an open loop, and latencies are those of the events' time"
)
UNLIMITED = {
    "frames-per-s": LARGE,
    "frames-burst": LARGE,
    "handshakes-per-s": LARGE,
    "handshakes-burst": LARGE,
    "max-rss-bytes": "0",
}
"""Limits that would refuse a load generator, which is many users in one process."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What to start, or where to go."""

    target: str = "memory"
    """`memory`, `redis`, `cluster`, or a URL ws://host:port/v1/ws."""
    processes: int = 1
    workers: int = 1
    """With Redis; 0: the gateways run the agents."""
    publisher: bool = False
    """A bare publisher among the clients, in place of workers."""
    coalesce_ms: int | None = None
    append_only: bool = False
    pin: bool = True
    token: str = ""
    """Of a gateway that asks who comes."""

    @property
    def workers_started(self) -> int:
        """Beside the gateways."""
        return 0 if self.target == "memory" or self.publisher else self.workers

    @property
    def ours(self) -> bool:
        """Whether it is started here."""
        return "://" not in self.target


class Watched(msgspec.Struct, frozen=True):
    """A process whose cost is measured."""

    name: str
    role: Role
    pid: int


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A target that serves."""

    setup: Setup
    host: str
    port: int
    path: str = "/v1/ws"
    watched: Sequence[Watched] = ()
    redis: Sequence[RedisServer] = ()
    programs: Sequence[Program] = ()
    """The gateway, or their supervisor, and the workers."""
    client_cpus: set[int] = set()
    notes: Sequence[str] = ()


@contextmanager
def running(setup: Setup) -> Generator[Running]:
    """A gateway as `setup` says, ready.

    Raises:
        LoadError: it cannot be started or reached; names the remedy.
    """
    if not setup.ours:
        yield _somebody(setup)
        return
    if setup.target not in ("memory", "redis", "cluster"):
        raise LoadError(
            f"There is no target {setup.target!r}: use memory, redis, cluster, or the URL of a "
            "gateway, ws://127.0.0.1:8000/v1/ws."
        )
    if setup.target == "memory" and (setup.processes > 1 or setup.publisher):
        raise LoadError("Several processes cannot share memory://: use --target redis.")
    with ExitStack() as stack:
        started = _start(setup, stack)
        try:
            yield started
        except LoadError as error:
            raise LoadError("\n".join([str(error), *_complaints(started.programs)])) from None


def _start(setup: Setup, stack: ExitStack) -> Running:
    server_cpus, client_cpus = split_cpus(setup.pin)
    form: dict[str, Callable[..., list[RedisServer]]] = {
        "redis": redis_server.one,
        "cluster": redis_server.cluster,
    }
    redis: list[RedisServer] = []
    workers = setup.workers_started
    broker = "memory://"
    if setup.target in form:
        redis = form[setup.target](stack, append_only=setup.append_only, cpus=client_cpus)
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in redis)
        broker = f"redis+cluster://{hosts}" if setup.target == "cluster" else f"redis://{hosts}/0"
    shared = ["--broker", broker, "--agents", AGENTS, "--max-runs", "100000"]
    shared += ["--log-level", "warning", "--drain-ms", "1000"]
    if setup.coalesce_ms is not None:
        shared += ["--coalesce-ms", str(setup.coalesce_ms)]
    port = free_port()
    limits = [part for name, value in UNLIMITED.items() for part in (f"--{name}", value)]
    serve = module("gateway.cli", "serve", "--port", str(port), *shared, *limits)
    serve += ["--processes", str(setup.processes)] + (
        ["--no-runs"] if workers or setup.publisher else []
    )
    gateway = stack.enter_context(Program("gateway", serve, cpus=server_cpus))
    started = [
        stack.enter_context(
            Program(f"worker {i + 1}", module("gateway.cli", "worker", *shared), cpus=server_cpus)
        )
        for i in range(workers)
    ]
    if setup.publisher:
        words = module("loadtest.publisher", broker)
        publisher = stack.enter_context(Program("publisher", words, cpus=client_cpus))
        started.append(publisher)
    gateway.until(lambda: _ready(port))
    watched = _gateways(gateway, setup.processes)
    role: Role = "client" if setup.publisher else "worker"
    watched += [Watched(program.name, role, program.pid) for program in started]
    watched += [Watched(server.program.name, "redis", server.program.pid) for server in redis]
    return Running(
        setup=setup,
        host="127.0.0.1",
        port=port,
        watched=watched,
        redis=redis,
        programs=[gateway, *started],
        client_cpus=client_cpus,
        notes=[
            "limits raised for the load generator, which is many users in one: "
            + ", ".join(f"--{name}" for name in UNLIMITED),
            f"pinned: gateways and workers on CPU {_cpus(server_cpus)}, Redis and clients on CPU "
            f"{_cpus(client_cpus)}"
            if server_cpus
            else "not pinned to CPUs",
        ],
    )


def _gateways(gateway: Program, processes: int) -> list[Watched]:
    if processes == 1:
        return [Watched("gateway", "gateway", gateway.pid)]
    gateway.until(lambda: len(children(gateway.pid)) == processes)
    pids = children(gateway.pid)
    return [Watched(f"gateway {i + 1}", "gateway", pid) for i, pid in enumerate(pids)]


def _complaints(programs: Sequence[Program]) -> list[str]:
    """What they wrote, which is nothing if all went well; the files go with them."""
    written = [(program.name, program.written()) for program in programs]
    return [f"{name} wrote:\n{text}" for name, text in written if text]


def _somebody(setup: Setup) -> Running:
    url = urlsplit(setup.target)
    if url.scheme != "ws" or url.hostname is None:
        raise LoadError(
            f"{setup.target} is no URL of a gateway: write it as ws://host:port/v1/ws. TLS is not "
            "spoken here: measure behind what ends it."
        )
    _, client_cpus = split_cpus(setup.pin)
    return Running(
        setup=setup,
        host=url.hostname,
        port=url.port or 80,
        path=url.path or "/v1/ws",
        client_cpus=client_cpus,
        notes=[NOT_OURS],
    )


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _cpus(cpus: set[int]) -> str:
    return ",".join(map(str, sorted(cpus)))
