"""An event loop in a thread of its own, and a way into it for programs without asyncio."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from gateway.client.errors import GatewayError

T = TypeVar("T")


class Portal:
    """Runs coroutines in its loop while the caller waits; usable from any thread but its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._closed = False
        self._submitting = threading.Lock()  # what is submitted comes before the loop's end
        # a daemon: a program that forgets to close it still ends
        self._thread = threading.Thread(target=self._run, name="agent-gateway", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(_end_tasks())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()  # handlers that still run in threads are not waited for

    def call(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """The result of a coroutine; after `timeout` seconds it is cancelled.

        Raises:
            TimeoutError: it took longer. Whatever the coroutine raises is passed on; an
                interrupt (Ctrl-C) cancels it.
            GatewayError: `client.closed`, also when that happens while it waits.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("Called from the client's own thread: use AsyncClient there.")
        future = self._submit(work)
        try:
            return future.result(timeout)
        except CancelledError:
            if self._closed:
                raise _refusal() from None
            raise
        except BaseException:
            future.cancel()
            raise

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        with self._submitting:
            if not self._closed:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        raise _refusal()

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """The items, waited for one by one; leaving the iteration ends it there, too."""
        try:
            while True:
                try:
                    yield self.call(_next(items))
                except StopAsyncIteration:
                    return
        finally:
            if isinstance(items, AsyncGenerator) and not self._closed:
                self.call(items.aclose())

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """End the loop and the thread; calls that wait, and further ones, are refused."""
        with self._submitting:
            first, self._closed = not self._closed, True
        if first:
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


def _refusal() -> GatewayError:
    return GatewayError("client.closed", "The client is closed.")


async def _end_tasks() -> None:
    """Cancel all others and wait for their ends, also of those that they start meanwhile."""
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in tasks:
            if not task.cancelling():  # a second cancellation would cut its clean-up short
                task.cancel()
        await asyncio.wait(tasks)


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)
