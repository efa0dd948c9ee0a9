"""What the tests of delivery share."""

from collections.abc import AsyncIterator

import pytest

from tests.support.inprocess import InProcess, in_process


@pytest.fixture
async def inside() -> AsyncIterator[InProcess]:
    async with in_process() as inside:
        yield inside
