from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import MAX_SEQ, values
from protocol.values import time_seconds, time_text

moments = st.integers(0, 4_102_444_800_000)  # until 2100, in ms


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1767225600.001, "2026-01-01T00:00:00.001Z"),
        (1767225600.9999, "2026-01-01T00:00:00.999Z"),
        (951782400, "2000-02-29T00:00:00.000Z"),
    ],
)
def test_a_time_is_rfc_3339_with_milliseconds(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


@given(st.floats(0, 4_102_444_800) | st.integers(0, 10**9).map(lambda s: s + 0.9999999))
def test_a_time_is_the_one_that_datetime_makes(seconds: float) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)
    made = datetime.fromisoformat(time_text(seconds))
    assert made == moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@given(moments)
def test_times_come_back(ms: int) -> None:
    text = time_text(ms / 1000)
    assert time_seconds(text) == ms / 1000
    assert time_text(time_seconds(text)) == text


@given(moments, moments)
def test_times_sort_as_text(one: int, other: int) -> None:
    texts = time_text(one / 1000), time_text(other / 1000)
    assert (texts[0] < texts[1]) == (one < other)


def test_a_time_of_another_zone_is_understood() -> None:
    assert time_seconds("2026-01-01T01:00:00.000+01:00") == time_seconds("2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (values.Id, ["a", "A-_9", "x" * 64], ["", "x" * 65, "a\n", "é", "a.b"]),
        (values.Name, ["a", "pkg.mod:attr", "a/b@2-c"], ["", "a b", "x" * 129, "a\n", "<a>"]),
        (values.Seq, [0, 1, MAX_SEQ], [-1, MAX_SEQ + 1, True, 1.0, "1"]),
        (values.Index, [0, 65_535], [-1, 65_536]),
        (values.Number, [0, 2.5, -MAX_SEQ], [MAX_SEQ + 1, "1", None]),
    ],
)
def test_bounds(kind: object, good: list[object], bad: list[object]) -> None:
    for value in good:
        assert msgspec.convert(value, kind) == value
    for value in bad:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(value, kind)


def test_an_id_pattern_is_linear() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert("a" * 10**6 + "!", values.Id)


def test_parts_are_told_apart_by_kind() -> None:
    for part in (values.TextPart("a"), values.DataPart("n", None), values.HIDDEN):
        encoded = msgspec.json.encode(part)
        assert msgspec.json.decode(encoded, type=values.Part) == part
    assert msgspec.json.encode(values.DataPart("n", None)).endswith(b'"value":null}')


def test_a_tool_has_defaults() -> None:
    tool = msgspec.convert({"name": "t", "parameters": {}}, values.Tool)
    assert (tool.lease_ms, tool.timeout_ms) == (15_000, 120_000)
    assert not tool.approval
    assert not tool.idempotent
    assert msgspec.to_builtins(tool) == {"name": "t", "parameters": {}}
