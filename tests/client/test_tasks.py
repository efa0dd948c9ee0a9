"""The owner of tasks."""

import asyncio
from typing import Any

import pytest

from gateway.client.tasks import Tasks


async def test_close_ends_them_and_waits_for_their_clean_up() -> None:
    tasks, done = Tasks(), asyncio.Event()
    began = asyncio.Event()

    async def work() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            done.set()

    task = tasks.start(work())
    await began.wait()
    task.cancel()  # by itself already: a second cancellation would cut the clean-up short
    await tasks.close()
    assert done.is_set()
    await tasks.close()


async def test_one_that_fails_is_told_and_takes_no_other_with_it() -> None:
    told: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    tasks, go_on = Tasks(), asyncio.Event()
    try:

        async def fail() -> None:
            raise LookupError("gone")

        mine = tasks.start(fail(), awaited=True)
        with pytest.raises(LookupError):
            await mine
        assert told == []
        failed = tasks.start(fail())
        waiting = tasks.start(go_on.wait())
        await asyncio.wait([failed])
        await asyncio.sleep(0)
        assert [str(context["exception"]) for context in told] == ["gone"]
        go_on.set()
        assert await waiting
    finally:
        loop.set_exception_handler(None)
        await tasks.close()
