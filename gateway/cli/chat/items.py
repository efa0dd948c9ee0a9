"""What a chat shows, as values: what stays on the screen, and what is still going on.

How it looks is `look`'s business; when it is shown `transcript`'s.
"""

from typing import Any, Literal, TypeAlias

from msgspec import Struct

from protocol.model import Call

Tone: TypeAlias = Literal["plain", "dim", "good", "warning", "error"]


class Typed(Struct, frozen=True):
    """What a person wrote; `by` if it was not the one who sits here."""

    text: str
    steering: bool = False
    by: str | None = None


class Said(Struct, frozen=True):
    """A piece of an answer, in Markdown; whole blocks of it."""

    text: str


class Remarked(Struct, frozen=True):
    """Commentary beside the answer."""

    text: str


class Thought(Struct, frozen=True):
    """What the model thought; shown as one line."""

    text: str


class Called(Struct, frozen=True):
    """A call that has its outcome."""

    call: Call


class Asked(Struct, frozen=True):
    """A question that a person has to see in full before the answer is asked for."""

    title: str
    arguments: Any
    tool: bool
    """A call to be executed by the person; else an approval."""


class Note(Struct, frozen=True):
    """A line of the chat's own."""

    text: str
    tone: Tone = "dim"


Item: TypeAlias = Typed | Said | Remarked | Thought | Called | Asked | Note


class Live(Struct, frozen=True):
    """What is going on now; replaced as a whole with each change."""

    busy: bool = False
    text: str = ""
    """The end of the answer that is no whole block yet, in Markdown."""
    remark: str = ""
    thought: str = ""
    hidden: int = 0
    """How many characters of the answer came that are not shown before it is whole."""
    calls: tuple[Call, ...] = ()
    activity: str = ""
