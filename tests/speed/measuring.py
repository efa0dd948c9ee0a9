"""A path and the reference in turns on one thread, by the CPU time that the thread used.

Other programs take time from this one, which is not counted, and cache and memory, which is: a
chunk that was disturbed is dearer than the same chunk undisturbed, never cheaper. So chunks are
shorter than the slices of time that the kernel gives, and a low quantile of many is the figure. A
machine that slows down slows both, as both are driven in turns.
"""

import gc
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager

from msgspec import Struct

from tests.speed.path import Open, Path, Stage, nothing_more
from tests.speed.reference import EVENTS, Reference

CHUNKS, WARM_TURNS = 240, 40
LOW = 0.2
"""The quantile; lower ones are steadier only on an idle machine."""


class Figure(Struct, frozen=True):
    """What an event costs, and what of that depends least on the machine."""

    ratio: float
    """To an event of the reference."""
    us: float
    """CPU, on this machine, just now."""


async def figure_of(open_path: Open, stage: Stage = nothing_more, chunks: int = CHUNKS) -> Figure:
    """Opens a path and measures it. Raises `AssertionError` if its events do not arrive."""
    async with open_path(stage) as path:
        return await _measure(path, Reference(path.breadth), chunks)


async def profiled(open_path: Open, profile: AbstractContextManager[object]) -> None:
    """Drives the path alone, its chunks within `profile`."""
    async with open_path(nothing_more) as path:
        await _warm(path)
        for _ in range(CHUNKS):
            if path.prepare is not None:
                await path.prepare()
            with profile:
                await path.turn()


async def _measure(path: Path, reference: Reference, chunks: int) -> Figure:
    await _warm(path)
    for _ in range(WARM_TURNS):
        await reference.turn()
    path.check()
    gc.collect()
    gc.freeze()
    ours: list[int] = []
    others: list[int] = []
    for _ in range(chunks):
        others.append(await _timed(reference.turn))
        ours.append(await _driven(path))
    path.check()
    us = _low(ours) / path.events
    return Figure(us / (_low(others) / EVENTS), us)


async def _warm(path: Path) -> None:
    """Until buffers are full and memory no longer grows."""
    for _ in range(WARM_TURNS):
        await _driven(path)


async def _driven(path: Path) -> int:
    if path.prepare is not None:
        await path.prepare()
    return await _timed(path.turn)


async def _timed(turn: Callable[[], Awaitable[None]]) -> int:
    """In ns."""
    began = time.thread_time_ns()
    await turn()
    return time.thread_time_ns() - began


def _low(chunks: list[int]) -> float:
    """In µs."""
    return sorted(chunks)[int(len(chunks) * LOW)] / 1000
