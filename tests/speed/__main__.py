"""`python -m tests.speed`: hot paths beside what is stored of them; docs/performance.md, Guard."""

import argparse
import cProfile
import io
import os
import pstats
import sys
from collections.abc import Sequence

import msgspec
import uvloop

from tests.speed.baseline import Baseline
from tests.speed.guard import SLOWED, settled, watched
from tests.speed.measuring import figure_of, profiled
from tests.speed.path import encoded_again, nothing_more
from tests.speed.paths import PATHS

SHOWN = 30


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.speed", description=__doc__)
    parser.add_argument("paths", nargs="*", metavar="PATH", help=f"of {', '.join(PATHS)}")
    parser.add_argument("--store", action="store_true", help="make these ratios the stored ones")
    parser.add_argument("--profile", action="store_true", help="show where the time of one goes")
    parser.add_argument("--here", action="store_true", help="one figure as JSON, in this process")
    parser.add_argument(
        SLOWED, action="store_true", help="as if each event were decoded and encoded twice more"
    )
    options = parser.parse_args(words)
    if unknown := set(options.paths) - set(PATHS):
        parser.error(f"no path is called {', '.join(sorted(unknown))}")
    options.paths = options.paths or list(PATHS)
    return options


def main(words: Sequence[str]) -> int:
    """Returns the exit status: 1 after a regression."""
    options = _options(words)
    slowed = (SLOWED,) if options.slowed else ()
    if options.here:
        _measure_here(options.paths[0], slowed=options.slowed)
    if options.profile:
        _profile(options.paths[0])
    baseline = Baseline()
    if options.store:
        figures = settled(options.paths)
        baseline.store(figures)
        for name, figure in figures.items():
            _say(str(baseline.judge(name, figure)))
        return 0
    verdicts = [watched(name, baseline, *slowed) for name in options.paths]
    for verdict in verdicts:
        _say(str(verdict))
    return int(any(verdict.regressed for verdict in verdicts))


def _measure_here(name: str, *, slowed: bool) -> None:
    async def measure() -> None:
        figure = await figure_of(PATHS[name], encoded_again if slowed else nothing_more)
        _leave(msgspec.json.encode(figure).decode())

    uvloop.run(measure())


def _profile(name: str) -> None:
    profile, shown = cProfile.Profile(), io.StringIO()

    async def run() -> None:
        await profiled(PATHS[name], profile)
        pstats.Stats(profile, stream=shown).sort_stats("tottime").print_stats(SHOWN)
        _leave(shown.getvalue())

    uvloop.run(run())


def _leave(text: str) -> None:
    """Ends the process: what was opened would only be closed in order now, runs handed over."""
    _say(text)
    os._exit(0)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
