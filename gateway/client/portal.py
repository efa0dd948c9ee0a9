"""An event loop in a thread of its own, and a way into it for programs without asyncio."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Portal:
    """Runs coroutines in its loop while the caller waits; usable from any thread but its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # a daemon: a program that forgets to close it still ends
        self._thread = threading.Thread(target=self._run, name="agent-gateway", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def call(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """The result of a coroutine; after `timeout` seconds it is cancelled.

        Raises:
            TimeoutError: it took longer. Whatever the coroutine raises is passed on; an
                interrupt (Ctrl-C) cancels it.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("Called from the client's own thread: use AsyncClient there.")
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        except BaseException:
            future.cancel()
            raise

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """The items, waited for one by one; leaving the iteration ends it there, too."""
        try:
            while True:
                try:
                    yield self.call(_next(items))
                except StopAsyncIteration:
                    return
        finally:
            if isinstance(items, AsyncGenerator):
                self.call(items.aclose())

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._loop.is_closed()

    def close(self) -> None:
        """End the loop and the thread; further calls fail."""
        if self.closed:
            return
        self.call(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()  # handlers that still run in threads are not waited for


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)
