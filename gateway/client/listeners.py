"""Functions of the application that hear of something; one that raises harms nobody else."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Listeners(Generic[T]):
    """Called in the loop, in the order in which they were added; must not block."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[T], None]] = []

    def add(self, listener: Callable[[T], None]) -> None:
        """From now on it is told."""
        self._listeners.append(listener)

    def tell(self, value: T) -> None:
        """Call them all; errors go to the loop's exception handler."""
        for listener in list(self._listeners):
            try:
                listener(value)
            except Exception as error:  # noqa: BLE001 - the application's
                context = {"message": "A listener of the client failed.", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)
