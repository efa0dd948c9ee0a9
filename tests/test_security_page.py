"""docs/security.md has every limit, with its default, and names tests that are there."""

import dataclasses
import inspect
import re
from pathlib import Path
from typing import get_type_hints

import pytest

from gateway.settings import DELIVERY, Settings, WorkerSettings
from tests.faults.test_reliability_page import TEST, names_in

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "security.md").read_text()
LIMIT = re.compile(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|([^|]*)\|$", re.MULTILINE)
LIMITS = {name: default for name, default, _, _ in LIMIT.findall(TEXT)}


def of_delivery() -> dict[str, object]:
    """The settings that `--help` lists as limits -> their defaults."""
    hints = get_type_hints(Settings, include_extras=True)
    return {
        field.name: field.default
        for field in dataclasses.fields(Settings)
        if DELIVERY in getattr(hints[field.name], "__metadata__", ())
    }


def told_by_help(name: str) -> str:
    """The number after `[default: ` in what explains the setting; empty if there is none."""
    source = "".join(inspect.getsource(kind) for kind in (WorkerSettings, Settings))
    _, _, after = source.partition(f"    {name}: ")
    found = re.match(r'[^"]*"""[^"]*\[default:\s+(\d+)', after)
    return found[1] if found else ""


def test_every_limit_is_in_the_table() -> None:
    assert LIMITS.keys() == of_delivery().keys()


@pytest.mark.parametrize("name", of_delivery())
def test_its_default_is_the_real_one(name: str) -> None:
    default = of_delivery()[name]
    number = told_by_help(name) if default is None else str(default)
    if number:
        assert re.match(rf"{int(number):,}(?!\S*\d)", LIMITS[name]), number
    else:
        assert LIMITS[name].strip()


def test_the_tests_that_it_names_are_there() -> None:
    named = TEST.findall(TEXT)
    assert named
    for place, name in named:
        assert name in names_in(ROOT / "tests" / place), f"{place}::{name}"
