"""The closed loop: a new message is published each time one has reached all its receivers.

With one room everybody is in it; with more, each room has one receiver.
"""

import os
import time

from loadtest.errors import LoadError
from loadtest.peers.swarm import Swarm

QUIET_S = 0.5
SETTLE_S = 20.0
# With many under way the receivers look now and then instead of at each arrival: they and the
# publisher work in batches then, and it is the server that has a queue.
MANY = 16
PAUSE_S = 0.0005


class Stalled(LoadError):
    """Messages did not arrive; the figures would be of something else."""


class Loop:
    """`outstanding` messages are under way all the time between `start` and `drain`."""

    def __init__(self, swarm: Swarm, credits_fd: int, *, rooms: int, sockets: int) -> None:
        self._swarm = swarm
        self._credits_fd = credits_fd
        self._rooms = rooms
        self._sockets = sockets
        self._seen = [0] * sockets  # receiver -> messages it got
        self._left: list[int] = []  # message -> receivers that wait for it
        self._pause_s = 0.0
        self.published = 0
        self.events = 0

    @property
    def expected(self) -> int:
        """Events that what was published makes."""
        return self.published * (self._sockets if self._rooms == 1 else 1)

    def settle(self) -> None:
        """Until every room is known to reach its receivers: subscribing may outlast connecting.

        Raises:
            Stalled: it did not come to that.
        """
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            self._seen = [0] * self._sockets
            self._publish(self._rooms)
            if self._all_arrive():
                self.published = self.events = 0
                self._seen, self._left = [0] * self._sockets, []
                return
        raise Stalled(f"Of {self._rooms} rooms not all are reached: {sum(self._seen)} arrived.")

    def _all_arrive(self) -> bool:
        wanted = max(self._rooms, self._sockets)
        last = time.monotonic()
        while time.monotonic() - last < QUIET_S:  # a late one must not count as the next's
            for index, count in self._swarm.arrivals(0.05):
                self._seen[index] += count
                last = time.monotonic()
        return sum(self._seen) == wanted

    def start(self, outstanding: int) -> None:
        """The first messages."""
        self._pause_s = PAUSE_S if outstanding >= MANY else 0.0
        self._publish(outstanding)

    def run(self, seconds: float, *, patience_s: float = 10.0) -> float:
        """Keeps as many under way; returns the seconds that it took.

        Raises:
            Stalled: nothing arrived for `patience_s`.
        """
        began = last = now = time.monotonic()
        while now - began < seconds:
            done, before = 0, self.events
            if self._pause_s:
                time.sleep(self._pause_s)
            for index, count in self._swarm.arrivals(0.1):
                self.events += count
                done += self._completed(index, count)
            if done:
                self._publish(done)
            now = time.monotonic()
            if self.events != before:
                last = now
            elif now - last > patience_s:
                missing = self.expected - self.events
                raise Stalled(f"Of {self.expected} events {missing} have not arrived.")
        return now - began

    def drain(self, patience_s: float = 3.0) -> int:
        """Takes what is still under way; returns how many events never came."""
        last = time.monotonic()
        while self.events < self.expected and time.monotonic() - last < patience_s:
            for _, count in self._swarm.arrivals(0.1):
                self.events += count
                last = time.monotonic()
        return self.expected - self.events

    def _completed(self, index: int, count: int) -> int:
        if self._rooms > 1:
            return count
        first, left, done = self._seen[index], self._left, 0
        self._seen[index] = first + count
        for message in range(first, first + count):
            if message == len(left):
                left.append(self._sockets)
            left[message] -= 1
            done += not left[message]
        return done

    def _publish(self, count: int) -> None:
        self.published += count
        os.write(self._credits_fd, b"." * count)
