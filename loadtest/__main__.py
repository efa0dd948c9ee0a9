"""The command `python -m loadtest`: measure, compare, and other products beside ours."""

import shlex
import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, CycloptsError, Group, Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from loadtest.compare import compare_runs, show_comparison
from loadtest.compare_page import comparison_page
from loadtest.errors import LoadError
from loadtest.machine import machine
from loadtest.measuring import Wanted, chosen, measure
from loadtest.page import page
from loadtest.peers.command import peers
from loadtest.report import show
from loadtest.result import Result, Run, read, write
from loadtest.scale import scale
from loadtest.scenarios import SCENARIOS
from loadtest.target import Setup

HELP = """Measures a gateway over the real wire: latency, and CPU and memory of every process.

It starts the gateway, its workers and a Redis or Valkey of its own, on loopback, and ends them."""
TARGET = Parameter(group=Group("Target", sort_key=1))
OUTPUT = Parameter(group=Group("Output", sort_key=3))
USAGE_ERROR, INTERRUPTED = 2, 130


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Where:
    """What is measured, and where the results go."""

    target: Annotated[str, TARGET] = "memory"
    """`memory`, `redis`, `cluster` (three masters), or the URL of a gateway, ws://…/v1/ws."""

    processes: Annotated[int, TARGET] = 1
    """Gateway processes on one port."""

    workers: Annotated[int, TARGET] = 1
    """Worker processes, with Redis; 0: the gateways run the agents."""

    publisher: Annotated[bool, TARGET] = False
    """With Redis: no workers; a bare publisher beside the clients appends the events (broadcast,
    multiplex). What remains is delivery."""

    append_only: Annotated[bool, TARGET] = False
    """Redis writes to the disk, every second."""

    pin: Annotated[bool, TARGET] = True
    """Gateways and workers on one half of the CPUs, Redis and clients on the other."""

    token: Annotated[str, TARGET] = ""
    """For a gateway with `--auth jwt`."""

    loads: Annotated[tuple[int, ...], TARGET, Parameter(consume_multiple=True)] = ()
    """Measure with each of these numbers of sessions (broadcast, slow, fan-in, idle, storm: of
    sockets), for cost against load."""

    repeat: Annotated[int, OUTPUT] = 1
    """Rounds of all scenarios; the table shows medians."""

    out: Annotated[Path | None, OUTPUT] = None
    """A folder for run.json and run.html."""

    def setup(self) -> Setup:
        """The target.

        Raises:
            LoadError: it makes no sense.
        """
        if self.processes < 1 or self.workers < 0 or self.repeat < 1:
            raise LoadError("--processes and --repeat are 1 or more, --workers 0 or more.")
        return Setup(
            target=self.target,
            processes=self.processes,
            workers=self.workers,
            publisher=self.publisher,
            append_only=self.append_only,
            pin=self.pin,
            token=self.token,
        )


def run(*scenarios: str, where: Where | None = None, wanted: Wanted | None = None) -> None:
    """Measure scenarios; without a name a short round of all of them, about a minute.

    Examples:

        python -m loadtest run

        python -m loadtest run broadcast --subscribers 1000 --seconds 10

        python -m loadtest run tokens latency --target redis --out results/today

        python -m loadtest run multiplex --target redis --processes 2 --workers 2 --repeat 3

        python -m loadtest run multiplex --loads 10 100 1000 --out results/curve

        python -m loadtest run tools --target ws://127.0.0.1:8000/v1/ws

    Args:
        scenarios: Of broadcast, multiplex, tokens, latency, tools, fan-in, idle, storm, slow, soak.
    """
    where, wanted = where or Where(), wanted or Wanted()
    setup = where.setup()
    rows = chosen(scenarios or list(SCENARIOS))
    work = [
        (row, load) for row in rows for load in wanted.loads(row, where.loads, short=not scenarios)
    ]
    results: list[Result] = []
    told: dict[str, str] = {}
    for _ in range(where.repeat):
        for row, load in work:
            with _bar(row.name) as progress:
                found, seen = measure(row, setup, load, progress)
            results += found
            told |= seen
    _show(results, told, where.out)


def compare(before: Path, after: Path, *, out: Path | None = None) -> None:
    """Compare two runs: the ratio of each figure, medians where a scenario was repeated.

    Examples:

        python -m loadtest compare old/run.json new/run.json --out ratios.html

    Args:
        before: A run.json.
        after: A run.json.
        out: A file for the same as one HTML page.
    """
    old, new = _read(before), _read(after)
    comparison = compare_runs(old, new)
    show_comparison(comparison, Console())
    if out is not None:
        out.write_text(comparison_page(comparison, old, new))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code of the process."""
    app = App(
        name="loadtest",
        help=HELP,
        help_format="markdown",
        print_error=False,
        exit_on_error=False,
        result_action="return_value",
    )
    for command in (run, compare, scale, peers):
        app.command(command)
    try:
        app(sys.argv[1:] if arguments is None else arguments)
    except (CycloptsError, LoadError) as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


@contextmanager
def _bar(name: str) -> Generator["_Bar"]:
    """A bar on a terminal; nothing elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        yield _Bar(progress, name)


class _Bar:
    """Told what is being done, draws it."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._name = name
        self._task = progress.add_task(name, total=None)

    def __call__(self, what: str, done: float, total: float) -> None:
        self._progress.update(
            self._task, description=f"{self._name}: {what}", completed=done, total=total
        )


def _show(results: Sequence[Result], told: dict[str, str], out: Path | None) -> None:
    found = Run(
        command=shlex.join(["python", "-m", "loadtest", *sys.argv[1:]]),
        machine=machine(),
        versions=told,
        results=tuple(results),
    )
    if out is not None:  # first: who reads the table may stop early
        out.mkdir(parents=True, exist_ok=True)
        write(found, out / "run.json")
        (out / "run.html").write_text(page(found))
    show(found, Console())


def _read(path: Path) -> Run:
    try:
        return read(path)
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror}.") from None
    except msgspec.ValidationError as error:
        raise LoadError(f"{path} is no run.json of a load test: {error}") from None
    except msgspec.DecodeError as error:
        raise LoadError(f"{path} is no JSON: {error}") from None


if __name__ == "__main__":
    # Told to end it ends what it has started, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
