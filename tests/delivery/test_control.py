"""What processes tell each other."""

import asyncio

import pytest

from gateway.broker.memory import MemoryBroker
from gateway.delivery.control import Control
from gateway.delivery.roster import Place, Roster
from gateway.errors import BrokerUnavailable
from tests.delivery.test_roster import ANN, Tab
from tests.support.waiting import eventually


class AwayBroker(MemoryBroker):
    """Cannot be reached."""

    async def publish_control(self, message: bytes) -> None:
        raise BrokerUnavailable


async def test_a_client_that_comes_to_another_replica_leaves_this_one() -> None:
    broker = MemoryBroker()
    here, there = Roster(), Roster()
    control, other = Control(broker, here), Control(broker, there)
    old, new = Tab(), Tab()
    here.join(old, ANN, "t_1", control.place("x_1"))
    place = other.place("x_2")
    there.join(new, ANN, "t_1", place)
    await other.supersede(ANN, "t_1", place)
    await eventually(lambda: old.told == ["4409"])
    assert new.told == []


async def test_a_word_that_comes_late_ends_nobody_newer() -> None:
    broker = MemoryBroker()
    roster = Roster()
    control = Control(broker, roster)
    tab = Tab()
    late = Place(broker.now() - 1, "x_1")
    roster.join(tab, ANN, "t_1", control.place("x_2"))
    await control.supersede(ANN, "t_1", late)
    await control.supersede(ANN, "t_1", Place(broker.now() + 1, "x_3"))
    await eventually(lambda: tab.told)
    assert tab.told == ["4409"]


async def test_a_permission_taken_away_is_told_to_all() -> None:
    broker = MemoryBroker()
    rosters = Roster(), Roster()
    controls = [Control(broker, roster) for roster in rosters]
    tabs = [Tab(), Tab(fails=True)]
    for roster, tab in zip(rosters, tabs, strict=True):
        roster.enter(tab)
    await controls[0].look_again("s_1")
    await eventually(lambda: all(tab.told == ["look again: s_1"] for tab in tabs))


@pytest.mark.parametrize(
    "word", [b"", b"{", b'{"type":"revoke"}', b"\xff", b'{"type":"supersede"}']
)
async def test_a_strange_word_is_not_heard(word: bytes) -> None:
    broker = MemoryBroker()
    roster = Roster()
    Control(broker, roster)
    tab = Tab()
    roster.join(tab, ANN, "t_1", Place(1.0, "x_1"))
    await broker.publish_control(word)
    await asyncio.sleep(0)
    assert tab.told == []


async def test_a_broker_that_is_away_is_no_error() -> None:
    control = Control(AwayBroker(), Roster())
    await control.supersede(ANN, "t_1", control.place("x_1"))
    await control.look_again("s_1")
