"""Several processes on one listening socket: `serve --processes N`.

The parent only supervises. It forks before anything has a thread or an event loop, hands signals
on (a second Ctrl-C as SIGKILL, SIGHUP if it can be obeyed), and starts a child again that died,
though never faster than once a second. A child that cannot start (exit code 2) ends them all. A
child whose parent vanished ends by itself: it holds the reading end of a pipe whose writing end
only the parent has.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import structlog

from gateway.errors import ConfigurationError
from gateway.server import FORCED

log = structlog.get_logger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
RESTART_S = 1.0
CANNOT_START = 2

Child = Callable[[int, int], int]
"""Serves until it is told to end; given the descriptor that is readable once the parent is gone,
and which of the children it is, 0, 1 …: one that takes another's place has its number."""


class Supervisor:
    """Keeps `count` children running until it is told to end, then waits for them."""

    def __init__(
        self,
        child: Child,
        count: int,
        *,
        ending: Callable[[], None] = lambda: None,
        hung_up: Callable[[], int | None] | None = None,
    ) -> None:
        if not hasattr(os, "fork"):
            raise ConfigurationError(
                "--processes needs fork, which this system has not: use --processes 1."
            )
        self._child = child
        self._count = count
        # pid of a running child -> when it was started, and its number
        self._started: dict[int, tuple[float, int]] = {}
        self._tell_ending = ending  # called once, in a signal handler
        self._hung_up = hung_up  # says what to hand on; None: SIGHUP is not ours
        self._ending = False
        self._interrupts = 0
        self._exit_code = 0
        self._parent_gone, self._alive = os.pipe()

    def run(self) -> int:
        """Start the children, supervise them to their end; the exit code."""
        for number in SIGNALS:
            signal.signal(number, self._hand_on)
        if self._hung_up is not None:
            signal.signal(signal.SIGHUP, self._reload)
        for number in range(self._count):
            self._start(number)
        while self._started:
            pid, status = self._wait()
            if pid in self._started:
                self._ended(pid, os.waitstatus_to_exitcode(status))
        return self._exit_code

    def _wait(self) -> tuple[int, int]:
        """Only here SIGHUP is taken, so it never meets a fork or a line that is being logged."""
        if self._hung_up is None:
            return os.wait()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGHUP,))
        try:
            return os.wait()
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))

    def _start(self, number: int) -> None:
        """A child, unless all are to end: nobody would tell one that starts after the signal."""
        sys.stdout.flush()
        sys.stderr.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # none between fork and bookkeeping
        if not self._ending:
            pid = os.fork()
            if pid == 0:
                self._become_child(number)
            self._started[pid] = time.monotonic(), number
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _become_child(self, child: int) -> NoReturn:
        code = 1
        try:
            os.close(self._alive)
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            code = self._child(self._parent_gone, child)
        except Exception:
            log.exception("process_failed")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _ended(self, pid: int, code: int) -> None:
        started, number = self._started.pop(pid)
        lived_s = time.monotonic() - started
        if self._ending:
            unharmed = code in (0, -signal.SIGTERM)  # the latter: ended before it could start
            self._exit_code = self._exit_code or (0 if unharmed else abs(code))
            return
        if code == CANNOT_START:
            self._exit_code = code
            self._hand_on(signal.SIGTERM, None)
            return
        log.error("process_ended", pid=pid, exit_code=code, lived_s=round(lived_s, 1))
        time.sleep(max(0.0, RESTART_S - lived_s))
        self._start(number)

    def _reload(self, _number: int, _frame: FrameType | None) -> None:
        assert self._hung_up is not None
        number = self._hung_up()
        if number == signal.SIGTERM:
            self._hand_on(number, None)
        elif number is not None and not self._ending:
            for pid in list(self._started):
                os.kill(pid, number)

    def _hand_on(self, number: int, _frame: FrameType | None) -> None:
        self._interrupts += number == signal.SIGINT
        if not self._ending:
            self._ending = True
            self._tell_ending()
        if self._interrupts > 1:
            self._exit_code = FORCED
        for pid in list(self._started):
            os.kill(pid, signal.SIGKILL if self._interrupts > 1 else signal.SIGTERM)
