"""Ids that a client makes: random, never counted (docs/protocol.md). Nothing else is made here."""

import secrets
from collections.abc import Callable
from typing import TypeAlias

MakeId: TypeAlias = Callable[[str], str]
"""Gives a new id that begins with the prefix it gets, `_` in between."""


def make_id(prefix: str) -> str:
    """An id of 126 random bits after `prefix_`, of the alphabet that the wire allows."""
    return f"{prefix}_{secrets.token_urlsafe(16)[:21]}"
