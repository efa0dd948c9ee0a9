"""Listeners are told in order; one that raises keeps nobody from hearing."""

import asyncio
from typing import Any

from gateway.client.listeners import Listeners


async def test_all_are_told_though_one_raises() -> None:
    reported: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    heard: list[tuple[str, int]] = []

    def broken(value: int) -> None:
        heard.append(("broken", value))
        raise ValueError("mine")

    def adding(value: int) -> None:
        heard.append(("adding", value))
        listeners.add(lambda later: heard.append(("added", later)))

    listeners = Listeners[int]()
    listeners.add(broken)
    listeners.add(adding)
    try:
        listeners.tell(1)
        listeners.tell(2)
    finally:
        loop.set_exception_handler(None)
    assert heard == [("broken", 1), ("adding", 1), ("broken", 2), ("adding", 2), ("added", 2)]
    assert [str(context["exception"]) for context in reported] == ["mine", "mine"]
