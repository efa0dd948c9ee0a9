"""The values between what happens and what is seen: nothing in them is seen by itself."""

from typing import get_args

from gateway.cli.chat.items import Item, Live, Note
from gateway.cli.chat.look import Look


def test_nothing_going_on_takes_no_line() -> None:
    assert Look(colors=False).live(Live(), "", 80, 10) == ""


def test_items_are_frozen_values() -> None:
    assert all(kind.__struct_config__.frozen for kind in get_args(Item))
    assert Note("a") == Note("a", "dim")
