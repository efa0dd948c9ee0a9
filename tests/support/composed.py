"""A whole gateway in the test's own process, as `app` composes it, behind our real server."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from gateway.app import Gateway
from gateway.broker.base import Broker
from gateway.runtime.agent import Agent
from gateway.server import make_server, open_listener
from gateway.settings import Settings
from tests.support.waiting import eventually


@asynccontextmanager
async def composed(
    settings: Settings | None = None,
    *,
    agents: Mapping[str, Agent] | None = None,
    broker: Broker | None = None,
    demo: bool = False,
) -> AsyncGenerator[tuple[Gateway, str]]:
    """Gives the gateway and its URL without a scheme; at the end it drains and closes."""
    settings = settings or Settings(drain_ms=1_000)
    gateway = Gateway(settings, agents=agents, broker=broker, demo=demo)
    server = make_server(gateway.app, settings, gateway.drain, lifespan="off")
    async with gateway.running(), asyncio.TaskGroup() as group:
        listener = open_listener("127.0.0.1", 0)
        group.create_task(server._serve([listener]))  # without its signal handlers
        await eventually(lambda: server.started, what="the server has started")
        try:
            yield gateway, f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
