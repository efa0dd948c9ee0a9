"""Says back what it is told: the smallest agent, and the first thing to try."""

from gateway.runtime.agent import agent
from gateway.runtime.context import RunContext

CHUNK = 16


@agent(name="echo", resume="history", description="Says back what it is told.")
async def echo(run: RunContext) -> None:
    """Streams the text of the message that triggered the run, or its input, back."""
    if any(m.mine for m in run.messages):
        return  # an earlier attempt has said it
    text = run.text or (run.input if isinstance(run.input, str) else "")
    await run.say(text, chunk=CHUNK)
