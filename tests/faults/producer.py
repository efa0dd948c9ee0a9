"""A producer whose every token is known: numbered words, so a text tells what it lost.

`Story` is a text for the `scripted` agent's `say`; each word names the story and its own place.
"""

import itertools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from tests.faults.record import Frame, Log

WORD = re.compile(r"([a-z]+)(\d{5}) ")


@dataclass(frozen=True)
class Story:
    """`words` numbered words, one a delta, one each `interval_ms`."""

    words: int
    interval_ms: int = 5
    name: str = "w"

    @property
    def text(self) -> str:
        return "".join(f"{self.name}{at:05d} " for at in range(self.words))

    @property
    def step(self) -> Frame:
        """The step that says it, for a script."""
        chunk = len(self.name) + 6
        return {"say": self.text, "chunk": chunk, "interval_ms": self.interval_ms}

    def assert_told(self, text: str) -> None:
        """The text is the whole story. Raises AssertionError that names what is wrong with it."""
        assert text == self.text, self.problem(text)

    def assert_begun(self, text: str) -> None:
        """The text is a beginning of the story."""
        assert self.text.startswith(text), self.problem(text)

    def problem(self, text: str) -> str:
        """What was lost, what came twice, what came too early, what is foreign."""
        told = [int(number) for name, number in WORD.findall(text) if name == self.name]
        lost = sorted(set(range(self.words)) - set(told))
        twice = sorted({at for at in told if told.count(at) > 1})
        swapped = [b for a, b in itertools.pairwise(told) if b < a]
        strange = "".join(WORD.split(text)[::3])
        return (
            f"of {self.words} words lost {_few(lost)}, twice {_few(twice)}, "
            f"out of order {_few(swapped)}, foreign {strange!r:.80}"
        )


def _few(numbers: Iterable[int]) -> str:
    listed = list(numbers)
    return f"{listed[:10]}{f' and {len(listed) - 10} more' if len(listed) > 10 else ''}"


def script(*steps: Frame | Story) -> str:
    """Steps as the content of a message for the `scripted` agent."""
    return json.dumps([step.step if isinstance(step, Story) else step for step in steps])


def told(log: Log, run: str) -> str:
    """What a run said in the end, as stored: the text of its messages that were not discarded."""
    texts: dict[str, str] = {}
    for _, event in log.events():
        if event["type"] == "message.started" and event["run"] == run:
            texts[event["message"]] = ""
        elif event["type"] == "message.delta" and event["kind"] == "text":
            if event["message"] in texts:
                texts[event["message"]] += event["delta"]
        elif event["type"] == "message.completed" and event["status"] == "discarded":
            texts.pop(event["message"], None)
    return "".join(texts.values())
