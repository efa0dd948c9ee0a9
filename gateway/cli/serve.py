"""The commands that run: `serve`, `demo` and `worker`; each until SIGTERM or Ctrl-C.

What a process consists of is `app`'s business, how it speaks HTTP `server`'s; here it is started,
told where it listens, and ended.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
import uvloop

from gateway import __version__
from gateway.app import Gateway, GatewayWorker
from gateway.cli.listener import http_url, listen
from gateway.cli.processes import CANNOT_START, SIGNALS, Supervisor
from gateway.cli.watchdog import Watchdog
from gateway.delivery.resources import raise_descriptor_limit
from gateway.errors import GatewayError
from gateway.server import Asked, make_server
from gateway.settings import LIST, PROCESS, RUNS, Millis, Settings, WorkerSettings
from gateway.telemetry import configure_logging

log = structlog.stdlib.get_logger("gateway.cli")

END_S = 10.0
"""How much longer than `drain_ms` an end may take before it is forced."""

DEMO_AGENTS = ("demo", "echo", "scripted")


@dataclass(frozen=True, kw_only=True)
class DemoSettings(Settings):
    """`serve`, with agents that have something to show and a quick end."""

    agents: Annotated[tuple[str, ...], RUNS, LIST] = DEMO_AGENTS
    """Built-in names or `package.module:attribute`; comma-separated, repeatable."""

    drain_ms: Annotated[Millis, PROCESS] = 1_000
    """How long a process that was told to end may take for it."""


def serve(settings: Settings | None = None) -> int:
    """Serve clients, and run agents unless told not to.

    **Examples**

        agent-gateway serve --agents research:researcher

        agent-gateway serve --broker redis://127.0.0.1:6379/0 --no-runs --port 8001

        AGENT_GATEWAY_AUTH_SECRET=… agent-gateway serve --host 0.0.0.0 --auth jwt
    """
    return _serve(settings or Settings(), demo=False)


def demo(settings: DemoSettings | None = None) -> int:
    """Serve the demo page with the agents demo, echo and scripted, and print its URL.

    **Examples**

        agent-gateway demo

        agent-gateway demo --port 9000 --agents demo,research:researcher
    """
    return _serve(settings or DemoSettings(), demo=True)


def worker(settings: WorkerSettings | None = None) -> int:
    """Run agents for gateways that share its broker; listens nowhere.

    **Examples**

        agent-gateway worker --broker redis://127.0.0.1:6379/0 --agents research:researcher
    """
    settings = settings or WorkerSettings()
    configure_logging(settings.log_level, settings.log_format)
    gateway = GatewayWorker(settings)

    async def work(watchdog: Watchdog) -> None:
        ending = asyncio.Event()
        loop = asyncio.get_running_loop()

        def end() -> None:
            watchdog.end_within(gateway.drain_s + END_S)
            loop.call_soon_threadsafe(ending.set)

        asked = Asked(end)
        for number in SIGNALS:
            signal.signal(number, asked)
        async with gateway.running():
            # not the URL of the broker: it may hold a password
            log.info("worker_started", agents=sorted(gateway.agents))
            await ending.wait()
            log.info("worker_ending")

    return _run(work, gateway)


def _serve(settings: Settings, *, demo: bool) -> int:
    configure_logging(settings.log_level, settings.log_format)
    raise_descriptor_limit()
    listener = listen(settings.host, settings.port, any_port=demo)

    def process(parent_gone: int | None = None) -> int:
        try:
            gateway = Gateway(settings, demo=demo)

            async def serving(watchdog: Watchdog) -> None:
                await _until_told(gateway, listener, parent_gone, watchdog)

            return _run(serving, gateway)
        except GatewayError as error:
            if parent_gone is None:
                raise
            print(f"agent-gateway: {error}", file=sys.stderr)
            return CANNOT_START

    with listener:
        if settings.processes == 1:
            return process()
        # While the children drain nobody may be let in by the parent's copy of the socket.
        return Supervisor(process, settings.processes, ending=listener.close).run()


async def _until_told(
    gateway: Gateway, listener: socket.socket, parent_gone: int | None, watchdog: Watchdog
) -> None:
    server = make_server(
        gateway.app,
        gateway.settings,
        gateway.drain,
        ending=lambda: watchdog.end_within(gateway.drain_s + END_S),
        lifespan="off",
    )
    loop = asyncio.get_running_loop()
    # Until the server has handlers of its own; afterwards it raises what it got once more.
    for number in SIGNALS:
        signal.signal(number, server.handle_exit)
    if parent_gone is not None:

        def orphaned() -> None:
            loop.remove_reader(parent_gone)
            os.kill(os.getpid(), signal.SIGTERM)

        loop.add_reader(parent_gone, orphaned)
    async with gateway.running():
        url = http_url(listener)
        log.info("gateway_started", url=url, version=__version__, agents=sorted(gateway.agents))
        if gateway.demo:
            print(url, flush=True)
        await server.serve(sockets=[listener])


def _run(main: Callable[[Watchdog], Coroutine[Any, Any, None]], gateway: GatewayWorker) -> int:
    async def watched() -> None:
        watchdog.beat()
        await main(watchdog)

    lag = gateway.metrics.loop_lag_seconds.observe
    with (
        Watchdog(gateway.stall_s, lag) as watchdog,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(watched())
    return 0
