"""Which socket is in use, and when the next one is opened: the life of a connection, as values.

Nothing of what is said on a socket: that is `connection`, which this is the lower half of. A socket
is a number. `current` is in use, `next` is being opened. After a loss, or ahead of it when the
gateway says `goaway`, `next` takes over: by its hello, or while `current` lives by its welcome.
Losses back off; a final close code, or `Stop`, ends it until the next `Start`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from gateway.client import steps
from gateway.client.backoff import delay_ms
from gateway.client.subscription import Subscription, Wishes
from protocol.codec import encode
from protocol.codes import close_is_final
from protocol.commands import Hello, PingUp, SessionSubscribe, Up

SILENCE_MS = 45_000
PROBE_MS = 5_000
OPENING_MS = 10_000
STEADY_MS = 5_000
LOST = 1006
TOKEN_ENDED = 4401
SUPERSEDED = 4409

Greeted = dict[str, tuple[Subscription, Wishes]]
"""Session -> whom a hello asked for, and with which wishes."""


class Lifeline(ABC):
    """`renewable`: a new token can be had when one has ended."""

    def __init__(self, *, renewable: bool, random: Callable[[], float]) -> None:
        self.current: int | None = None  # greeted with `hello`, and in use
        self.next: int | None = None  # being opened, or unwelcomed while `current` lives
        self.greeted: Greeted | None = None  # by the hello on `next`, while `current` lives
        self._superseded = False  # a hello went out elsewhere while `current` lives
        self._renewable = renewable
        self._random = random
        self._sockets = 0
        self._running = False
        self._online = True
        self._welcomed = False
        self._ever_welcomed = False
        self._attempt = 0
        self._code = 0
        self._reason = ""
        self._retry_at = math.inf
        self._opening_until = math.inf
        self._move_at = math.inf
        self._steady_at = math.inf
        self._heard_at = 0.0
        self._probe_until = math.inf
        self._reported: tuple[steps.Status, float] | None = None
        self._effects: list[steps.Effect] = []

    @property
    def deadline(self) -> float:
        """When the next `Tick` is due; infinite: not before another input."""
        due = min(self._retry_at, self._opening_until, self._move_at)
        if self.current is None:
            return due
        return min(due, self._heard_at + SILENCE_MS, self._probe_until)

    @property
    def status(self) -> steps.Status:
        """How the connection is, in one word."""
        if not self._running:
            return "closed"
        if self.current is not None and self._welcomed:
            return "open"
        idle = self.current is None and self.next is None
        if idle and (self._attempt > 1 or not self._online):
            return "offline"
        return "resuming" if self._ever_welcomed else "connecting"

    # --- what is said, which others know

    @abstractmethod
    def _greeting(self, token: str | None) -> tuple[Hello, Greeted]:
        """The first frame on a socket, and whom it asks for."""

    @abstractmethod
    def _deliver(self, greeted: Greeted) -> None:
        """`current` is new: say what its hello did not."""

    @abstractmethod
    def _send(self, frame: Up | SessionSubscribe) -> None:
        """Say it on `current`."""

    @abstractmethod
    def _refuse_pending(self, message: str) -> None:
        """Nothing more will be answered: answer what waits with `client.closed`."""

    # --- signs of life

    def _welcome(self, now_ms: float) -> None:
        self._welcomed = self._ever_welcomed = True
        self._opening_until = math.inf
        self._steady_at = now_ms + STEADY_MS

    def _hear(self, now_ms: float) -> None:
        self._heard_at = now_ms
        self._probe_until = math.inf

    def _probe(self, now_ms: float) -> None:
        """Ask for a sign of life, after a hint that the network has changed."""
        if self.current is not None:
            self._send(PingUp())
            self._probe_until = min(self._probe_until, now_ms + PROBE_MS)

    def _report(self) -> None:
        now = (self.status, self._retry_at)
        if now == self._reported:
            return
        self._reported = now
        retry_at = None if math.isinf(self._retry_at) else self._retry_at
        self._effects.append(steps.StatusChanged(self.status, retry_at, self._code, self._reason))

    # --- sockets come and go

    def _open(self, now_ms: float) -> None:
        self._retry_at = self._move_at = math.inf
        self._sockets += 1
        self.next = self._sockets
        self._opening_until = now_ms + OPENING_MS
        self._effects.append(steps.Connect(self.next))

    def _forget_current(self) -> None:
        self.current = None
        self._probe_until = math.inf

    def _forget_next(self) -> None:
        self.next = None
        self.greeted = None
        self._opening_until = math.inf

    def _drop_current(self) -> None:
        if self.current is not None:
            self._effects.append(steps.Close(self.current))
            self._forget_current()

    def _drop_next(self) -> None:
        if self.next is not None:
            self._effects.append(steps.Close(self.next))
            self._forget_next()

    def _promote(self, now_ms: float) -> None:
        """`next` comes into use, before or with its `welcome`."""
        greeted = self.greeted or {}
        self._drop_current()
        self.current, self.next, self.greeted = self.next, None, None
        self._superseded = False
        self._heard_at = now_ms
        self._move_at = math.inf
        self._deliver(greeted)

    def _lose(self, code: int, reason: str, now_ms: float) -> None:
        """`current` is lost: what is under way takes over, or a try is over."""
        self._forget_current()
        self._move_at = math.inf
        if self._superseded and code == SUPERSEDED:
            code = LOST  # by our own hello, though that socket may be lost again meanwhile
        if self.next is None or self._ends(code):
            self._opening_until = math.inf
            self._fail(code, reason, now_ms)
            return
        self._welcomed = False
        if self.greeted is not None:
            self._promote(now_ms)

    def _ends(self, code: int) -> bool:
        """Whether the client must not come back by itself."""
        renews = code == TOKEN_ENDED and self._renewable and self._welcomed
        return close_is_final(code) and not renews

    def _fail(self, code: int, reason: str, now_ms: float) -> None:
        """A try is over: back off, or end for good."""
        self._code, self._reason = code, reason
        if self._ends(code):
            self._end(reason or f"The gateway closed the connection for good ({code}).")
            return
        self._attempt = 1 if now_ms >= self._steady_at else self._attempt + 1
        self._steady_at = self._move_at = math.inf
        self._welcomed = False
        self._retry_at = now_ms + delay_ms(self._attempt, code, self._random)

    def _end(self, message: str) -> None:
        """No more tries; what has no answer yet gets one."""
        self._drop_next()
        self._drop_current()
        self._running = self._welcomed = False
        self._retry_at = self._opening_until = self._move_at = self._steady_at = math.inf
        self._attempt = 0
        self._refuse_pending(message)

    # --- inputs

    def _on_start(self, _: steps.Start, now_ms: float) -> None:
        if not self._running:
            self._running = True
            self._open(now_ms)

    def _on_stop(self, _: steps.Stop, __: float) -> None:
        self._code, self._reason = 1000, ""
        self._end("The client was closed.")

    def _on_opened(self, taken: steps.Opened, now_ms: float) -> None:
        if taken.socket != self.next or self.greeted is not None:
            return
        self._opening_until = now_ms + OPENING_MS
        hello, greeted = self._greeting(taken.token)
        if self.current is not None:
            self.greeted = greeted
            self._superseded = True
            self._effects.append(steps.Send(taken.socket, encode(hello)))
            return
        self.current, self.next = taken.socket, None
        self._superseded = False
        self._welcomed = False
        self._heard_at = now_ms
        self._send(hello)
        self._deliver(greeted)

    def _on_closed(self, taken: steps.Closed, now_ms: float) -> None:
        if taken.socket == self.current:
            self._lose(taken.code, taken.reason, now_ms)
        elif taken.socket == self.next:
            self._forget_next()
            if self.current is None or self._ends(taken.code):
                self._fail(taken.code, taken.reason, now_ms)
                return
            # a move that failed is tried again while the old socket lives
            self._move_later(taken.code, now_ms)

    def _move_later(self, code: int, now_ms: float) -> None:
        self._attempt += 1
        self._move_at = now_ms + delay_ms(self._attempt, code, self._random)

    def _on_tick(self, taken: steps.Tick, now_ms: float) -> None:
        if now_ms >= self._retry_at:
            self._open(now_ms)
        elif now_ms >= self._opening_until:
            self._give_up(now_ms)
        if self.current is None:
            return
        if now_ms >= self._move_at and self.next is None:
            self._open(now_ms)
        if now_ms >= min(self._heard_at + SILENCE_MS, self._probe_until):
            self._drop_current()
            self._lose(LOST, "The connection fell silent.", now_ms)

    def _give_up(self, now_ms: float) -> None:
        """A socket did not open, or was not welcomed, in time."""
        if self.next is not None:
            self._drop_next()
        else:
            self._opening_until = math.inf
            self._drop_current()
        if self.current is None:
            self._fail(LOST, "The gateway did not answer.", now_ms)
        else:
            self._move_later(0, now_ms)

    def _on_hint(self, _: steps.Hint, now_ms: float) -> None:
        if not math.isinf(self._retry_at):
            self._open(now_ms)
        else:
            self._probe(now_ms)

    def _on_online(self, taken: steps.Online, now_ms: float) -> None:
        self._online = taken.online
        if taken.online and not math.isinf(self._retry_at):
            self._open(now_ms)
        else:
            self._probe(now_ms)

    inputs: ClassVar[Mapping[type, Callable[[Any, Any, float], None]]] = {
        steps.Start: _on_start,
        steps.Stop: _on_stop,
        steps.Tick: _on_tick,
        steps.Hint: _on_hint,
        steps.Online: _on_online,
        steps.Opened: _on_opened,
        steps.Closed: _on_closed,
    }
