"""Whatever a text is and however it grows: nothing is lost, and no block changes afterwards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.chat.blocks import LONGEST, Blocks, paragraphs


def grown(text: str, sizes: list[int]) -> list[str]:
    """What is given while the text grows by so many characters, and at its end."""
    blocks, given_so_far, at = Blocks(), list[str](), 0
    for size in sizes:
        at += size
        given_so_far.append(blocks.take(text[:at]))
    return [*given_so_far, blocks.take(text, closed=True)]


@given(
    st.lists(st.sampled_from(["one", "\n", "\n\n", "```", "~~~~", "- a", " "])).map("".join),
    st.lists(st.integers(1, 9)),
)
def test_nothing_is_lost(text: str, sizes: list[int]) -> None:
    assert "".join(grown(text, sizes)) == text


def test_a_block_ends_at_an_empty_line() -> None:
    blocks = Blocks()
    assert blocks.take("One\ntwo") == ""
    assert blocks.rest("One\ntwo") == "One\ntwo"
    assert blocks.take("One\ntwo\n\nthr") == "One\ntwo\n\n"
    assert blocks.rest("One\ntwo\n\nthr") == "thr"
    assert blocks.take("One\ntwo\n\nthree", closed=True) == "three"
    assert blocks.rest("One\ntwo\n\nthree") == ""


@pytest.mark.parametrize(("marker", "inside"), [("```", "~~~"), ("~~~", "```"), ("````", "```")])
def test_a_fence_is_one_block(marker: str, inside: str) -> None:
    blocks = Blocks()
    fenced = f"{marker}py\na = 1\n\n{inside}\n\nb = 2\n"
    assert blocks.take(fenced) == ""
    whole = f"{fenced}{marker}\n\n"
    assert blocks.take(f"{whole}After") == whole


def test_a_long_fence_is_closed_and_opened_again() -> None:
    blocks = Blocks()
    lines = "".join(f"line {number}\n" for number in range(LONGEST // 6))
    text = f"```py\n{lines}"
    first = blocks.take(text)
    assert first.startswith("```py\nline 0\n")
    assert first.endswith("\n```\n")
    assert blocks.rest(text).startswith("```py\nline ")
    rest = blocks.take(f"{text}```\n", closed=True)
    assert rest.startswith("```py\nline ")
    shown = [line for line in (first + rest).splitlines() if line.startswith("line")]
    assert shown == lines.splitlines()


@pytest.mark.parametrize("text", ["word " * LONGEST, "x" * 3 * LONGEST, "line\n" * LONGEST])
def test_a_long_paragraph_does_not_wait_for_its_end(text: str) -> None:
    blocks = Blocks()
    pieces: list[str] = []
    while piece := blocks.take(text):
        pieces.append(piece)
    assert all(len(piece) <= LONGEST for piece in pieces)
    assert "".join(pieces) + blocks.rest(text) == text


def test_blocks_each_for_itself() -> None:
    text = "\n\nOne\ntwo\n\n\n```\na\n\nb\n```\n \nThree"
    assert paragraphs(text) == ["One\ntwo\n\n", "```\na\n\nb\n```\n \n", "Three"]
    assert paragraphs(" \n\n") == []
