"""Who is connected, and how they learn of time and of the end."""

import asyncio

import pytest

from gateway.delivery import roster as roster_module
from gateway.delivery.roster import Roster
from protocol.values import Principal
from tests.support.waiting import eventually

ANN, BOB = Principal("acme", "ann"), Principal("acme", "bob")


class Tab:
    """A member that notes what it is told."""

    def __init__(self, *, fails: bool = False) -> None:
        self.told: list[str] = []
        self.after_ms: int | None = None
        self._fails = fails

    def close(self, code: int) -> None:
        self.told.append(str(code))

    def tick(self, now: float) -> None:
        self.told.append("tick")
        if self._fails:
            raise RuntimeError("broken")

    def go_away(self, reason: str, reconnect_after_ms: int) -> None:
        self.told.append(reason)
        self.after_ms = reconnect_after_ms

    def abort(self) -> None:
        self.told.append("abort")


def joined(roster: Roster, principal: Principal, client: str) -> Tab:
    tab = Tab()
    roster.enter(tab)
    roster.join(tab, principal, client)
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


async def test_draining_spreads_the_reconnects_and_waits_for_the_last() -> None:
    roster = Roster()
    tabs = [joined(roster, ANN, f"t_{n}") for n in range(512)]
    async with asyncio.TaskGroup() as group:
        drain = group.create_task(roster.drain(10))
        await asyncio.sleep(0)
        assert roster.draining
        assert [tab.after_ms for tab in tabs[:4]] == [0, 1, 3, 5]
        assert tabs[-1].after_ms == 998
        for n, tab in enumerate(tabs):
            assert not drain.done()
            assert tab.told == ["restart"]
            roster.leave(tab, ANN, f"t_{n}")
    assert len(roster) == 0


async def test_who_stays_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster_module, "GRACE_S", 0.01)
    roster = Roster()
    tab = joined(roster, ANN, "t_1")
    async with asyncio.TaskGroup() as group:
        group.create_task(roster.drain(10))
        await eventually(lambda: tab.told == ["restart", "1012"])
        roster.leave(tab, ANN, "t_1")


async def test_draining_ends_when_nobody_goes() -> None:
    roster = Roster()
    await roster.drain(5)
    joined(roster, ANN, "t_1")
    await roster.drain(0.01)
    assert len(roster) == 1
