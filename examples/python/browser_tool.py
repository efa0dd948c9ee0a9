"""A coroutine that works in the user's browser. No framework: the tools are the page's.

agent-gateway demo --agents browser_tool:inspector     # and open the address that it prints
"""

from gateway.runtime.agent import agent
from gateway.runtime.context import RunContext
from gateway.runtime.failures import ToolError


@agent(resume="replay")  # it may wait for days: a run that waits for a person costs nothing
async def inspector(run: RunContext) -> None:
    """Reads the heading of the page, marks it, and renames the page if the person agrees."""
    heading = await run.call_tool("read_heading", level=1)
    await run.call_tool("highlight", selector="h1", color="gold")
    title = run.text.strip() or "Inspected"
    try:
        await run.call_tool("rename_page", title=title)  # the page wants to be asked first
    except ToolError as error:
        await run.say(f"It is still called **{heading['text']}**. ({error})")
    else:
        await run.say(f"**{heading['text']}** is called **{title}** now.")
