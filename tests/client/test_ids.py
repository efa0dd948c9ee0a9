"""Ids that a client makes."""

import re

from gateway.client.ids import make_id


def test_ids_are_random_and_of_the_alphabet_of_the_wire() -> None:
    ids = {make_id("k") for _ in range(1_000)}
    assert len(ids) == 1_000
    assert all(re.fullmatch(r"k_[A-Za-z0-9_-]{21}", one) for one in ids)
