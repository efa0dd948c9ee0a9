"""The gate says the same wherever the text is cut, loses nothing and leaks no tag."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.runtime.gate import Gate, Preamble, Replace, Shown
from protocol.values import Kind

CALL = None  # where a call begins, in a list of pieces
Pieces = Sequence[str | None]
Parts = list[tuple[Kind, str] | None]


def fold(shown: Sequence[Shown], parts: Parts) -> None:
    """What a message holds after these, as the state's fold would do it."""
    for one in shown:
        if isinstance(one, Replace):
            old = parts[one.part]
            assert old is not None
            assert old[1] == one.text, "a replacement changes the kind, not the text"
            assert old[0] != one.kind
            parts[one.part] = (one.kind, one.text)
        elif one.part == len(parts):
            parts.append((one.kind, one.text))
        else:
            assert one.part == len(parts) - 1, "only the last part grows"
            last = parts[-1]
            assert last is not None
            assert last[0] == one.kind
            parts[-1] = (one.kind, last[1] + one.text)


def step(gate: Gate, pieces: Pieces, *, ends: bool = True, flows: bool = True) -> Parts:
    """The message's parts after a step of these pieces; a call is a part of None."""
    parts: Parts = []
    for piece in pieces:
        if piece is None:
            fold(gate.call(), parts)
            parts.append(None)
        elif flows and gate.flows(piece):
            last = parts[-1]
            assert last is not None
            parts[-1] = (last[0], last[1] + piece)
        else:
            fold(gate.feed(piece), parts)
    if ends:
        fold(gate.end(), parts)
    return parts


def joined(parts: Parts, kind: str) -> str:
    return "".join(part[1] for part in parts if part is not None and part[0] == kind)


def cuts(text: str) -> Iterator[list[str]]:
    """The text in one piece, cut at every place, and in single characters."""
    yield [text]
    for i in range(1, len(text)):
        yield [text[:i], text[i:]]
    yield list(text)


# --- the rules, by example

EXAMPLES: dict[str, tuple[dict[str, Any], Pieces, Parts]] = {
    "plain": ({}, ["Hello"], [("text", "Hello")]),
    "nothing": ({}, [""], []),
    "thinking first": (
        {},
        ["<think>Hm.</think>Yes."],
        [("thinking", "Hm."), ("text", "Yes.")],
    ),
    "tags anywhere": (
        {},
        ["One <think>a</think>two<think>b</think>"],
        [("text", "One "), ("thinking", "a"), ("text", "two"), ("thinking", "b")],
    ),
    "never closed": ({}, ["A<think>b <think> c"], [("text", "A"), ("thinking", "b <think> c")]),
    "an empty pair joins what is around it": ({}, ["a<think></think>b"], [("text", "ab")]),
    "a close tag alone was opened by the prompt": (
        {},
        ["a</think>b</think>"],
        [("thinking", "a"), ("text", "b</think>")],
    ),
    "a close tag after a pair is text": (
        {},
        ["<think>a</think>b</think>"],
        [("thinking", "a"), ("text", "b</think>")],
    ),
    "hold, and a close tag alone": (
        {"preamble": "hold"},
        ["a</think>b"],
        [("thinking", "a"), ("text", "b")],
    ),
    "a close tag that begins an open one is text": (
        {"tags": [("```think", "```")]},
        ["a ``` b"],
        [("text", "a ``` b")],
    ),
    "almost a tag": ({}, ["1 <think 2 <thin"], [("text", "1 <think 2 <thin")]),
    "a tag after its own beginning": (
        {},
        ["<<think>a</think>"],
        [("text", "<"), ("thinking", "a")],
    ),
    "opened by the prompt": (
        {"opened": True},
        ["Hm.</think>Yes."],
        [("thinking", "Hm."), ("text", "Yes.")],
    ),
    "tags of other names": (
        {"tags": [("<think>", "</think>"), ("[r]", "[/r]")]},
        ["[r]a</think>[/r]b<think>c[/r]</think>d"],
        [("thinking", "a</think>"), ("text", "b"), ("thinking", "c[/r]"), ("text", "d")],
    ),
    "no tags": ({"tags": ()}, ["<think>a</think>"], [("text", "<think>a</think>")]),
    "show, then a call": ({}, ["I look.", CALL], [("commentary", "I look."), None]),
    "text around calls": (
        {},
        ["a", CALL, "b", CALL, "c"],
        [("commentary", "a"), None, ("commentary", "b"), None, ("commentary", "c")],
    ),
    "a call ends a possible tag": ({}, ["a<thi", CALL], [("commentary", "a<thi"), None]),
    "thinking goes on after a call": (
        {},
        ["<think>a", CALL, "b</think>c"],
        [("thinking", "a"), None, ("thinking", "b"), ("commentary", "c")],
    ),
    "hold": ({"preamble": "hold"}, ["I ", "look."], [("text", "I look.")]),
    "hold, then a call": (
        {"preamble": "hold"},
        ["I look<", CALL, "."],
        [("commentary", "I look<"), None, ("commentary", ".")],
    ),
    "hold: thinking does not wait": (
        {"preamble": "hold"},
        ["a<think>b</think>c"],
        [("thinking", "b"), ("text", "ac")],
    ),
    "marker": (
        {"marker": "Final Answer:"},
        ["Thought: easy. Final Answer: 42. Final Answer: 43"],
        [("commentary", "Thought: easy. "), ("text", " 42. Final Answer: 43")],
    ),
    "without the marker the last step is the answer": (
        {"marker": "Final Answer:"},
        ["It is <think>hm</think>42"],
        [("text", "It is "), ("thinking", "hm"), ("text", "42")],
    ),
    "without the marker and with a call it is not": (
        {"marker": "Final Answer:"},
        ["Thought", CALL, "!"],
        [("commentary", "Thought"), None, ("commentary", "!")],
    ),
    "the marker before a call": (
        {"marker": "Final Answer:"},
        ["Hm. Final Answer: 1", CALL],
        [("commentary", "Hm. "), ("commentary", " 1"), None],
    ),
    "no marker in thinking": (
        {"marker": "Final Answer:"},
        ["<think>Final Answer:</think>x Final Answer:y"],
        [("thinking", "Final Answer:"), ("commentary", "x "), ("text", "y")],
    ),
    "hold with a marker": (
        {"marker": "Final Answer:", "preamble": "hold"},
        ["Hm. Final Answer:1", CALL],
        [("commentary", "Hm. 1"), None],
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str) -> None:
    options, pieces, expected = EXAMPLES[name]
    assert step(Gate(**options), pieces) == expected


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("flows", [True, False])
def test_example_cut_anywhere(name: str, flows: bool) -> None:
    options, pieces, expected = EXAMPLES[name]
    for i, piece in enumerate(pieces):
        for cut in cuts(piece) if piece else ():
            all_ = [*pieces[:i], *cut, *pieces[i + 1 :]]
            assert step(Gate(**options), all_, flows=flows) == expected


def test_what_flows_on_and_what_does_not() -> None:
    gate = Gate()
    assert not gate.flows("a"), "of which kind it is nobody has asked yet"
    gate.feed("a")
    assert gate.flows("b")
    assert not gate.flows("b<"), "perhaps a tag"
    gate.feed("b<")
    assert not gate.flows("i>")
    gate.feed("i>")
    gate.feed("c")
    assert gate.flows("d")
    gate.think("e")
    assert not gate.flows("f")
    gate.feed("f")
    assert gate.call() == [Replace(0, "commentary", "abb<i>cd"), Replace(2, "commentary", "f")]
    assert not gate.flows("g")


def test_show_streams_text_at_once_and_replaces_it_before_the_call() -> None:
    gate = Gate()
    parts: Parts = []
    fold(gate.feed("I look."), parts)
    assert parts == [("text", "I look.")]
    assert gate.call() == [Replace(0, "commentary", "I look.")]
    assert gate.call() == [], "the second call has nothing to replace"


def test_hold_says_nothing_before_the_end() -> None:
    gate = Gate(preamble="hold")
    assert gate.feed("The secret") == []
    assert gate.feed(" plan") == []


def test_commentary_before_a_marker_is_not_held() -> None:
    gate = Gate(preamble="hold", marker="ANSWER")
    assert step(gate, ["Let me see. ANSWER 42"], ends=False) == [("commentary", "Let me see. ")]


def test_reasoning_of_its_own_field() -> None:
    gate = Gate()
    parts: Parts = []
    fold(gate.think("a <think> b"), parts)
    fold(gate.think(""), parts)
    fold(gate.feed("c<th"), parts)
    fold(gate.think("d"), parts)
    fold(gate.feed("is>"), parts)
    fold(gate.end(), parts)
    assert parts == [
        ("thinking", "a <think> b"),
        ("text", "c"),
        ("thinking", "d"),
        ("text", "<this>"),
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"tags": [("", "x")]},
        {"tags": [("x", "")]},
        {"marker": ""},
        {"tags": [("<a", "</a"), ("<a>", "</a>")]},
        {"tags": [("<a>", "</a>"), ("<a>", "</b>")]},
        {"marker": "<think>!"},
    ],
)
def test_impossible_tokens(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="tag"):
        Gate(**options)


# --- every text, every cut

# One of them stands inside another.
TAGS = [("<t>", "</t>"), ("<<t>u", "u>>")]
TOKENS: dict[str, Any] = {"tags": TAGS, "marker": "<A:"}
texts = st.lists(
    st.sampled_from(
        ["<t>", "</t>", "<<t>u", "u>>", "<A:", "<", "t", ">", "/", "u", "A", ":", " ", "é"]
    ),
    max_size=25,
).map("".join)
preambles: st.SearchStrategy[Preamble] = st.sampled_from(["show", "hold"])


def reference(text: str, *, called: bool) -> dict[str, str]:
    """What each kind holds in the end, worked out over the whole text at once."""
    kinds = {"text": "", "commentary": "", "thinking": ""}
    marked = False
    unopened = True
    position = 0
    while position < len(text):
        found = r"<<t>u|<t>" + ("" if marked else "|<A:") + ("|</t>|u>>" if unopened else "")
        match = re.compile(found).search(text, position)
        end = match.start() if match else len(text)
        kinds["text" if marked and not called else "commentary"] += text[position:end]
        if match is None:
            break
        position = match.end()
        unopened = False
        if match.group() in ("</t>", "u>>"):  # its open tag stood in the prompt
            kinds["thinking"] = kinds["commentary"] + kinds["text"]
            kinds["commentary"] = kinds["text"] = ""
            continue
        if match.group() == "<A:":
            marked = True
            continue
        close = {"<t>": "</t>", "<<t>u": "u>>"}[match.group()]
        end = text.find(close, position)
        end = end if end >= 0 else len(text)
        kinds["thinking"] += text[position:end]
        position = end + len(close)
    if not marked and not called:
        kinds["text"], kinds["commentary"] = kinds["commentary"], ""
    return kinds


@given(texts, preambles, st.booleans())
def test_each_kind_holds_what_the_whole_text_says(
    text: str, preamble: Preamble, called: bool
) -> None:
    parts = step(Gate(preamble=preamble, **TOKENS), [text, *([CALL] if called else [])])
    assert {k: joined(parts, k) for k in ("text", "commentary", "thinking")} == reference(
        text, called=called
    )


@given(texts, preambles, st.booleans(), st.data())
def test_the_cut_does_not_matter(
    text: str, preamble: Preamble, called: bool, data: st.DataObject
) -> None:
    tail: list[str | None] = [CALL, "after"] if called else []
    whole = step(Gate(preamble=preamble, **TOKENS), [text, *tail])
    for cut in cuts(text):
        assert step(Gate(preamble=preamble, **TOKENS), [*cut, *tail]) == whole
    places = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    assert step(Gate(preamble=preamble, **TOKENS), [*pieces, *tail]) == whole


@given(texts, st.sampled_from([None, "<A:"]))
def test_only_a_possible_beginning_waits(text: str, marker: str | None) -> None:
    gate = Gate(tags=TAGS, marker=marker)
    tokens = ["<t>", "</t>", "<<t>u", "u>>", "<A:"]
    length = 0
    for i, character in enumerate(text):
        length += sum(len(one.text) for one in gate.feed(character))
        assert text[: i + 1].endswith(gate.pending)
        assert not gate.pending or any(
            t != gate.pending and t.startswith(gate.pending) for t in tokens
        )
    whole = sum(len(one.text) for one in Gate(tags=TAGS, marker=marker).feed(text))
    assert length == whole


@given(texts)
def test_a_held_step_shows_no_text_before_its_end(text: str) -> None:
    gate = Gate(preamble="hold", **TOKENS)
    assert joined(step(gate, list(text), ends=False), "text") == ""
