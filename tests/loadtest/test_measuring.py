"""What the command line asks for, and what is refused before anything is started."""

import pytest

from loadtest.drivers import DRIVERS
from loadtest.errors import LoadError
from loadtest.measuring import Wanted, chosen
from loadtest.scenarios import SCENARIOS, Load
from loadtest.target import Setup, running

MULTIPLEX, BROADCAST = SCENARIOS["multiplex"], SCENARIOS["broadcast"]


def test_what_is_not_asked_for_is_as_the_scenario_has_it() -> None:
    assert Wanted().load(MULTIPLEX) == MULTIPLEX.load
    assert Wanted(sessions=64, seconds=9.0).load(MULTIPLEX).sessions == 64


def test_a_rate_opens_the_loop_and_outstanding_closes_it() -> None:
    opened = Wanted(rate=50.0).load(MULTIPLEX)
    closed = Wanted(outstanding=8).load(SCENARIOS["tokens"])

    assert (opened.rate, opened.outstanding) == (50.0, 0)
    assert (closed.rate, closed.outstanding) == (0.0, 8)


def test_there_are_no_sockets_without_a_session() -> None:
    assert Wanted(sessions=3).load(MULTIPLEX).tabs == 3
    assert Wanted(sockets=500).load(BROADCAST).tabs == 500


def test_cost_against_load_varies_the_axis_alone() -> None:
    loads = Wanted(outstanding=5).loads(MULTIPLEX, [10, 100, 640], short=False)

    assert [load.sessions for load in loads] == [10, 100, 640]
    assert [load.tabs for load in loads] == [10, 100, 100]
    assert {load.sockets for load in loads} == {100}
    assert [load.sockets for load in Wanted().loads(BROADCAST, [5], short=True)] == [5]
    assert len(Wanted().loads(BROADCAST, [], short=False)) == 1


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (Wanted(sockets=2), "64 a connection .* use --sockets 16 or more"),
        (Wanted(sessions=0), "--sessions must be 1 or more"),
        (Wanted(sample=0), "--sample must be 1 or more"),
        (Wanted(clients=101), "--clients cannot be more than --sockets"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(wanted: Wanted, told: str) -> None:
    with pytest.raises(LoadError, match=told):
        wanted.load(MULTIPLEX)


def test_an_unknown_scenario_is_answered_with_those_there_are() -> None:
    with pytest.raises(LoadError, match="no scenario 'brodcast': choose of broadcast, multiplex"):
        chosen(["multiplex", "brodcast"])


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_short_round_of_each_is_possible(name: str) -> None:
    scenario = SCENARIOS[name]
    short = Wanted().load(scenario, short=True)

    assert scenario.driver in DRIVERS
    assert isinstance(getattr(short, scenario.axis), int)
    assert short.seconds <= 5
    assert short.verb == scenario.load.verb
    assert Load() != short


@pytest.mark.parametrize(
    ("setup", "told"),
    [
        (Setup(target="valkey"), "no target 'valkey': use memory, redis, cluster, or the URL"),
        (Setup(processes=2), "cannot share memory://: use --target redis"),
        (Setup(target="wss://example.com/v1/ws"), "TLS is not spoken here"),
    ],
)
def test_a_target_that_cannot_be_is_refused(setup: Setup, told: str) -> None:
    with pytest.raises(LoadError, match=told), running(setup):
        pass
