"""The agents that the reference documents name, for the React examples taken from them."""

import asyncio
from typing import Any

from gateway.runtime.agent import agent
from gateway.runtime.context import RunContext

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9Q"
    "DwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@agent(name="infsh/claude-sonnet-4@abc123")
async def sonnet(run: RunContext) -> None:
    """Says every word it was told, slowly; to `endless` it never stops talking."""
    async with run.message() as message:
        await message.text(f"You said: {run.text}")
        while "endless" in run.text:
            await message.text(" and so on")
            await asyncio.sleep(0.02)


@agent(name="infsh/claude-opus-45@abc123")
async def opus(run: RunContext) -> None:
    """Thinks, then answers in Markdown."""
    async with run.message() as message:
        await message.thinking("A greeting.")
        await message.text("**Hello** from the assistant.")


@agent(name="default")
async def unnamed(run: RunContext) -> None:
    """Looks for a heading of the page and for something that is not there."""
    found = [
        await run.call_tool("scan_ui", selector="textarea"),
        await run.call_tool("scan_ui", selector="#nothing"),
    ]
    await run.say(f"{found[0]} and {found[1]}")


@agent(name="google/veo-3-1-fast")
async def video(run: RunContext) -> Any:
    """A task that tells how far it is."""
    for step in range(1, 5):
        await run.log(f"frame {step}")
        await run.progress(step, 4)
        await asyncio.sleep(0.02)
    return {"url": PIXEL}


@agent(name="infsh/flux-schnell")
async def image(run: RunContext) -> Any:
    """A task with a picture in the end."""
    await run.log("drawing")
    await run.output({"url": PIXEL})
    return {"url": PIXEL}
