"""Who answers the Python programs of `test_references`."""

import asyncio

from gateway.runtime.agent import agent
from gateway.runtime.context import RunContext


@agent(name="storyteller")
async def storyteller(run: RunContext) -> None:
    """Tells a story word by word."""
    async with run.message() as message:
        pause_s = 0.5
        for word in f"Once upon a time: {run.text}".split(" "):
            await message.text(f"{word} ")
            await asyncio.sleep(pause_s)
            pause_s = 0.01


@agent(name="mathematician")
async def mathematician(run: RunContext) -> None:
    """Has somebody else do the sum."""
    result = await run.call_tool("calculator", expression="42 * 17")
    await run.say(f"It is {result}.", chunk=4)


@agent(name="painter")
async def painter(run: RunContext) -> None:
    """Talks before and after a picture is made."""
    await run.say("I will draw it. ")
    url = await run.call_tool("draw", prompt=run.text)
    await run.say(f"Here: {url}")
