"""What reaches the terminal: no control characters of others, lines that fit, air around blocks."""

import re
from typing import Any

import pytest

from gateway.cli.chat.items import Asked, Called, Item, Live, Note, Remarked, Said, Thought, Typed
from gateway.cli.chat.look import Look, clean
from protocol.model import Call
from protocol.values import ErrorInfo

WIDTH = 60


def call(arguments: Any = None, **fields: Any) -> Call:
    fields = {"status": "completed", **fields}
    return Call(
        id="c_1", run="r_1", message="m_1", name="read", target="client", arguments=arguments,
        **fields,
    )  # fmt: skip


def plain(item: Item, width: int = WIDTH) -> str:
    return Look(colors=False).item(item, width)


EVIL = "a\x1b[2J\x1b]0;title\x07b\rc\x08d\x9b31me\u202ef\x7f"
HOSTILE: list[Item] = [
    Said(EVIL),
    Said(f"```\n{EVIL}\n```"),
    Typed(EVIL, by=EVIL),
    Thought(EVIL),
    Remarked(EVIL),
    Note(EVIL),
    Asked(EVIL, {EVIL: EVIL}, tool=False),
    Called(call({EVIL: EVIL}, output=EVIL)),
    Called(call(EVIL, error=ErrorInfo(EVIL, EVIL))),
]


@pytest.mark.parametrize("item", HOSTILE)
def test_nobody_else_commands_the_terminal(item: Item) -> None:
    text = plain(item)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    colored = Look().item(item, WIDTH)
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == text


def test_clean_keeps_lines_and_drops_sequences_whole() -> None:
    assert clean("a\n\tb\x1b[31mc\x1b[0m\x1b]8;;http://x\x1b\\d") == "a\n    bcd"


@pytest.mark.parametrize(
    ("item", "line"),
    [
        (Called(call({"level": 1}, output="Hi")), '✓ read(level=1) → "Hi"'),
        (Called(call({}, output=None)), "✓ read() → null"),
        (Called(call("")), "✓ read"),
        (Called(call({}, error=ErrorInfo("x.y", "No\nway"))), "✗ read() x.y: No way"),
        (Thought("Hm,\n let me see."), "✻ thought, 4 words: Hm, let me see."),
        (Note("A note."), "A note."),
    ],
)  # fmt: skip
def test_one_line(item: Item, line: str) -> None:
    assert plain(item) == f"{line}\n"


@pytest.mark.parametrize(
    "item", [Called(call({"a": "x" * 500}, output="y" * 500)), Thought("word " * 500)]
)
def test_long_ones_stay_one_line(item: Item) -> None:
    text = plain(item)
    assert text.count("\n") == 1
    assert "…" in text
    assert len(text) <= WIDTH + 1


def test_what_is_asked_is_seen_in_full() -> None:
    text = plain(Asked("transfer", {"to": "x" * 500}, tool=False))
    assert text.count("x") == 500


def test_air_around_blocks_once() -> None:
    look = Look(colors=False)
    items: list[Item] = [Note("a"), Typed("b"), Said("c\n\n"), Said("> d"), Note("e"), Said("f")]
    text = "".join(look.item(item, WIDTH) for item in items)
    assert text == "a\n\n> b\n\nc\n\n▌ d\n\ne\n\nf\n\n"


def test_the_newest_lines_of_what_is_going_on() -> None:
    look = Look(colors=False)
    text = "\n\n".join(f"p{number}" for number in range(50))
    lines = look.live(Live(busy=True, text=text), "Ctrl-C stops", WIDTH, 6).splitlines()
    assert len(lines) == 6
    assert lines[-1] == "● running · Ctrl-C stops"
    assert lines[-2] == "p49"


@pytest.mark.parametrize(
    ("live", "line"),
    [
        (Live(), ""),
        (Live(busy=True, thought="I wonder " * 20), "✻ thinking: …I wonder"),
        (Live(busy=True, hidden=40), "✎ writing, 40 characters"),
        (Live(busy=True, activity="calling tool"), "● calling tool"),
        (Live(busy=True, calls=(call({"a": 1}, status="requested"),)), "⚙ read(a=1) …"),
        (Live(busy=True, remark="Let me see."), "Let me see."),
    ],
)
def test_what_is_going_on(live: Live, line: str) -> None:
    lines = Look(colors=False).live(live, "", WIDTH, 10).splitlines()
    assert "".join(lines[:1]).startswith(line)
    assert bool(lines) == bool(line)


@pytest.mark.parametrize("colors", [False, True])
def test_one_empty_line_between_blocks(colors: bool) -> None:
    table = "| a | b |\n|---|---|\n| 1 | 2 |"
    code = "```py\nx = 1\n\n\ny = 2\n```"
    text = f"# Title\n\nOne\n\n{code}\n\n- a\n- b\n\n{table}\n\n> quote\n\n\nEnd"
    shown = re.sub(r"\x1b\[[0-9;]*m", "", Look(colors=colors).item(Said(text), WIDTH))
    lines = [re.sub("─+", "─", " ".join(line.split())) for line in shown.splitlines()]
    assert lines == [
        "Title", "", "One", "", "x = 1", "", "", "y = 2", "", "• a", "• b", "",
        "a b", "─", "1 2", "", "▌ quote", "", "End", "",
    ]  # fmt: skip


def test_code_can_be_copied() -> None:
    text = plain(Said("```py\ndef f():\n    return 1\n```"))
    assert text == "def f():\n    return 1\n\n"
