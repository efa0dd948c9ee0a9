"""Between the agent and the log: what the agent did and no append has taken yet.

Neighbouring deltas of one part are merged while they wait. The first delta of a part is due at
once, a later one after `coalesce_s`; a step is due at once and takes with it what was said before
it. Whoever appends (the keeper) has one append in flight, so whatever comes meanwhile collects
into the next one.

Bounded by `max_pieces` writes and `max_characters`: full, it lets the agent's write wait, which
pauses the stream of the model. No I/O here.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from msgspec import Struct, structs

from gateway.runtime.plain import checked, clean, pieces
from gateway.sessions.draft import Decision
from gateway.sessions.inputs import AnyStep
from protocol import events as ev
from protocol.codec import encode
from protocol.values import Kind


@dataclass(slots=True)
class _Delta:
    """Text of one part of a message, or (no `kind`) of one call's arguments."""

    target: str
    part: int
    kind: Kind | None
    texts: list[str]

    def events(self, when: str) -> list[ev.StreamEvent]:
        cut = pieces(clean("".join(self.texts)))
        if self.kind is None:
            return [ev.ToolCallDelta(time=when, call=self.target, delta=t) for t in cut]
        return [
            ev.MessageDelta(time=when, message=self.target, part=self.part, kind=self.kind, delta=t)
            for t in cut
        ]


@dataclass(slots=True)
class _Fact:
    event: ev.StreamEvent

    def events(self, when: str) -> list[ev.StreamEvent]:
        return [structs.replace(self.event, time=when)]


@dataclass(slots=True)
class Wish:
    """A step that somebody awaits."""

    step: AnyStep
    answer: "asyncio.Future[Decision]"


@dataclass(slots=True)
class Batch:
    """What one append takes: stream events, and then at most one step."""

    stream: list[ev.StreamEvent] = field(default_factory=list[ev.StreamEvent])
    wish: Wish | None = None


class Recorder:
    """The buffer of one attempt. `wake` is called when something is due earlier than before.

    Closed, it takes nothing more: every verb raises `CancelledError`, since whoever still writes
    to a run that is over should have ended.
    """

    def __init__(
        self,
        wake: Callable[[], None],
        *,
        coalesce_s: float = 0.02,
        max_pieces: int = 1_000,
        max_characters: int = 256 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wake = wake
        self._coalesce_s = coalesce_s
        self._max_pieces = max_pieces
        self._max_characters = max_characters
        self._clock = clock
        self._items: deque[_Delta | _Fact | Wish] = deque()
        self._pieces = 0
        self._characters = 0
        self._waiting: list[asyncio.Future[None]] = []
        self.closed = False
        self.due = inf
        """When the next batch should be taken, by `clock`."""

    @property
    def full(self) -> bool:
        """Whether writers have to wait for `room`, or to learn that it is closed."""
        return (
            self._pieces >= self._max_pieces
            or self._characters >= self._max_characters
            or self.closed
        )

    async def room(self) -> None:
        """Returns when there is room again. Raises `CancelledError` if closed."""
        while self.full:
            self._check_open()
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting

    def delta(
        self, target: str, part: int, kind: Kind | None, text: str, *, first: bool = False
    ) -> None:
        """A piece of text; `first` of its part. Ask `full` before."""
        self._check_open()
        last = self._items[-1] if self._items else None
        if (
            isinstance(last, _Delta)
            and last.part == part
            and last.target == target
            and last.kind == kind
        ):
            last.texts.append(text)
        else:
            self._items.append(_Delta(target, part, kind, [text]))
        self._pieces += 1
        self._characters += len(text)
        self._due_in(0.0 if first else self._coalesce_s)

    def fact(self, event: ev.StreamEvent) -> None:
        """Any other stream event; its time is set when it is stored. Ask `full` before.

        Raises `NotJsonError`.
        """
        self._check_open()
        event = checked(event, _name(event))
        self._items.append(_Fact(event))
        self._pieces += 1
        self._characters += len(encode(event))
        self._due_in(self._coalesce_s)

    async def step(self, step: AnyStep) -> Decision:
        """Returns when the step, and all that was said before it, is stored.

        Cancelling does not take the step back. Raises `NotJsonError`, what `Attempt.step` raises,
        and `CancelledError` when the attempt is over.
        """
        self._check_open()
        step = checked(step, _name(step))
        answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._items.append(Wish(step, answer))
        self._due_in(0.0)
        return await answer

    def take(self, when: str) -> Batch:
        """What the next append shall hold."""
        batch = Batch()
        while self._items:
            item = self._items.popleft()
            if isinstance(item, Wish):
                batch.wish = item
                break
            batch.stream += item.events(when)
        self._pieces = self._characters = 0
        self.due = -inf if self._items else inf
        self._release()
        return batch

    def close(self) -> None:
        """Nothing more is taken; who waits is cancelled."""
        self.closed = True
        self.due = inf
        for item in self._items:
            if isinstance(item, Wish):
                item.answer.cancel()
        self._items.clear()
        self._release()

    def _due_in(self, seconds: float) -> None:
        at = self._clock() + seconds if seconds else -inf
        if at < self.due:
            self.due = at
            self._wake()

    def _release(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _check_open(self) -> None:
        if self.closed:
            raise asyncio.CancelledError("the attempt is over")


def _name(value: Struct) -> str:
    return type(value).__name__
