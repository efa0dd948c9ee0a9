"""Ids: unguessable, of the protocol's alphabet, and derived ones the same again."""

import re

from gateway.sessions.ids import derived_id, random_id

ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def test_random_ids_differ() -> None:
    ids = {random_id("r") for _ in range(1000)}
    assert len(ids) == 1000
    assert all(ID.fullmatch(i) and i.startswith("r_") for i in ids)


def test_derived_ids_depend_on_every_part() -> None:
    assert derived_id("s", "a", "b") == derived_id("s", "a", "b")
    parts = [("a", "b"), ("ab",), ("a", "b", ""), ("b", "a"), ("a\0b",), ("", "a", "b")]
    ids = {derived_id("s", *p) for p in parts}
    # a NUL cannot stand in a part: names are percent-encoded, ids have their alphabet
    assert len(ids) == len(parts) - 1
    assert all(ID.fullmatch(i) for i in ids)
