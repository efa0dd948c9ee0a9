"""The reference measures the machine and nothing of ours."""

import ast
import inspect
from itertools import pairwise

import pytest

from tests.speed import reference
from tests.speed.path import nothing_more
from tests.speed.wires import news


def test_it_uses_nothing_of_the_gateway() -> None:
    imported: set[str | None] = set()
    for node in ast.walk(ast.parse(inspect.getsource(reference))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert imported == {"asyncio", "collections", "msgspec"}


async def test_every_turn_is_the_same_work() -> None:
    work, sizes = reference.Reference(100), [0]
    for _ in range(3):
        await work.turn()
        sizes.append(work.bytes)
    lines = [after - before for before, after in pairwise(sizes)]
    assert min(lines) > 0
    assert max(lines) - min(lines) < min(lines) / 100  # seqs get longer


async def test_a_path_whose_events_do_not_arrive_is_no_fast_path() -> None:
    async with news(nothing_more) as path:
        with pytest.raises(AssertionError):
            path.check()
        assert path.prepare is not None
        await path.prepare()
        await path.turn()
        path.check()
