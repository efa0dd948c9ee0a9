"""Between the agent and the log: what the agent did and no append has taken yet.

Neighbouring deltas of one part are merged while they wait. The first delta of a part is due at
once, a later one within `coalesce_s`, together with those of other runs; a step is due at once and
takes with it what was said before it. Whoever appends (the keeper) has one append in flight, so
whatever comes meanwhile collects into the next one.

Bounded by `max_pieces` writes and `max_characters`: full, it lets the agent's write wait, which
pauses the stream of the model. No I/O here.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from math import inf

from msgspec import Struct, structs

from gateway.runtime.plain import MAX_DELTA_BYTES, checked, clean, pieces
from gateway.sessions.draft import Decision
from gateway.sessions.inputs import AnyStep
from protocol import events as ev
from protocol.codec import encode
from protocol.values import Kind

GRID = 4
"""Later deltas are due at whole fourths of `coalesce_s`, for all runs alike: many appends at a
time cost each of them much less than one now and then."""


class _Delta(Struct, eq=False):
    """Text of one part of a message, or (no `kind`) of one call's arguments."""

    target: str
    part: int
    kind: Kind | None
    texts: list[str]

    def add_to(self, stream: list[ev.StreamEvent], when: str) -> None:
        texts = self.texts
        text = "".join(texts) if len(texts) > 1 else texts[0]
        if len(text) <= MAX_DELTA_BYTES and text.isascii():  # as it is, it may stand in an event
            stream.append(self._event(text, when))
        else:
            stream += [self._event(piece, when) for piece in pieces(clean(text))]

    def _event(self, text: str, when: str) -> ev.StreamEvent:
        if self.kind is None:
            return ev.ToolCallDelta(time=when, call=self.target, delta=text)
        return ev.MessageDelta(
            time=when, message=self.target, part=self.part, kind=self.kind, delta=text
        )


class _Fact(Struct, eq=False):
    event: ev.StreamEvent

    def add_to(self, stream: list[ev.StreamEvent], when: str) -> None:
        stream.append(structs.replace(self.event, time=when))


class Wish(Struct, eq=False):
    """A step that somebody awaits."""

    step: AnyStep
    answer: "asyncio.Future[Decision]"


class Batch(Struct, eq=False):
    """What one append takes: stream events, and then at most one step."""

    stream: list[ev.StreamEvent]
    wish: Wish | None


class Recorder:
    """The buffer of one attempt. `wake` is called when `due` becomes earlier than before.

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
        self._grid_s = coalesce_s / GRID
        self._max_pieces = max_pieces
        self._max_characters = max_characters
        self._clock = clock
        self._items: deque[_Delta | _Fact | Wish] = deque()
        self.wishes = 0
        """Steps that no append has taken yet."""
        self._pieces = 0
        self._characters = 0
        self._waiting: list[asyncio.Future[None]] = []
        # Of the text that came last, if nothing came after it.
        self._last: _Delta | None = None
        self.closed = False
        self.full = False
        """Whether writers have to wait for `room`, or to learn that it is closed."""
        self.due = inf
        """When the next batch should be taken, by `clock`; -inf: at once."""

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
        last = self._last
        if last is not None and last.part == part and last.target == target and last.kind == kind:
            last.texts.append(text)
        else:
            self._check_open()
            self._last = _Delta(target, part, kind, [text])
            self._items.append(self._last)
        self._grow(len(text))
        if first:
            self._due_at(-inf)
        elif self.due == inf:
            self._due_at(self._later())

    def fact(self, event: ev.StreamEvent) -> None:
        """Any other stream event; its time is set when it is stored. Ask `full` before.

        Raises `NotJsonError`.
        """
        self._check_open()
        event = checked(event, _name(event))
        self._last = None
        self._items.append(_Fact(event))
        self._grow(len(encode(event)))
        if self.due == inf:
            self._due_at(self._later())

    async def step(self, step: AnyStep) -> Decision:
        """Returns when the step, and all that was said before it, is stored.

        Cancelling does not take the step back. Raises `NotJsonError`, what `Attempt.step` raises,
        and `CancelledError` when the attempt is over.
        """
        self._check_open()
        step = checked(step, _name(step))
        answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._last = None
        self._items.append(Wish(step, answer))
        self.wishes += 1
        self._due_at(-inf)
        return await answer

    def take(self, when: str) -> Batch:
        """What the next append shall hold."""
        stream: list[ev.StreamEvent] = []
        wish: Wish | None = None
        items = self._items
        while items:
            item = items.popleft()
            if isinstance(item, Wish):
                wish = item
                self.wishes -= 1
                break
            item.add_to(stream, when)
        self._pieces = self._characters = 0
        self.full = self.closed
        if items:
            self.due = -inf
        else:
            self.due, self._last = inf, None
        if self._waiting:
            self._release()
        return Batch(stream, wish)

    def close(self) -> None:
        """Nothing more is taken; who waits is cancelled."""
        self.closed = self.full = True
        self.due, self._last = inf, None
        for item in self._items:
            if isinstance(item, Wish):
                item.answer.cancel()
        self._items.clear()
        self.wishes = 0
        self._release()

    def _grow(self, characters: int) -> None:
        self._pieces += 1
        self._characters += characters
        self.full = self._pieces >= self._max_pieces or self._characters >= self._max_characters

    def _later(self) -> float:
        """Within `coalesce_s`, at a time that other runs of the worker share."""
        at = self._clock() + self._coalesce_s
        return at - at % self._grid_s if self._grid_s else at

    def _due_at(self, at: float) -> None:
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
