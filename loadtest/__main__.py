"""The command `python -m loadtest`."""

import asyncio
import sys
from typing import Annotated

import cyclopts
import msgspec

from loadtest.report import Result, table
from loadtest.scenarios import SCENARIOS
from loadtest.target import Target

app = cyclopts.App(
    name="loadtest",
    help="Measures a gateway on this machine: latency, and CPU per event of the server.",
)


@app.default
def run(
    scenario: Annotated[str, cyclopts.Parameter(help=f"One of {', '.join(SCENARIOS)}.")] = "tools",
    *,
    broker: Annotated[
        str, cyclopts.Parameter(help="Of the gateway that is started.")
    ] = "memory://",
    count: Annotated[int, cyclopts.Parameter(help="Round trips, or events.")] = 500,
    sessions: Annotated[int, cyclopts.Parameter(help="Sessions at once.")] = 1,
    json: Annotated[bool, cyclopts.Parameter(help="Print JSON instead of a table.")] = False,
) -> None:
    """Starts a gateway on a free loopback port, runs one scenario against it, and stops it.

    Examples:

        python -m loadtest tools --count 1000

        python -m loadtest stream --sessions 50 --broker redis://127.0.0.1:6379/0
    """
    if scenario not in SCENARIOS:
        sys.exit(f"There is no scenario {scenario!r}; choose one of {', '.join(SCENARIOS)}.")
    result = asyncio.run(_measure(scenario, broker, count, sessions))
    print(msgspec.json.encode(result).decode() if json else table(result))


async def _measure(scenario: str, broker: str, count: int, sessions: int) -> Result:
    async with Target(broker) as target:
        return await SCENARIOS[scenario](target, count=count, sessions=sessions)


if __name__ == "__main__":
    app()
