"""Whatever an agent hands over becomes plain JSON, or an error that says what is wrong."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.runtime.failures import NotJsonError
from gateway.runtime.plain import MAX_DELTA_BYTES, clean, pieces, plain
from protocol.values import TextPart

any_text = st.text(st.characters(exclude_categories=[]))


@given(any_text)
def test_clean_text_can_be_encoded(text: str) -> None:
    clean(text).encode()


@given(st.text())
def test_good_text_stays(text: str) -> None:
    assert clean(text) == text


def test_two_halves_that_meet_are_joined() -> None:
    assert clean("\ud83d" + "\ude00!") == "😀!"
    assert clean("a\ud83d!") == "a\ufffd!"


@given(any_text.map(clean), st.integers(1, 5))
def test_pieces_are_small_and_whole(text: str, times: int) -> None:
    text *= times * 2000
    cut = pieces(text)
    assert "".join(cut) == text
    assert all(len(p.encode()) <= MAX_DELTA_BYTES for p in cut)


@dataclass
class Point:
    x: int


def test_values_of_libraries_become_json() -> None:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    value = {"part": TextPart("a\ud800"), 5: Point(1), "t": (1, 2.5, None, True), "when": when}
    assert plain(value) == {
        "part": {"kind": "text", "text": "a\ufffd"},
        "5": {"x": 1},
        "t": [1, 2.5, None, True],
        "when": "2026-01-01T00:00:00Z",
    }


def test_nothing_mutable_is_shared() -> None:
    inner = [1]
    given_value = {"a": inner}
    kept = plain(given_value)
    inner.append(2)
    assert kept == {"a": [1]}


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 0


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"a": [1.0, float("nan")]}, "output.a[1] is nan"),
        (float("-inf"), "output is -inf"),
        ({"n": 2**64}, "output.n is an integer of more than 64 bits"),
        (nested(100), "nested deeper than 64"),
        ({"f": object()}, "output has no JSON form"),
    ],
)
def test_what_json_cannot_hold_is_refused(value: Any, problem: str) -> None:
    with pytest.raises(NotJsonError) as caught:
        plain(value, "output")
    assert problem in str(caught.value)


class Word(str):
    __slots__ = ()


class Count(int):
    pass


class Share(float):
    pass


def test_texts_and_numbers_of_a_librarys_own_kind() -> None:
    kept = plain({"word": Word("a\ud800"), "count": Count(3), "share": Share(0.5)})
    assert kept == {"word": "a\ufffd", "count": 3, "share": 0.5}
    assert [type(value) for value in kept.values()] == [str, int, float]
    assert type(clean(Word("a"))) is str


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(NotJsonError, match="must be a str, not bytes"):
        clean(b"a")  # type: ignore[arg-type]


def test_bytes_are_base64() -> None:
    assert plain(b"\xff") == "/w=="


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | any_text,
    lambda inner: st.lists(inner) | st.dictionaries(any_text, inner),
    max_leaves=8,
)


@given(json_values)
def test_what_passes_survives_the_log(value: Any) -> None:
    try:
        kept = plain(value)
    except NotJsonError:
        return
    assert msgspec.json.decode(msgspec.json.encode(kept)) == kept
