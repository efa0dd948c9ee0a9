"""Who is connected, and how they learn of time and of the end."""

import asyncio
import random

import pytest

from gateway.auth import Grant
from gateway.delivery import roster as roster_module
from gateway.delivery.roster import Place, Roster
from protocol.values import Principal
from tests.support.waiting import eventually

ANN, BOB = Principal("acme", "ann"), Principal("acme", "bob")


class Tab:
    """A member that notes what it is told."""

    def __init__(self, *, fails: bool = False, slow: bool = False) -> None:
        self.slow = slow
        self.grant: Grant | None = None
        self.told: list[str] = []
        self.after_ms: int | None = None
        self._fails = fails

    def close(self, code: int) -> None:
        self.told.append(str(code))

    def tick(self, now: float) -> None:
        self.told.append("tick")
        if self._fails:
            raise RuntimeError("broken")

    def look_again(self, session: str, /) -> None:
        self.told.append(f"look again: {session}")

    def go_away(self, reason: str, reconnect_after_ms: int) -> None:
        self.told.append(reason)
        self.after_ms = reconnect_after_ms

    def abort(self) -> None:
        self.told.append("abort")


def joined(roster: Roster, principal: Principal, client: str, at: float = 1.0) -> Tab:
    tab = Tab()
    roster.enter(tab)
    assert roster.join(tab, principal, client, Place(at, f"x_{client}"))
    return tab


async def test_the_second_of_one_client_wins() -> None:
    roster = Roster()
    old, other = joined(roster, ANN, "t_1"), joined(roster, BOB, "t_1")
    new = joined(roster, ANN, "t_1")
    assert (old.told, new.told, other.told) == (["4409"], [], [])
    roster.leave(old, ANN, "t_1")
    newest = joined(roster, ANN, "t_1")
    assert new.told == ["4409"]
    assert newest.told == []


async def test_those_whose_grant_is_void_are_closed() -> None:
    roster = Roster()
    ann, bob, stranger = (joined(roster, p, c) for p, c in ((ANN, "1"), (BOB, "1"), (BOB, "2")))
    ann.grant, bob.grant = Grant(ANN, "full"), Grant(BOB, "full")
    roster.close_where(lambda grant: grant.principal == BOB, 4403)
    assert (ann.told, bob.told, stranger.told) == ([], ["4403"], [])


async def test_a_client_that_came_elsewhere_later_is_over_here() -> None:
    roster = Roster()
    tab, other = joined(roster, ANN, "t_1", at=5.0), joined(roster, BOB, "t_1", at=5.0)
    for place in (Place(4.9, "x_9"), Place(5.0, "x_a"), Place(5.0, "x_t_1")):
        roster.supersede(ANN, "t_1", place)
    roster.supersede(ANN, "t_2", Place(9.0, "x_2"))
    assert tab.told == []
    roster.supersede(ANN, "t_1", Place(5.0, "x_z"))
    assert (tab.told, other.told) == (["4409"], [])


async def test_a_subject_has_so_many_clients() -> None:
    roster = Roster(most_of_a_subject=2)
    first, second = joined(roster, ANN, "t_1"), joined(roster, ANN, "t_2")
    third = Tab()
    roster.enter(third)
    assert not roster.join(third, ANN, "t_3", Place(1.0, "x_3"))
    joined(roster, BOB, "t_1")
    again = joined(roster, ANN, "t_1")  # the same client: in its old one's stead
    roster.leave(first, ANN, "t_1")
    roster.leave(third, None, "")
    assert not roster.join(third, ANN, "t_3", Place(1.0, "x_3"))
    roster.leave(again, ANN, "t_1")
    roster.leave(second, ANN, "t_2")
    joined(roster, ANN, "t_4")
    joined(roster, ANN, "t_5")
    assert len(roster) == 3


async def test_the_newest_of_the_slow_are_shed() -> None:
    roster = Roster()
    tabs = [Tab(slow=slow) for slow in (True, True, False, True)]
    for tab in tabs:
        roster.enter(tab)
    assert roster.shed(2) == 2
    assert [tab.told for tab in tabs] == [[], ["1013"], [], ["1013"]]
    assert Roster().shed(2) == 0


async def test_one_that_fails_does_not_keep_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster_module, "TICK_S", 0.001)
    roster, bad, good = Roster(), Tab(fails=True), Tab()
    roster.enter(bad)
    roster.enter(good)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(roster.run())
        await eventually(lambda: good.told.count("tick") > 1)
        task.cancel()
    assert "abort" in bad.told


async def test_nobody_is_judged_by_time_in_which_the_process_stood_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second look comes a tick later, when what they sent meanwhile has been read."""
    monkeypatch.setattr(roster_module, "TICK_S", 0.001)
    now, looks = 0.0, list[float]()
    told: list[tuple[float, int]] = []  # the time, and how often the clock was read by then

    def clock() -> float:
        looks.append(now)
        return now

    class Judged(Tab):
        def tick(self, now: float) -> None:
            told.append((now, len(looks)))

    roster = Roster(clock)
    roster.enter(Judged())
    async with asyncio.TaskGroup() as group:
        task = group.create_task(roster.run())
        await eventually(lambda: len(told) > 2)
        now += 20
        await eventually(lambda: told[-1][0] == now)
        task.cancel()
    assert next(at for time, at in told if time == now) == looks.index(now) + 2


async def test_draining_sends_them_away_in_waves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster_module, "GRACE_S", 60.0)
    roster = Roster(randomness=random.Random(7))
    tabs = [joined(roster, ANN, f"t_{n}") for n in range(300)]
    told: list[list[Tab]] = []
    async with asyncio.TaskGroup() as group:
        drain = group.create_task(roster.drain(120))
        for wave in (128, 128, 44):
            known = [tab for tabs_before in told for tab in tabs_before]
            new = await eventually(
                lambda known=known: [t for t in tabs if t.told and t not in known]
            )
            told.append(new)
            assert len(new) == wave
            slots = sorted(tab.after_ms for tab in new if tab.after_ms is not None)
            assert slots == [int(n * 1000 / 512) for n in range(wave)]  # all differ
            assert [tab.after_ms for tab in new] != slots  # nobody is always first
        assert roster.draining
        for n, tab in enumerate(tabs):
            assert not drain.done()
            assert tab.told == ["restart"]
            roster.leave(tab, ANN, f"t_{n}")
    assert len(roster) == 0


async def test_more_than_fit_go_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the process is bounded; then the rate is what it must be."""
    monkeypatch.setattr(roster_module, "WAVE_S", 0.01)
    monkeypatch.setattr(roster_module, "GRACE_S", 0.0)
    roster = Roster()
    tabs = [joined(roster, ANN, f"t_{n}") for n in range(2_000)]
    async with asyncio.TaskGroup() as group:
        group.create_task(roster._send_away(0.4))
        await eventually(lambda: all("restart" in tab.told for tab in tabs))
        assert max(tab.after_ms or 0 for tab in tabs) == 9  # 100 in a wave
        for n, tab in enumerate(tabs):
            roster.leave(tab, ANN, f"t_{n}")


async def test_who_stays_is_closed_wave_by_wave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster_module, "GRACE_S", 0.0)
    monkeypatch.setattr(roster_module, "RECONNECTS_PER_S", 4)
    monkeypatch.setattr(roster_module, "WAVE_S", 0.25)
    roster = Roster()
    tabs = [joined(roster, ANN, f"t_{n}") for n in range(2)]
    async with asyncio.TaskGroup() as group:
        group.create_task(roster.drain(10))
        first = await eventually(lambda: [t for t in tabs if t.told == ["restart", "1012"]])
        (last,) = [tab for tab in tabs if tab not in first]
        assert last.told == ["restart"]
        roster.leave(first[0], ANN, f"t_{tabs.index(first[0])}")
        await eventually(lambda: last.told == ["restart", "1012"])
        roster.leave(last, ANN, f"t_{tabs.index(last)}")


async def test_one_that_fails_does_not_keep_the_drain() -> None:
    class Broken(Tab):
        def go_away(self, reason: str, reconnect_after_ms: int) -> None:
            raise RuntimeError("broken")

    roster, bad = Roster(), Broken()
    roster.enter(bad)
    good = joined(roster, ANN, "t_1")
    async with asyncio.TaskGroup() as group:
        group.create_task(roster.drain(10))
        await eventually(lambda: bad.told == ["abort"] and good.told == ["restart"])
        roster.leave(bad, None, "")
        roster.leave(good, ANN, "t_1")


async def test_draining_ends_when_nobody_goes() -> None:
    roster = Roster()
    await roster.drain(5)
    joined(roster, ANN, "t_1")
    await roster.drain(0.01)
    assert len(roster) == 1
