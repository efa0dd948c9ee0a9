"""What the tests of the chat share: a gateway, and clients that surely end."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeAlias

import pytest

from gateway.client import AsyncClient
from tests.conftest import StartGateway
from tests.support.processes import GatewayProcess

Join: TypeAlias = Callable[[GatewayProcess], Awaitable[AsyncClient]]


@pytest.fixture
async def served(gateway: StartGateway) -> GatewayProcess:
    """One gateway in memory, with agents that do as they are told."""
    return await gateway("--agents", "echo,scripted", "--drain-ms", "200")


@pytest.fixture
async def join() -> AsyncIterator[Join]:
    """`await join(process)` gives a connected client; it is closed at the end."""
    async with AsyncExitStack() as stack:

        async def connected(process: GatewayProcess) -> AsyncClient:
            return await stack.enter_async_context(AsyncClient(process.http_url))

        yield connected
