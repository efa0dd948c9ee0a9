"""The one place of the client that starts bare tasks, and their owner."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class Tasks:
    """Tasks that live until they end or `close` ends them.

    One that fails is told to the loop's exception handler at once and takes no other with it.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run it; whoever cancels the task needs not await it."""
        task = asyncio.create_task(work)  # noqa: TID251 - owned here, joined by close()
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
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
