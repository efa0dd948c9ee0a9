"""How a chat looks: its values as text with colors, for a width. rich alone is used here.

What an agent or another person wrote never reaches the terminal with control characters in it:
they could move the cursor, or change what a person believes to have approved.
"""

import io
import re
from typing import Any, ClassVar, cast

import msgspec
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme

from gateway.cli.chat.blocks import paragraphs
from gateway.cli.chat.items import (
    Asked,
    Called,
    Item,
    Live,
    Note,
    Remarked,
    Said,
    Thought,
    Tone,
    Typed,
)
from gateway.cli.chat.transcript import encoded
from protocol.model import Call

_CONTROLS = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # sequences whole, so that no half of them is read as text
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_TRAILING = re.compile(r"[ ]+((?:\x1b\[[0-9;]*m)*)$", re.MULTILINE)
_THEME = Theme({"markdown.code": "cyan"})  # rich's has a black ground
_BLANK = r"(?:[ ]|\x1b\[[0-9;]*m)*"
_EDGES = re.compile(rf"\A(?:{_BLANK}\n)+|(?:\n{_BLANK})+\Z")
_TONES: dict[Tone, str] = {
    "plain": "",
    "dim": "dim",
    "good": "green",
    "warning": "yellow",
    "error": "bold red",
}


SHORT = 40
"""Arguments up to this length stand on the line of the question."""


def clean(text: str) -> str:
    """Without the characters that command a terminal; tabs and line ends stay."""
    return _CONTROLS.sub("", text.expandtabs(4))


class _Heading(Heading):
    """On the left, without a box: a chat is no page."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        yield self.text


class _Code(CodeBlock):
    """Without a margin, so that it can be copied."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip()
        yield Syntax(code, self.lexer_name, theme=self.theme, word_wrap=True)


class _Answer(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _Heading,
        "fence": _Code,
        "code_block": _Code,
    }


class Look:
    """Renders for one kind of terminal. `colors` False: no escape sequences for color."""

    def __init__(self, *, colors: bool = True) -> None:
        self._colors = colors
        self._gap = True  # whether what was given last ended with an empty line

    def item(self, item: Item, width: int) -> str:
        """Lines that stay, each with its end; blocks of text have air around them."""
        match item:
            case Said(text=text):
                return self._framed(self._markdown(text, width))
            case Typed():
                return self._block(_typed(item), width)
            case Asked():
                return self._block(_question(item), width)
            case Remarked(text=text):
                return self._block(Text(clean(text.strip()), "italic dim"), width)
            case Called(call=call):
                return self._line(_outcome(call, width), width)
            case Thought(text=text):
                return self._line(_thought(text, width), width)
            case Note(text=text, tone=tone):
                return self._line(Text(clean(text), _TONES[tone]), width)

    def _block(self, renderable: Any, width: int) -> str:
        return self._framed(self._text(renderable, width).strip("\n"))

    def _framed(self, lines: str) -> str:
        before = "" if self._gap else "\n"
        self._gap = True
        return f"{before}{lines}\n\n"

    def _markdown(self, text: str, width: int) -> str:
        """Block by block: rich puts now one, now two empty lines between them."""
        blocks = [self._text(_answer(block), width) for block in paragraphs(clean(text))]
        return "\n\n".join(_EDGES.sub("", block) for block in blocks)

    def _line(self, renderable: Any, width: int) -> str:
        self._gap = False
        return self._text(renderable, width)

    def live(self, live: Live, status: str, width: int, height: int) -> str:
        """What is going on, in at most so many lines: the newest ones."""
        lines: list[str] = []
        if live.text.strip():
            lines = self._markdown(live.text, width).splitlines()
        elif live.remark:
            lines = self._text(Text(clean(live.remark), "italic dim"), width).splitlines()
        for call in live.calls:
            lines.append(self._text(_running(call, width), width).rstrip("\n"))
        doing = _doing(live, width - len(status) - 20)
        if said := " · ".join(part for part in (doing, status) if part):
            lines.append(self._text(_cut(Text(said, "dim"), width), width).rstrip("\n"))
        return "\n".join(lines[-height:])

    def _text(self, renderable: Any, width: int) -> str:
        file = io.StringIO()
        Console(
            file=file,
            width=width,
            force_terminal=self._colors,
            color_system="standard" if self._colors else None,
            no_color=not self._colors,
            highlight=False,
            emoji=False,
            markup=False,
            legacy_windows=False,
            theme=_THEME,
        ).print(renderable)
        return _TRAILING.sub(r"\1", file.getvalue())


def _answer(text: str) -> Markdown:
    return _Answer(text, code_theme="ansi_dark", inline_code_theme=None, hyperlinks=False)


def _typed(item: Typed) -> Text:
    name = f"{clean(item.by)} " if item.by else ""
    text = Text(f"{name}> ", "bold cyan")
    text.append(clean(item.text), "cyan")
    if item.steering:
        text.append("  (steers the run)", "dim")
    return text


def _thought(text: str, width: int) -> Text:
    words = len(text.split())
    first = " ".join(clean(text).split())
    return _cut(Text(f"✻ thought, {words} word{'s' * (words != 1)}: {first}", "dim italic"), width)


def _outcome(call: Call, width: int) -> Text:
    """One line: what was called, with what, and what came of it."""
    failed = call.error is not None
    line = Text("✗ " if failed else "✓ ", "red" if failed else "green")
    line.append(clean(call.name), "bold")
    line.append(_arguments(call, width // 2))
    if call.error is not None:
        line.append(f" {clean(call.error.code)}: {_one_line(call.error.message)}", "red")
    elif _visible(call):
        line.append(f" → {_one_line(encoded(call.output))}", "dim")
    return _cut(line, width)


def _running(call: Call, width: int) -> Text:
    line = Text("⚙ ", "yellow").append(clean(call.name), "bold")
    return _cut(line.append(_arguments(call, width - 12)).append(" …", "dim"), width)


def _question(item: Asked) -> Text:
    mark, what = ("⚙", "You are asked to execute") if item.tool else ("?", "The agent asks:")
    text = Text(f"{mark} {what} ", "yellow").append(clean(item.title), "bold")
    if item.arguments is None:
        return text
    one_line = clean(msgspec.json.format(encoded(item.arguments), indent=0))
    if len(one_line) <= SHORT:
        return text.append(f" {one_line}")
    pretty = clean(msgspec.json.format(encoded(item.arguments), indent=2))
    text.append("\n" + "\n".join(f"  {line}" for line in pretty.splitlines()))
    return text


def _visible(call: Call) -> bool:
    """Whether this detail shows arguments and outputs at all."""
    return call.arguments not in (None, "")


def _arguments(call: Call, width: int) -> str:
    if not _visible(call):
        return ""
    given: Any = call.arguments
    if isinstance(given, dict):
        pairs = cast("dict[str, Any]", given).items()
        text = ", ".join(f"{name}={encoded(value)}" for name, value in pairs)
    else:
        text = given if isinstance(given, str) else encoded(given)
    text = _one_line(text)
    return f"({text if len(text) <= width else text[: max(1, width - 1)] + '…'})"


def _doing(live: Live, room: int) -> str:
    if live.thought:
        words = clean(live.thought[-200:]).split()
        cut = len(live.thought) > 200
        while len(words) > 1 and len(" ".join(words)) > room:
            cut = True
            del words[0]
        return f"✻ thinking: {'…' * cut}{' '.join(words)}"
    if live.hidden:
        return f"✎ writing, {live.hidden} characters"
    if live.activity:
        return f"● {_one_line(live.activity)}"
    return "● running" if live.busy else ""


def _one_line(text: str) -> str:
    return " ".join(clean(text).split())


def _cut(text: Text, width: int) -> Text:
    text.truncate(width, overflow="ellipsis")
    text.no_wrap = True
    return text
