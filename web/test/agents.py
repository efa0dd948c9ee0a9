# ruff: noqa: INP001 - a module of its own, found by PYTHONPATH
"""The agents that the JavaScript tests talk to, by the names that they use."""

from gateway.runtime.agent import agent
from gateway.runtime.context import RunContext
from protocol.values import Tool

STEPS = 3
SEARCH = Tool(name="search", parameters={"type": "object"})


async def _generate(run: RunContext) -> None:
    prompt = run.input["prompt"]
    await run.activity("preparing")
    for step in range(STEPS):
        await run.log(f"step {step + 1}")
        await run.progress(step + 1, STEPS)
        await run.output({"prompt": prompt, "steps": step + 1})
    await run.activity("uploading")
    await run.output({"url": f"https://example.com/{len(prompt)}", "prompt": prompt})


video = agent(name="google/veo-3-1-fast")(_generate)
image = agent(name="infsh/flux-schnell")(_generate)


@agent(name="stuck")
async def stuck(run: RunContext) -> None:
    """Starts, and never ends by itself."""
    await run.log("started")
    await run.approve("For ever?")


@agent(name="my-org/assistant@latest")
async def assistant(run: RunContext) -> None:
    """Thinks, asks the page, and says what it heard."""
    await run.update(tools=[SEARCH])
    await run.think("What does the page know?")
    found = await run.call_tool("search", query=run.text)
    await run.say(f"They say: {found}.", chunk=4)
