"""Who is let in, and who is sent away when memory runs out."""

import random
from typing import Any

import pytest

from gateway.delivery.admission import Admission
from gateway.delivery.resources import Resources
from gateway.delivery.roster import Roster
from gateway.settings import Settings
from gateway.telemetry import Metrics
from tests.delivery.test_roster import Tab
from tests.support.inprocess import ManualClock

MIB = 2**20


class Given(Resources):
    """As much of everything as the test says."""

    def __init__(self) -> None:
        self.resident = 10 * MIB
        self.memory: int | None = 100 * MIB
        self.most: int | None = 1_000
        self.lowest: int | None = 10

    def resident_bytes(self) -> int | None:
        return self.resident

    def memory_bytes(self) -> int | None:
        return self.memory

    def descriptors(self) -> int | None:
        return self.most

    def lowest_free_descriptor(self) -> int | None:
        return self.lowest


class Door:
    """An admission with all around it."""

    def __init__(self, given: Given | None = None, **options: Any) -> None:
        self.clock = ManualClock()
        self.given = given or Given()
        self.roster = Roster()
        self.metrics = Metrics()
        self.admission = Admission(
            Settings(**options),
            self.roster,
            metrics=self.metrics,
            resources=self.given,
            clock=self.clock,
            randomness=random.Random(1),
        )

    def enter(self, *, slow: bool = False) -> Tab:
        tab = Tab(slow=slow)
        self.roster.enter(tab)
        return tab

    def look(self) -> str | None:
        """What it says after a look."""
        self.admission.look()
        return self.admission.unready

    def let_in(self, count: int) -> int:
        """How many of so many handshakes at once."""
        return sum(self.admission.refused() is None for _ in range(count))


def test_handshakes_come_at_a_rate() -> None:
    door = Door(handshakes_per_s=10, handshakes_burst=20)
    assert door.let_in(100) == 20
    after = {door.admission.refused() for _ in range(50)}
    assert after == {1, 2, 3, 4, 5}
    door.clock.now += 1
    assert door.let_in(100) == 10
    assert door.admission.unready is None  # those who are sent here come one by one
    assert b'handshakes_refused_total{reason="rate"} 220.0' in door.metrics.render()[0]


def test_a_process_takes_so_many() -> None:
    door = Door(max_connections=2)
    door.enter()
    assert not door.admission.full
    tab = door.enter()
    assert door.admission.full
    assert door.admission.unready == "full"
    door.roster.leave(tab, None, "")
    assert not door.admission.full
    assert not Door().admission.full


@pytest.mark.parametrize(
    ("options", "limit"),
    [({}, 80 * MIB), ({"max_rss_bytes": 50 * MIB}, 50 * MIB), ({"max_rss_bytes": 0}, None)],
)
def test_memory_has_a_limit(options: dict[str, Any], limit: int | None) -> None:
    door = Door(**options)
    assert door.look() is None
    door.given.resident = limit or 99 * MIB
    assert door.look() is None
    door.given.resident += 1
    assert door.look() == ("memory" if limit else None)
    assert door.let_in(1) == (0 if limit else 1)


def test_processes_share_the_memory() -> None:
    settings = Settings(processes=2, broker="redis://x")
    given = Given()
    admission = Admission(settings, Roster(), resources=given)
    given.resident = 41 * MIB
    admission.look()
    assert admission.unready == "memory"


def test_no_known_memory_is_no_limit() -> None:
    given = Given()
    given.memory = None
    door = Door(given)
    given.resident = 2**50
    assert door.look() is None


def test_short_of_memory_the_newest_of_the_slow_go() -> None:
    door = Door()
    slow = [door.enter(slow=True) for _ in range(40)]
    good = door.enter()
    assert door.look() is None
    assert not any(tab.told for tab in slow)
    door.given.resident = 81 * MIB
    assert door.look() == "memory"
    assert [bool(tab.told) for tab in slow] == [False] * 8 + [True] * 32
    assert slow[-1].told == ["1013"]
    assert good.told == []
    door.given.resident = 79 * MIB  # not yet calm: it would only come and go
    assert door.look() == "memory"
    assert [bool(tab.told) for tab in slow] == [False] * 8 + [True] * 32
    door.given.resident = 75 * MIB
    assert door.look() is None
    assert door.let_in(1) == 1


def test_short_of_descriptors() -> None:
    door = Door()
    for lowest, reason in ((935, None), (936, "descriptors"), (None, "descriptors"), (20, None)):
        door.given.lowest = lowest
        assert door.look() == reason
        assert door.let_in(1) == (reason is None)
    door.given.most = 100
    door.given.lowest = 74
    assert door.look() is None
    door.given.lowest = 75
    assert door.look() == "descriptors"
    door = Door()
    door.given.most = None
    assert door.look() is None


def test_who_drains_lets_nobody_in() -> None:
    door = Door()
    door.roster.draining = True
    assert door.admission.unready == "draining"
    assert door.let_in(1) == 0
