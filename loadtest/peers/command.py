"""`python -m loadtest peers`: installs other products, measures all in turns, prints a table."""

import shlex
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from loadtest.errors import LoadError
from loadtest.machine import machine
from loadtest.peers.case import CASES, Case
from loadtest.peers.install import Kit, install
from loadtest.peers.products import PRODUCTS, Name
from loadtest.peers.rounds import Plan, measured
from loadtest.peers.table import markdown
from loadtest.proc import raise_descriptor_limit
from loadtest.result import Result, Run, write

FOLDER = Path("~/.cache/agent-gateway-peers")
SECONDS = 10.0


def peers(
    *,
    only: Annotated[list[Name] | None, Parameter(consume_multiple=True)] = None,
    scenarios: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    rounds: int = 3,
    seconds: float = SECONDS,
    pin: bool = True,
    folder: Annotated[Path, Parameter(name="--dir")] = FOLDER,
    out: Path | None = None,
) -> None:
    """Measure other products beside ours, in turns; prints a table in Markdown.

    What they need is installed into a folder of its own on the first run: packages of PyPI and npm,
    and Debian's nginx and Nchan unless the system has them. Needs Linux.

    Examples:

        python -m loadtest peers

        python -m loadtest peers --only socketio-node nchan --scenarios broadcast --rounds 5

    Args:
        only: These products, beside ours.
        scenarios: Of broadcast, multiplex and idle.
        rounds: How often each is measured.
        seconds: Of each measurement, after its warm-up.
        pin: The measured server on one half of the CPUs, all else on the other.
        folder: Where the products are installed; may be deleted at any time.
        out: Writes run.json and table.md into this folder as well.
    """
    names: list[Name] = list(only or PRODUCTS)
    plan = Plan(_cases(scenarios), names, rounds, seconds, pin)
    console = Console(stderr=True)
    kit = install(folder.expanduser().resolve(), names, console.print)
    about = _versions(kit, names)
    raise_descriptor_limit()  # the servers inherit it
    results: list[Result] = []
    with _progress(plan, console) as begins:
        for result, versions in measured(plan, kit, begins, console.print):
            results.append(result)
            about = versions | about
            _keep(_found(results, about), out)  # an interrupted run has not been for nothing
    print(markdown(_found(results, about)))


def _found(results: list[Result], about: dict[str, str]) -> Run:
    return Run(
        command=shlex.join(["python", "-m", "loadtest", *sys.argv[1:]]),
        machine=machine(),
        versions=about,
        results=tuple(results),
    )


def _keep(run: Run, out: Path | None) -> None:
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write(run, out / "run.json")
        (out / "table.md").write_text(markdown(run))


def _cases(scenarios: list[str] | None) -> list[Case]:
    known = {case.scenario for case in CASES}
    if unknown := set(scenarios or ()) - known:
        raise LoadError(
            f"Peers have no scenario {min(unknown)!r}: choose of {', '.join(sorted(known))}."
        )
    return [case for case in CASES if not scenarios or case.scenario in scenarios]


@contextmanager
def _progress(plan: Plan, console: Console) -> Generator[Callable[[str, int], None]]:
    """A bar on a terminal, a line per measurement elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    shown = console.is_terminal
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not shown) as progress:
        task = progress.add_task("", total=plan.steps)

        def begins(text: str, done: int) -> None:
            progress.update(task, description=text, completed=done)
            if not shown:
                console.print(f"{done}/{plan.steps} {text}", soft_wrap=True)

        yield begins


def _versions(kit: Kit, names: list[Name]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        found |= {f"{name}: {k}": v for k, v in PRODUCTS[name].versions(kit).items()}
    return found
