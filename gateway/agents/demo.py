"""`demo`: an agent without a model, to be watched in the demo page.

It looks for a word in what a person wrote and does one thing that shows a part of the gateway:
thinking, tools of the page, an approval, progress, a failure. It waits for nothing but its own
pace, so it needs no key and no network.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, cast

from gateway.runtime.agent import agent
from gateway.runtime.context import RunContext
from gateway.runtime.failures import ToolError

TOKENS_PER_S = 30.0

Topic = Callable[[RunContext, str], Awaitable[None]]
Write = Callable[[str], Awaitable[None]]

_TOKEN = re.compile(r"\s*\S+|\s+$")
_QUOTED = re.compile(r"[“\"«]([^”\"»]{1,80})[”\"»]")
_AFTER_TO = re.compile(r"\b(?:to|into|as)\s+(.{1,80}?)[.!?]?\s*$")
_COLORS = re.compile(
    r"\b(red|orange|gold|yellow|green|lime|teal|cyan|blue|navy|purple|violet|magenta|pink)\b"
)

HELLO = """Hello! I am the **demo agent**: no model, just code that shows what a run can do.

Ask me about one of these:

- the **heading** of this page: I call a function of your browser and wait for its result
- **highlight** something, in a color of your choice
- **rename** this page: the page wants to be asked first, so *you* decide
- a **long story**, with progress; press **Stop** whenever you have enough
- several **steps** at once: two tools of the page, side by side
- or let me **fail**, to see how that looks

Reload the page while I speak, or open it in a second tab: nothing is lost and nothing comes twice.
"""

STORY = """# The lighthouse and the log

On a cliff where the fog came in every night stood a lighthouse, and in it lived a keeper who \
wrote everything down.

## One

*"Seq 1,"* she wrote, *"the lamp is lit."* And then: *"Seq 2: a ship, far out."* She never \
wrote the same number twice and she never left one out. When the wind blew the door open and \
took the page from the desk, she only asked:

> What was the last line you saw?

and read on from there.

## Two

The ships had trouble of their own. Their wires broke, their clocks were wrong, and some of \
them slept for days. But whoever came back and said `after 41` was told **42**, and **43**, \
and all that had happened since:

| seq | what happened |
| --- | --- |
| 42 | the fog lifted |
| 43 | a whale, very large |
| 44 | the same whale, from behind |

## Three

One night the keeper fell ill, and another took the pen. The new one did not guess. It drew a \
line under the last word, wrote a larger number on the cover, and went on:

```text
fence 8: from here on only this hand writes
```

And when the old keeper woke up and reached for the book, half asleep, the book stayed closed \
to her, which was a kindness.

## Four

So the ships came home, each by its own way, and in the harbour they laid their logs side by \
side. There were short ones and long ones, some had been merged by the rain. But wherever two \
of them told of the same hour, they told the same.

*And that is all a log can do; it turned out to be enough.*
"""


class DemoAgent:
    """Calling it does one run; a faster pace is for tests."""

    def __init__(self, tokens_per_s: float = TOKENS_PER_S) -> None:
        self._pause_s = 1 / tokens_per_s
        # The first word that is found decides: "highlight the title" is about highlighting.
        self._topics: tuple[tuple[re.Pattern[str], Topic], ...] = (
            (re.compile(r"\bfail"), self._fail),
            (re.compile(r"\bsteps?\b|\btools\b"), self._steps),
            (re.compile(r"\bhighlight|\bcolou?r"), self._highlight),
            (re.compile(r"\brename|\btitle\b"), self._rename),
            (re.compile(r"\bheading|\bheadline"), self._heading),
            (re.compile(r"\blong\b|\bstory\b"), self._story),
        )

    async def __call__(self, run: RunContext) -> None:
        """Answer the message that triggered the run."""
        lowered = run.text.lower()
        topic = next((topic for word, topic in self._topics if word.search(lowered)), self._hello)
        await topic(run, run.text)

    async def _hello(self, run: RunContext, said: str) -> None:
        await run.activity("thinking")
        async with run.message() as message:
            thought = f"They wrote {len(said.split())} words and none of them is one I know."
            await self._stream(message.thinking, f"{thought} I will say what I can do.")
            await self._stream(message.text, HELLO)

    async def _heading(self, run: RunContext, _said: str) -> None:
        async with run.message() as message:
            await self._stream(
                message.thinking,
                "I cannot see the page, but the browser can. It has a tool, read_heading; "
                "I will call it and wait.",
            )
            await self._stream(message.commentary, "I will ask your browser.")
        try:
            heading = await run.call_tool("read_heading", level=1)
        except ToolError as error:
            await self._give_up(run, error)
            return
        text = _field(heading, "text")
        await self._say(run, f"The heading of this page says **{text}**. Your browser told me so.")

    async def _highlight(self, run: RunContext, said: str) -> None:
        color = found[1] if (found := _COLORS.search(said.lower())) else "gold"
        async with run.message() as message:
            await self._stream(message.thinking, f"A heading is easy to see. {color}, then.")
        try:
            await run.call_tool("highlight", selector="h1", color=color)
        except ToolError as error:
            await self._give_up(run, error)
            return
        await self._say(run, f"There: the heading glows in **{color}** for a few seconds.")

    async def _rename(self, run: RunContext, said: str) -> None:
        found = _QUOTED.search(said) or _AFTER_TO.search(said)
        title = found[1].strip() if found else "Mission control"
        async with run.message() as message:
            await self._stream(
                message.thinking,
                "Renaming changes what the person sees, and the page declared that it wants "
                "to be asked first. So the gateway will ask before the browser does anything.",
            )
            await self._stream(message.commentary, f"May I rename this page to “{title}”?")
        try:
            result = await run.call_tool("rename_page", title=title)
        except ToolError as error:
            if error.code == "tool.denied":
                await self._say(run, "As you wish: the page **keeps its name**.")
            else:
                await self._give_up(run, error)
            return
        # What the page says, not what was asked: the person may have edited it.
        name = _field(result, "title")
        await self._say(run, f"Done. This page is called **{name}** now.")

    async def _steps(self, run: RunContext, _said: str) -> None:
        await run.activity("preparing")
        async with run.message() as message:
            await self._stream(message.thinking, "Two things that do not depend on each other.")
        results = await run.call_tools(
            [("read_heading", {"level": 1}), ("highlight", {"selector": "h1", "color": "teal"})]
        )
        lines = [
            f"{n}. `{result.name}`: {result.error.message if result.error else 'done'}"
            for n, result in enumerate(results, 1)
        ]
        await self._say(run, "\n".join(["Both at once:", "", *lines]))

    async def _story(self, run: RunContext, _said: str) -> None:
        await run.activity("thinking")
        chapters = re.split(r"(?m)^(?=## )", STORY)
        async with run.message() as message:
            await self._stream(message.thinking, "A long one. Something with a lighthouse.")
            await run.activity("writing", "The lighthouse and the log")
            for n, chapter in enumerate(chapters):
                await run.progress(n, len(chapters), "chapters")
                await self._stream(message.text, chapter)
        await run.progress(len(chapters), len(chapters), "chapters")

    async def _fail(self, run: RunContext, _said: str) -> None:
        async with run.message() as message:
            await self._stream(message.text, "Watch closely. In a moment I will")
            raise RuntimeError("The demo agent failed, as it was asked to.")

    async def _give_up(self, run: RunContext, error: ToolError) -> None:
        await self._say(run, f"That did not work: {error} (`{error.code}`)")

    async def _say(self, run: RunContext, text: str) -> None:
        async with run.message() as message:
            await self._stream(message.text, text)

    async def _stream(self, write: Write, text: str) -> None:
        for token in _TOKEN.findall(text):
            await write(token)
            await asyncio.sleep(self._pause_s)


def _field(output: Any, name: str) -> Any:
    """A field of what a page's tool returned; pages return what they like."""
    return cast("dict[str, Any]", output).get(name) if isinstance(output, dict) else output


_demo = DemoAgent()


@agent(name="demo", description="Shows what the gateway can do; no model is needed.")
async def demo(run: RunContext) -> None:
    """The demo agent at the pace of a model."""
    await _demo(run)
