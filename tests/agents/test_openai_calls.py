"""Which call a piece belongs to, however an endpoint numbers and names them."""

from typing import Any

import pytest

from gateway.agents.openai_calls import (
    MAX_CALLS,
    CallArguments,
    CallAssembly,
    CallDelta,
    CallExtra,
    CallRepeated,
    CallStarted,
    TooManyCalls,
    is_object,
)


def piece(arguments: Any = None, name: str | None = None, **fields: Any) -> dict[str, Any]:
    function = {"arguments": arguments} | ({} if name is None else {"name": name})
    return {**fields, "function": function}


def assembled(*pieces: dict[str, Any]) -> list[tuple[str, str]]:
    """The calls as (name, arguments), when all pieces have come."""
    calls: dict[int, tuple[str, str]] = {}
    for one in deltas(*pieces):
        match one:
            case CallStarted(index=index, name=name):
                calls[index] = (name, "")
            case CallArguments(index=index, text=text):
                calls[index] = (calls[index][0], calls[index][1] + text)
            case CallRepeated(index=index, text=text):
                calls[index] = (calls[index][0], text)
            case CallExtra():
                pass
    return list(calls.values())


def deltas(*pieces: dict[str, Any]) -> list[CallDelta]:
    assembly = CallAssembly()
    return [delta for one in pieces for delta in assembly.feed(one)]


PARIS, ROME = '{"city":"Paris"}', '{"city":"Rome"}'
FIRST, LAST = '{"city":', '"Paris"}'


@pytest.mark.parametrize("id_", [{}, {"id": ""}, {"id": None}])
def test_parallel_calls_in_one_place_without_ids(id_: dict[str, Any]) -> None:
    """A3 and F13: a piece with a name, where the arguments are whole, is a new call."""
    both = piece(PARIS, "f", index=0, **id_), piece(ROME, "f", index=0, **id_)
    assert assembled(*both) == [("f", PARIS), ("f", ROME)]
    others = piece(PARIS, "f", index=0, **id_), piece(FIRST, "g", index=0, **id_)
    assert assembled(*others, piece(LAST, index=0)) == [("f", PARIS), ("g", PARIS)]
    assert assembled(piece(PARIS, "f"), piece(ROME, "f")) == [("f", PARIS), ("f", ROME)]


def test_a_signature_that_comes_later_is_told() -> None:
    """A4."""
    extra = {"extra_content": {"google": {"thought_signature": "S"}}}
    told = deltas(piece(PARIS, "f", index=0), {"index": 0, **extra})
    assert told[-1] == CallExtra(0, extra)
    told = deltas(piece(FIRST, "f", index=0, a=1), piece(LAST, index=0, b=2))
    assert told[-2:] == [CallExtra(0, {"a": 1, "b": 2}), CallArguments(0, LAST)]


@pytest.mark.parametrize(
    "again",
    [piece(PARIS, "f", index=0, id="a"), piece(PARIS, index=0), piece({"city": "Paris"}, index=0)],
)
def test_arguments_that_come_twice_count_once(again: dict[str, Any]) -> None:
    """A14."""
    ((name, arguments),) = assembled(piece(PARIS, "f", index=0, id="a"), again)
    assert (name, arguments.replace(" ", "")) == ("f", PARIS)
    pieces = piece(FIRST, "f", index=0, id="a"), piece(LAST, index=0)
    ((name, arguments),) = assembled(*pieces, again)
    assert (name, arguments.replace(" ", "")) == ("f", PARIS)


def test_a_placeholder_gives_way() -> None:
    """A14: `{}` first, the real arguments after it."""
    assert assembled(piece("{}", "f", id="a"), piece(PARIS, "f", id="a")) == [("f", PARIS)]
    assert assembled(piece("{}", "f", index=0), piece(PARIS, "f", index=0)) == [("f", PARIS)]


def test_a_fresh_id_and_name_in_each_piece() -> None:
    """A15: what is no whole JSON goes on, with a number and without."""
    for place in ({"index": 0}, {"index": 0, "type": "function"}):
        pieces = [
            piece(text, "f", id=f"x{n}", **place) for n, text in enumerate(('{"ci', 'ty":', LAST))
        ]
        assert assembled(*pieces) == [("f", PARIS)]
    assert assembled(piece(FIRST, "f"), piece(LAST, "f")) == [("f", PARIS)]


def test_names_and_arguments_wherever_they_stand() -> None:
    flat = {"index": 0, "id": "a", "name": "f", "arguments": PARIS}
    custom = {"index": 0, "id": "a", "custom": {"name": "f", "input": "Paris"}}
    assert assembled(flat) == [("f", PARIS)]
    assert assembled(custom) == [("f", "Paris")]
    assert assembled(piece(FIRST, index=0), piece(LAST, "f", index=0)) == [("f", PARIS)]


def test_the_number_may_come_late_or_be_none() -> None:
    assert assembled(piece(FIRST, "f", id="a"), piece(LAST, index=0)) == [("f", PARIS)]
    assert assembled(piece("", "f", id="a"), piece(PARIS, index=0, id="a")) == [("f", PARIS)]
    assert assembled(piece(FIRST, "f", index="0"), piece(LAST, index=None)) == [("f", PARIS)]


def test_a_call_without_a_name_is_not_told() -> None:
    """A16."""
    assembly = CallAssembly()
    assert list(assembly.feed(piece("", "", index=0, id=""))) == []
    assert (assembly.started, assembly.nameless) == (False, False)
    assert list(assembly.feed(piece(PARIS, "", index=0))) == []
    assert (assembly.started, assembly.nameless) == (False, True)


def test_calls_without_end_are_refused() -> None:
    """S15."""
    assembly = CallAssembly()
    for n in range(MAX_CALLS):
        list(assembly.feed(piece("{}", "f", index=n)))
    with pytest.raises(TooManyCalls, match=str(MAX_CALLS)):
        list(assembly.feed(piece("{}", "f", index=MAX_CALLS)))


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "[" * 100_000])
def test_what_is_no_object(text: str) -> None:
    assert not is_object(text)
