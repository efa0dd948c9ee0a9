"""`python -m tests.fuzz TARGET CORPUS SECONDS SEED`: a coverage-guided fuzzer on one target.

The corpus is seeded by the target itself and grows; a finding ends it with a traceback, and its
input as `crash-…` in the current directory.
"""

import sys
from pathlib import Path
from typing import Any

import atheris as _atheris

atheris: Any = _atheris  # its names are not declared

with atheris.instrument_imports(
    include=["protocol", "gateway.agents.sse", "gateway.auth", "gateway.broker", "gateway.runtime"]
):
    from tests.fuzz import targets

LONGEST = 4_096
ONE_INPUT_S = 60


def main(name: str, corpus: str, seconds: str, seed: str) -> None:
    """Fuzz until the time is over or there is a finding."""
    folder = Path(corpus)
    folder.mkdir(exist_ok=True)
    for number, good in enumerate(targets.seeds(name)):
        (folder / f"seed-{number}").write_bytes(good)
    options = (f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={LONGEST}")
    bounds = (f"-timeout={ONE_INPUT_S}", "-rss_limit_mb=4096", "-print_final_stats=1")
    atheris.Setup([sys.argv[0], *options, *bounds, corpus], targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
