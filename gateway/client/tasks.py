"""The one place of the client that starts bare tasks, and their owner."""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class Tasks:
    """Tasks that live until they end or `close` ends them.

    One that fails takes no other with it. The loop's exception handler is told at once, unless
    it is `awaited` by whoever started it.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T], *, awaited: bool = False) -> asyncio.Task[T]:
        """Run it; whoever cancels the task needs not await it."""
        task = asyncio.create_task(work)  # noqa: TID251 - owned here, joined by close()
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, awaited=awaited))
        return task

    def _ended(self, task: asyncio.Task[Any], *, awaited: bool) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not awaited:
            context = {"message": "A task of the client failed.", "exception": error, "task": task}
            task.get_loop().call_exception_handler(context)

    async def close(self) -> None:
        """Cancel all and wait for their ends; their clean-up bounds how long that takes."""
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            if not task.cancelling():  # a second cancellation would cut its clean-up short
                task.cancel()
        if tasks:
            await asyncio.wait(tasks)
