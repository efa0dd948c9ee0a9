"""The inbox: like the queue it stands for."""

import asyncio

from gateway.transports.inbox import Inbox


async def test_an_inbox_gives_in_order_and_loses_nothing() -> None:
    inbox = Inbox()
    assert inbox.empty()
    async with asyncio.TaskGroup() as group:
        cancelled = group.create_task(inbox.get())
        await asyncio.sleep(0)
        inbox.put_nowait("a")
        cancelled.cancel()
    inbox.put_nowait("b")
    assert await inbox.get() == "a"
    inbox.put_back(inbox.take())
    assert await inbox.get() == "b"
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(inbox.get())
        await asyncio.sleep(0)
        inbox.put_nowait("c")
    assert waiting.result() == "c"
