"""docs/protocol.md is complete and right: its tables are those of the code."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from protocol.codes import CLOSES, ERRORS
from protocol.commands import SubscriptionOptions
from protocol.model import Approval, Call, Message, Run
from protocol.state import State
from protocol.values import Part, Tool
from tests.support.values import DOWN, EVENTS, UP, tag

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "protocol.md").read_text()
_FIELD = re.compile(r"`(\w+)`(\??)")
PRIVATE = "provider"


def rows(heading: str) -> dict[str, list[str]]:
    """First cell, without backticks -> the other cells, of all tables under a heading."""
    section = TEXT.split(f"\n## {heading}")[1].split("\n## ")[0]
    found: dict[str, list[str]] = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and set(cells[0]) != {"-"}:
            found[cells[0].strip("`")] = cells[1:]
    return found


def documented(cell: str) -> dict[str, bool]:
    """Field -> whether it is optional."""
    return {name: bool(mark) for name, mark in _FIELD.findall(cell)}


def fields(struct: Any, *but: str) -> dict[str, bool]:
    return {
        f.encode_name: not f.required
        for f in msgspec.structs.fields(struct)
        if f.encode_name not in (*but, PRIVATE)
    }


@pytest.mark.parametrize("struct", UP, ids=tag)
def test_frames_up(struct: type) -> None:
    assert documented(rows("2. Frames up")[tag(struct)][0]) == fields(struct)


@pytest.mark.parametrize("struct", DOWN, ids=tag)
def test_frames_down(struct: type) -> None:
    assert documented(rows("3. Frames down")[tag(struct)][0]) == fields(struct)


@pytest.mark.parametrize("struct", EVENTS, ids=tag)
def test_events(struct: type) -> None:
    assert documented(rows("5. Events")[tag(struct)][0]) == fields(struct, "time")


def test_no_table_names_what_there_is_not() -> None:
    assert rows("2. Frames up").keys() - {tag(s) for s in UP} == {
        *("frame", "field", "name", "parameters", "description`?", "approval`?", "lease_ms`?"),
        *("timeout_ms`?", "idempotent`?", "if_busy", "reject", "enqueue", "interrupt", "steer"),
    }
    assert rows("3. Frames down").keys() - {tag(s) for s in DOWN} == {"frame"}
    assert rows("5. Events").keys() - {tag(s) for s in EVENTS} == {"event"}


def test_subscriptions_and_tools() -> None:
    for heading, struct in (("4. Subscription", SubscriptionOptions), ("2. Frames up", Tool)):
        named = {name for row in rows(heading) for name in re.findall(r"\w+", row)}
        assert set(fields(struct)) - {"session"} <= named


@pytest.mark.parametrize(
    ("name", "struct"),
    [("message", Message), ("run", Run), ("call", Call), ("approval", Approval)],
)
def test_the_values_of_the_state(name: str, struct: type) -> None:
    assert documented(rows("6. State")[name][0]) == fields(struct)


def test_the_state_is_always_whole() -> None:
    assert documented(rows("6. State")["state"][0]) == dict.fromkeys(fields(State), False)


@pytest.mark.parametrize("part", Part.__args__, ids=lambda p: p.__struct_config__.tag)
def test_parts(part: Any) -> None:
    assert documented(rows("6. State")[part.__struct_config__.tag][0]) == fields(part)


def test_error_codes() -> None:
    table = rows("9. Error codes")
    del table["code"]
    assert table == {
        code: ["yes" if row.retryable else "no", str(row.http_status), row.text]
        for code, row in ERRORS.items()
    }


def test_close_codes() -> None:
    table = rows("10. Close codes")
    del table["code"]
    assert table == {
        str(code): ["yes" if row.final else "no", row.text] for code, row in CLOSES.items()
    }


def test_links_lead_somewhere() -> None:
    for page in ("protocol.md", "glossary.md"):
        for target in re.findall(r"\]\(([^)#]+)", (DOCS / page).read_text()):
            assert (DOCS / target).exists(), target
