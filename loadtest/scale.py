"""The command `python -m loadtest scale`: measures what the capacity model is made of, or says what
a number of sockets needs."""

import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Group, Parameter

from loadtest.errors import LoadError
from loadtest.machine import machine
from loadtest.result import Result, Run, read, write
from loadtest.scale_measure import constants, run
from loadtest.scale_model import GIB, Measured, Site, Workload, plan
from loadtest.scale_table import constants_table, plans_table, predictions_table
from loadtest.stage import Progress

ABOVE_ZERO = ("sessions_per_socket", "sockets_per_session", "tokens_per_s", "run_s", "stays_s")
SHIPPED = Path(__file__).with_name("scale_constants.json")
USERS = Parameter(group=Group("What the users do", sort_key=1))
MACHINES = Parameter(group=Group("What a process may use", sort_key=2))


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Asked:
    """The workload, but for the number of sockets, and the site."""

    sessions_per_socket: Annotated[float, USERS] = 1.0
    """Sessions that a page has open."""

    sockets_per_session: Annotated[float, USERS] = 1.0
    """Pages that watch the same session."""

    active: Annotated[float, USERS] = 0.05
    """The share of sessions in which a model is at work."""

    tokens_per_s: Annotated[float, USERS] = 30.0
    """Of each of these."""

    coalesce_ms: Annotated[float, USERS] = 20.0
    """How long the workers merge deltas."""

    commands_per_s: Annotated[float, USERS] = 0.01
    """Commands up, of each socket."""

    run_s: Annotated[float, USERS] = 20.0
    """How long a model works at an answer."""

    stays_s: Annotated[float, USERS] = 600.0
    """How long a socket lives until it is cut, or its page leaves and another comes."""

    kept_events: Annotated[int, USERS] = 1_000
    """Events of a session in Redis; a gateway keeps the newest 2,048."""

    event_bytes: Annotated[int, USERS] = 200
    """Of an event, as it comes down."""

    stored: Annotated[float, USERS] = 1.0
    """Sessions in Redis for each that somebody looks at."""

    full: Annotated[float, MACHINES] = 0.6
    """The share of its core that a process may use: the rest is for peaks and failures."""

    gateway_gib: Annotated[float, MACHINES] = 2.0
    """Memory of a gateway process."""

    worker_gib: Annotated[float, MACHINES] = 2.0
    """Memory of a worker process."""

    redis_gib: Annotated[float, MACHINES] = 16.0
    """Memory of a Redis master."""

    def workload(self, sockets: int) -> Workload:
        """The workload with so many sockets.

        Raises:
            LoadError: it makes no sense.
        """
        fields = {f: value for f, value in asdict(self).items() if f in Workload.__struct_fields__}
        zero = [name for name in ABOVE_ZERO if fields[name] <= 0]
        low = [name for name, value in fields.items() if value < 0]
        if zero or low or sockets < 1 or self.active > 1:
            name = (zero or low or ["sockets" if sockets < 1 else "active"])[0]
            raise LoadError(f"--{name.replace('_', '-')} makes no sense: see --help.")
        return Workload(sockets=sockets, **fields)

    def site(self) -> Site:
        """What a process may use.

        Raises:
            LoadError: it makes no sense.
        """
        if not 0 < self.full <= 1:
            raise LoadError("--full is a share of a core, above 0 and at most 1.")
        if min(self.gateway_gib, self.worker_gib, self.redis_gib) < 0.5:
            raise LoadError("--gateway-gib, --worker-gib and --redis-gib are 0.5 or more.")
        return Site(
            full=self.full,
            gateway_bytes=self.gateway_gib * GIB,
            worker_bytes=self.worker_gib * GIB,
            redis_bytes=self.redis_gib * GIB,
        )


def scale(
    *,
    sockets: Annotated[tuple[int, ...], Parameter(consume_multiple=True, negative=())] = (),
    check: Annotated[tuple[Path, ...], Parameter(consume_multiple=True, negative=())] = (),
    asked: Asked | None = None,
    measured: Path = SHIPPED,
    quick: Annotated[bool, Parameter(negative=())] = False,
    rounds: int = 1,
    out: Path | None = None,
) -> None:
    """Measure the constants of the capacity model; with --sockets, say what so many need.

    Examples:

        python -m loadtest scale --rounds 3 --out results/scale

        python -m loadtest scale --sockets 10000 1000000 --active 0.05 --tokens-per-s 30

        python -m loadtest scale --sockets 50000 --measured results/scale/scale.json

        python -m loadtest scale --check results/two/run.json

    Args:
        sockets: How many; a column for each. Nothing is measured.
        check: run.json files of `tokens`, beside what the model says of them. Nothing is measured.
        measured: A scale.json of an earlier run; else what docs/scaling.md was made with.
        quick: Two seconds a step: to see that it works. The figures are rough.
        rounds: Of the plan, in turns.
        out: A folder for scale.json and run.json.
    """
    asked = asked or Asked()
    if sockets:
        known, site = read_measured(measured).constants, asked.site()
        plans = [plan(known, asked.workload(count), site) for count in sockets]
        print(plans_table(plans), end="")
    elif check:
        print(predictions_table(read_measured(measured).constants, _tokens(check)), end="")
    else:
        _measure(rounds, out, quick=quick)


def read_measured(path: Path = SHIPPED) -> Measured:
    """Constants from a file.

    Raises:
        LoadError: it is none of such a run.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Measured)
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror}.") from None
    except msgspec.DecodeError as error:
        raise LoadError(f"{path} is no scale.json of a load test: {error}") from None


def _tokens(paths: tuple[Path, ...]) -> list[Result]:
    results: list[Result] = []
    for path in paths:
        try:
            found = read(path).results
        except OSError as error:
            raise LoadError(f"{path} cannot be read: {error.strerror}.") from None
        except msgspec.DecodeError as error:
            raise LoadError(f"{path} is no run.json of a load test: {error}") from None
        results += [r for r in found if r.scenario == "tokens" and r.tokens and r.workers]
    if not results:
        raise LoadError("--check needs a run of tokens with workers: run tokens --target redis.")
    return results


def _measure(rounds: int, out: Path | None, *, quick: bool) -> None:
    if rounds < 1:
        raise LoadError("--rounds must be 1 or more.")
    found, versions = run(_telling(), rounds=rounds, quick=quick)
    here = machine()
    command = shlex.join(["python", "-m", "loadtest", *sys.argv[1:]])
    measured = Measured(
        machine=f"{here.cpu}, {here.cores} cores, {here.kernel}, Python {here.python}",
        date=datetime.now(UTC).date().isoformat(),
        command=command,
        constants=constants(found),
    )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        results = tuple(result for some in found.values() for result in some)
        run_found = Run(command=command, machine=here, versions=versions, results=results)
        write(run_found, out / "run.json")
        (out / "scale.json").write_bytes(
            msgspec.json.format(msgspec.json.encode(measured), indent=2) + b"\n"
        )
    print(constants_table(measured), end="")


def _telling() -> Callable[[str], Progress]:
    """Says on stderr, once each, which step begins."""

    def step(name: str) -> Progress:
        print(name, file=sys.stderr, flush=True)
        return lambda _what, _done, _total: None

    return step
