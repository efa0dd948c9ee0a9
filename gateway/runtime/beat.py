"""The time of one worker: its clock, and timers that many runs share.

A thousand runs that stream have each something due every few milliseconds. One timer of the event
loop every other millisecond serves them all, and what falls due together is stored together, which
lets the broker send many appends in one write. Nothing of runs is known here.
"""

import asyncio
import time
from collections.abc import Callable

SLOT_MS = 2
EARLY_S = 0.003
"""A slot, and what timers of event loops, which count in milliseconds, may be early themselves."""


class Beat:
    """Calls back at times of `clock`, in seconds; up to `EARLY_S` early, not one by one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.time = clock
        # The millisecond in which it begins -> who is called, or woken, then.
        self._slots: dict[int, list[Callable[[], None] | asyncio.Future[None]]] = {}
        # Asking for it costs a system call.
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop of whoever asks first, and of all others."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def at(self, when: float, call: "Callable[[], None] | asyncio.Future[None]") -> None:
        """Calls at that time. It cannot be taken back: `call` sees for itself what is due."""
        slot = int(when * 1000) // SLOT_MS * SLOT_MS
        waiting = self._slots.get(slot)
        if waiting is None:
            self._slots[slot] = [call]
            delay = max(0.0, slot / 1000 - self.time())
            self.loop.call_later(delay, self._strike, slot)
        else:
            waiting.append(call)

    def until(self, when: float) -> "asyncio.Future[None]":
        """Done at that time. May be cancelled; made for seconds, not for hours."""
        future: asyncio.Future[None] = self.loop.create_future()
        self.at(when, future)
        return future

    def _strike(self, slot: int) -> None:
        entries = self._slots.pop(slot, [])
        for at, entry in enumerate(entries, 1):
            if not callable(entry):
                if not entry.done():
                    entry.set_result(None)
                continue
            try:
                entry()
            except BaseException:  # the loop reports it; the others are called all the same
                if rest := entries[at:]:
                    self._slots.setdefault(slot, []).extend(rest)
                    self.loop.call_soon(self._strike, slot)
                raise
