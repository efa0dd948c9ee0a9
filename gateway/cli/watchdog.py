"""Ends a process that hangs: an event loop that stands still, or an end that does not come.

A thread counts its own looks without a sign of life of the loop, not seconds: a process that was
stopped (SIGSTOP, a laptop that slept) has looked as little as it has lived, and goes on. Whoever
starts processes starts it again; its runs are taken over, its clients resume.
"""

import asyncio
import os
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import structlog

log = structlog.stdlib.get_logger("gateway.cli")

HUNG = 70
"""The exit code (EX_SOFTWARE of sysexits.h)."""
BEAT_S = 0.25
LOOK_S = 0.5
TELL_S = 2.0
"""For writing the log, which may be what hangs."""
TASKS = 20


class Watchdog:
    """A context manager around the event loop; `beat` in the loop, `end_within` to bound the end.

    `lag` is told how late the loop was, several times a second. A `stall_s` of 0: never ended for
    standing still.
    """

    def __init__(self, stall_s: float, lag: Callable[[float], None] = lambda _: None) -> None:
        self._stall_s = stall_s
        self._lag = lag
        self._beats = 0
        self._looks_left: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join(TELL_S)

    def beat(self) -> None:
        """The running loop shows its first sign of life, and goes on by itself."""
        self._loop = asyncio.get_running_loop()
        self._next_beat()

    def _next_beat(self) -> None:
        assert self._loop is not None
        self._beats += 1
        due = self._loop.time() + BEAT_S
        self._loop.call_at(due, self._beat, due)

    def _beat(self, due: float) -> None:
        assert self._loop is not None
        self._lag(max(0.0, self._loop.time() - due))
        self._next_beat()

    def end_within(self, seconds: float) -> None:
        """The process is to be over by then. The first call counts; safe in a signal handler."""
        if self._looks_left is None:
            self._looks_left = max(1, int(seconds / LOOK_S))

    def _watch(self) -> None:
        seen, missed = 0, 0
        while not self._over.wait(LOOK_S):
            missed = missed + 1 if self._beats == seen else 0
            seen = self._beats
            if self._stall_s and seen and missed * LOOK_S >= self._stall_s:
                self._end("loop_stands_still", missed * LOOK_S)
            if self._looks_left is not None:
                self._looks_left -= 1
                if self._looks_left < 0:
                    self._end("end_takes_too_long")

    def _end(self, event: str, seconds: float | None = None) -> None:
        telling = threading.Thread(target=self._tell, args=(event, seconds), daemon=True)
        telling.start()
        telling.join(TELL_S)
        os._exit(HUNG)

    def _tell(self, event: str, seconds: float | None) -> None:
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        frames = sys._current_frames  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - documented
        stacks = {
            names.get(ident, str(ident)): "".join(traceback.format_stack(frame))
            for ident, frame in frames().items()
        }
        tasks: list[str] = []
        with suppress(RuntimeError):  # tasks come and go meanwhile
            if self._loop is not None:
                tasks = [repr(task) for task in list(asyncio.all_tasks(self._loop))[:TASKS]]
        log.critical(event, seconds=seconds, stacks=stacks, tasks=tasks)
        sys.stderr.flush()
