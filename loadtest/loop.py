"""One epoll for all sockets of a client process: reads, walks frames, hands them to a mode.

What becomes of what was read is the mode's business (`loadtest.modes`), which wire is spoken the
dialect's (`loadtest.native`).
"""

import os
import select
import time
from collections.abc import Callable
from typing import Protocol

from loadtest.credits import Desk
from loadtest.errors import LoadError
from loadtest.frames import CLOSE, PING, PONG, masked, scan
from loadtest.tab import Tab

BUFFER_BYTES = 4 * 2**20
READ_BYTES = 256 * 1024
TURN_S = 0.02
"""How long a turn waits at most: what is due by time is looked at so often."""


class Mode(Protocol):
    """What is done with what comes."""

    blank: bool
    """Whether it searches buffers as a whole, so that frame headers must not look like text."""

    def take(self, tab: Tab, buffer: bytearray, end: int) -> None:
        """Whole frames came: `buffer[:end]`, which is used again after the call."""
        ...

    def turned(self, now: float) -> None:
        """All that was readable has been taken."""
        ...


class Loop:
    """Polls tabs, a desk and the commands on a descriptor. `mode` may be changed at any time."""

    def __init__(self, mode: Mode, commands: int | None = None) -> None:
        self.mode = mode
        self.desk = Desk()
        self.lines: list[bytes] = []
        """Commands that have come and were not taken."""
        self.over = False
        """There will be no more commands."""
        self._commands = commands
        self._rest = b""
        self.pause_s = 0.0
        """Before a turn: what is readable collects, as do the credits that are given for it."""
        self._flush_at = 0.0  # when what sockets did not take is tried again
        self._tabs: dict[int, Tab] = {}  # descriptor -> its tab
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._others: list[tuple[int, int, int]] = []
        self._epoll = select.epoll()
        self._epoll.register(self.desk.listening, select.EPOLLIN)
        if commands is not None:
            self._epoll.register(commands, select.EPOLLIN)

    # --- who is polled

    def add(self, tab: Tab) -> None:
        """From now on what comes for the tab is taken, beginning with what it holds already."""
        assert tab.sock is not None, "it is open"
        self._tabs[tab.sock.fileno()] = tab
        self._epoll.register(tab.sock.fileno(), select.EPOLLIN)
        if tab.rest:
            self._took(tab, 0)

    def remove(self, tab: Tab) -> None:
        """What comes for it is left where it is."""
        if tab.sock is not None and self._tabs.pop(tab.sock.fileno(), None) is not None:
            self._epoll.unregister(tab.sock.fileno())

    def close(self) -> None:
        """Drops everything."""
        self.desk.close()
        for tab in self._tabs.values():
            tab.cut()
        self._epoll.close()

    # --- turns

    def until(self, done: Callable[[], bool], within_s: float, what: str, remedy: str) -> None:
        """Turns until `done()`. Raises `LoadError` with the remedy if that takes too long."""
        deadline = time.monotonic() + within_s
        while not done():
            if time.monotonic() > deadline:
                raise LoadError(f"{what} took longer than {within_s:.0f} s: {remedy}")
            self.turn()

    def turn(self, wait_s: float = TURN_S) -> None:
        """One poll, and everything that it brought."""
        if self.pause_s:
            time.sleep(self.pause_s)
        for descriptor, _ in self._epoll.poll(wait_s):
            if (tab := self._tabs.get(descriptor)) is not None:
                self._read(tab)
            elif descriptor == self.desk.listening:
                self._epoll.register(self.desk.accept(), select.EPOLLIN)
            elif descriptor == self._commands:
                self._read_commands()
            elif not self.desk.read(descriptor):
                pass  # closed, and so unregistered
        now = time.monotonic()
        self.mode.turned(now)
        if now > self._flush_at:
            self._flush_at = now + TURN_S
            for tab in self._tabs.values():
                tab.flush()

    def _read_commands(self) -> None:
        assert self._commands is not None
        data = os.read(self._commands, 65_536)
        if not data:
            self.over = True
            self._epoll.unregister(self._commands)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.lines += lines

    def _read(self, tab: Tab) -> None:
        assert tab.sock is not None
        size = len(tab.rest)
        if size:
            self._buffer[:size] = tab.rest
            view = self._view[size : size + READ_BYTES]
        else:
            view = self._view
        try:
            count = tab.sock.recv_into(view, READ_BYTES if not size else 0)
        except BlockingIOError:
            return
        except ConnectionError:
            count = 0
        if not count:
            self.remove(tab)
            tab.cut()
            raise LoadError(
                "The gateway hung up: it ended, or had a limit of its own; see what it wrote."
            )
        self._took(tab, count)

    def _took(self, tab: Tab, count: int) -> None:
        buffer = self._buffer
        size = len(tab.rest)
        if not count:
            buffer[:size] = tab.rest
        size += count
        others = self._others
        end = scan(buffer, size, others, blank=self.mode.blank and not tab.resuming)
        tab.rest = bytes(self._view[end:size]) if end < size else b""
        if others:
            self._control(tab, buffer)
        if end:
            self.mode.take(tab, buffer, end)

    def _control(self, tab: Tab, buffer: bytearray) -> None:
        others, self._others = self._others, []
        for head, start, end in others:
            if head == PING:
                tab.send(masked(bytes(buffer[start:end]), PONG))
            elif head == CLOSE:
                code = int.from_bytes(buffer[start : start + 2], "big")
                reason = bytes(buffer[start + 2 : end]).decode(errors="replace")
                raise LoadError(f"The gateway closed a connection: {code} {reason}".rstrip())
