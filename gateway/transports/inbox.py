"""Messages on their way to one who receives them. Kept small: there is one per connection."""

import asyncio
from typing import Any


class Inbox:
    """What of `asyncio.Queue` uvicorn uses, for one who receives; a tenth of its memory."""

    __slots__ = ("_messages", "_waiter")

    def __init__(self) -> None:
        self._messages: list[Any] = []  # bounded by pausing to read
        self._waiter: asyncio.Future[None] | None = None

    def put_nowait(self, message: Any) -> None:
        """Adds one."""
        self._messages.append(message)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def empty(self) -> bool:
        """Whether there is none."""
        return not self._messages

    def take(self) -> Any:
        """The oldest, which there must be."""
        return self._messages.pop(0)

    def put_back(self, message: Any) -> None:
        """Undoes `take`."""
        self._messages.insert(0, message)

    async def get(self) -> Any:
        """The oldest; waits for it. Cancelled, it has taken nothing."""
        while not self._messages:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._messages.pop(0)
