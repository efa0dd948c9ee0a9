"""The pacer process: credits at a fixed rate, by an absolute schedule.

The k-th event is due at `start + k / rate`, whatever became of those before it; its record holds
that time, so a pacer, agent or gateway that is late is measured and not left out (coordinated
omission: G. Tene, "How not to measure latency"). Slots take turns, so each has an even rate.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec

from loadtest.client import ROOM, SMALLER, Answer, Command
from loadtest.errors import LoadError
from loadtest.loop import Loop
from loadtest.tab import Tab

SLEEP_S, AT_ONCE = 0.0001, 10
"""Waits are no shorter than the first, nor than so many credits take: at high rates some go out
together, each with its own time."""
FAST = 20_000
LOOK_S = 0.01


class Pace(msgspec.Struct, frozen=True):
    """A pacer's first line."""

    per_s: float
    """Credits, over all slots."""
    patience_s: float = 60.0
    once: bool = False
    """One credit for each slot, then no more: publishers go on by themselves."""


class Schedule:
    """Which slots are due, and since when. Never drifts: times are multiples of the interval."""

    def __init__(self, slots: Sequence[int], per_s: float, start_us: float) -> None:
        self._slots = slots
        self._interval_us = 1e6 / per_s
        self._start_us = start_us
        self._next = 0

    @property
    def turned(self) -> bool:
        """Every slot has been due once."""
        return self._next >= len(self._slots)

    def due(self, now_us: float) -> Iterator[tuple[int, int]]:
        """(slot, intended time) of all that is due and was not given before."""
        slots, start, interval = self._slots, self._start_us, self._interval_us
        while (at := start + self._next * interval) <= now_us:
            self._next += 1
            yield slots[(self._next - 1) % len(slots)], int(at)

    @property
    def next_us(self) -> float:
        """When the next one is due."""
        return self._start_us + self._next * self._interval_us


class Nothing:
    """Sockets there are none."""

    blank = False

    def take(self, tab: Tab, buffer: bytearray, end: int) -> None: ...

    def turned(self, now: float) -> None: ...


class Pacer:
    """Obeys the commands of its name; `go` paces until the next command."""

    def __init__(
        self, pace: Pace, commands: int | None, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._pace = pace
        self._clock = clock
        self._loop = Loop(Nothing(), commands)

    def desk(self, _: Command) -> Answer:
        """Where publishers find us."""
        return Answer(port=self._loop.desk.port)

    def known(self, command: Command) -> Answer:
        """Returns when publishers for `count` slots are there."""
        desk = self._loop.desk
        self._until(lambda: len(desk.slots) >= command.count, "The start of all runs", ROOM)
        return Answer()

    def hang_up(self, _: Command) -> Answer:
        """Publishers are told to end; how late they were."""
        desk = self._loop.desk
        desk.stop()
        self._until(lambda: not desk.publishers, "The end of the publishers", SMALLER)
        return Answer(lag=desk.lag.latency())

    def _until(self, done: Callable[[], bool], what: str, remedy: str) -> None:
        self._loop.until(done, self._pace.patience_s, what, remedy)

    def pace(self) -> None:
        """Gives credits until a command comes."""
        desk = self._loop.desk
        schedule = Schedule(sorted(desk.slots), self._pace.per_s, self._clock() / 1_000)
        shortest_s = max(SLEEP_S, AT_ONCE / self._pace.per_s if self._pace.per_s > FAST else 0.0)
        look_at = 0.0
        while True:
            now = self._clock() / 1_000
            if not (self._pace.once and schedule.turned):
                desk.give_at(schedule.due(now))
            if now > look_at:
                look_at = now + LOOK_S * 1e6
                self._loop.turn(0)
                if self._loop.lines or self._loop.over:
                    return
            if self._pace.once and schedule.turned:
                time.sleep(LOOK_S)
                continue
            time.sleep(max(shortest_s, (schedule.next_us - self._clock() / 1_000) / 1e6))

    def obey(self) -> None:
        """Until there are no more commands."""
        loop = self._loop
        while not loop.over:
            while loop.lines:
                command = msgspec.json.decode(loop.lines.pop(0), type=Command)
                if command.do == "go":
                    self._tell(Answer())
                    self.pace()
                    continue
                try:
                    self._tell(getattr(self, command.do)(command))
                except LoadError as error:
                    self._tell(Answer(error=str(error)))
            loop.turn()

    def _tell(self, answer: Answer) -> None:
        os.write(sys.stdout.fileno(), msgspec.json.encode(answer) + b"\n")


def main() -> None:
    """The first line is the pace, every other one a command."""
    with open(0, "rb", buffering=0, closefd=False) as commands:  # not a byte beyond the line
        line = commands.readline()
    Pacer(msgspec.json.decode(line, type=Pace), sys.stdin.fileno()).obey()


if __name__ == "__main__":
    main()
