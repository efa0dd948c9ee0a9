"""Waiting for a condition, with a bound. Never a sleep that hopes something has happened."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

T = TypeVar("T")

POLL_SECONDS = 0.01
STALL_SECONDS = 0.25
"""Longer between two looks, and this process stood still: so did what it waits for."""


async def eventually(
    condition: Callable[[], T | Awaitable[T]], *, within: float = 10, what: str = ""
) -> T:
    """Poll until `condition` gives something true, and return it.

    Raises:
        AssertionError: it was not true within so many seconds; names `what`.
    """
    left, looked = within, time.monotonic()
    while True:
        result = condition()
        value = cast("T", await result if inspect.isawaitable(result) else result)
        if value:
            return value
        now = time.monotonic()
        left -= min(now - looked, STALL_SECONDS)
        looked = now
        if left < 0:
            raise AssertionError(f"not within {within} s: {what or condition}")
        await asyncio.sleep(POLL_SECONDS)
