"""What the tests of the client share: a client that surely ends, and a gateway it can lose."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import pytest

from gateway.client.client import AsyncClient
from tests.conftest import StartGateway
from tests.support.processes import GatewayProcess

Join: TypeAlias = Callable[..., Awaitable[AsyncClient]]

AGENTS = ("--agents", "scripted,echo")


@pytest.fixture
async def served(gateway: StartGateway) -> GatewayProcess:
    """One gateway in memory."""
    return await gateway(*AGENTS)


@pytest.fixture
async def join() -> AsyncIterator[Join]:
    """`await join(process)` gives a connected client; it is closed at the end."""
    async with AsyncExitStack() as stack:

        async def connected(process: GatewayProcess, **options: Any) -> AsyncClient:
            return await stack.enter_async_context(AsyncClient(process.http_url, **options))

        yield connected
