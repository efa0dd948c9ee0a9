"""The events of a session as an async iterator that a slow reader cannot make grow without end."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import TypeAlias

from msgspec import Struct

from gateway.client.errors import GatewayError
from protocol.events import Event
from protocol.state import State, copy

MAX_BUFFERED = 10_000


class StateReset(Struct, frozen=True):
    """The session as it is now, in place of events that will not come.

    The gateway no longer had them, or this reader was too slow for them.
    """

    state: State


Item: TypeAlias = Event | StateReset


class EventStream(AsyncIterator[Item]):
    """What happens in a session from the moment on that this was made; many may read, each alone.

    At most `MAX_BUFFERED` events wait for a reader; then they are dropped and the state takes
    their place. Iteration ends when the session is closed, and raises `GatewayError` if it was
    refused or deleted.
    """

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._news = asyncio.Event()
        self._behind: State | None = None  # the live state, if the reader lost its place
        self._ended = False
        self._error: GatewayError | None = None

    def __aiter__(self) -> "EventStream":
        return self

    async def __anext__(self) -> Item:
        """The next event; cancellation loses nothing."""
        while True:
            if self._behind is not None:
                state, self._behind = copy(self._behind), None
                return StateReset(state)
            if self._items:
                return self._items.popleft()
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()

    @property
    def backlog(self) -> int:
        """How many items have come that were not read yet."""
        return len(self._items) + (self._behind is not None)

    def put(self, event: Event, state: State) -> None:
        """An event; `state` is the live state after it."""
        if self._behind is not None:
            return
        if len(self._items) >= MAX_BUFFERED:
            self.reset(state)
        else:
            self._items.append(event)
            self._news.set()

    def reset(self, state: State) -> None:
        """The reader's place is lost: it gets the state when it asks."""
        self._items.clear()
        self._behind = state
        self._news.set()

    def end(self, error: GatewayError | None = None) -> None:
        """Nothing more comes after what is buffered."""
        self._ended = True
        self._error = error
        self._news.set()
