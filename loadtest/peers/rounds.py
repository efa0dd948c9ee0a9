"""Products and ours in turn, again and again, so that what disturbs the machine disturbs all.

One that cannot be measured is told and left out of that round; the others go on.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence

import msgspec

from loadtest.errors import LoadError
from loadtest.measuring import measure as measure_ours
from loadtest.peers.case import Case
from loadtest.peers.install import Kit
from loadtest.peers.measure import measure
from loadtest.peers.products import Name
from loadtest.result import Result
from loadtest.scenarios import SCENARIOS
from loadtest.target import Setup

Measured = tuple[Result, dict[str, str]]  # with the versions of what was ours

OURS = "redis"  # the target of our own results


class Plan(msgspec.Struct, frozen=True):
    """What is measured, in this order, `rounds` times."""

    cases: Sequence[Case]
    names: Sequence[Name]
    rounds: int
    seconds: float
    pin: bool = True

    @property
    def steps(self) -> int:
        """How many measurements that is."""
        return len(self.cases) * (len(self.names) + 1) * self.rounds


def measured(
    plan: Plan, kit: Kit, begins: Callable[[str, int], None], failed: Callable[[str], None]
) -> Iterator[Measured]:
    """All results when they are there, with the versions of ours where it is one of ours.

    `begins` is told what comes, and how many measurements were done before.
    """
    names: list[Name | None] = [None, *plan.names]
    steps = itertools.product(range(plan.rounds), plan.cases, names)
    for done, (turn, case, name) in enumerate(steps):
        begins(f"round {turn + 1}: {case.title}: {name or 'ours'}", done)
        try:
            yield _complete(plan, kit, case, name)
        except LoadError as error:
            failed(f"Not measured, {name or 'ours'}, {case.title}: {error}")


def _complete(plan: Plan, kit: Kit, case: Case, name: Name | None) -> Measured:
    if name is None:
        result, versions = ours(case, plan.seconds, pin=plan.pin)
    else:
        result, versions = measure(kit, name, case, plan.seconds, pin=plan.pin), {}
    if result.missing:
        raise LoadError(f"{result.missing} events are missing in the end.")
    return result, versions


def ours(case: Case, seconds: float, *, pin: bool) -> Measured:
    """The same case on our gateway, which runs no agents, with a publisher and a Redis; versions.

    Raises:
        LoadError: as `loadtest.measuring.measure`.
    """
    scenario = SCENARIOS[case.scenario]
    load = msgspec.structs.replace(
        scenario.load, sockets=case.sockets, sessions=case.rooms, seconds=seconds
    )
    if case.outstanding:
        load = msgspec.structs.replace(load, outstanding=case.outstanding)
    setup = Setup(target=OURS, publisher=True, pin=pin)
    (result,), versions = measure_ours(scenario, setup, load, lambda _what, _at, _of: None)
    options = {**result.options, **case.options}
    return msgspec.structs.replace(result, options=options), versions
