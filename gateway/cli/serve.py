"""The commands that run: `serve`, `demo` and `worker`; each until SIGTERM or Ctrl-C.

What a process consists of is `app`'s business, how it speaks HTTP `server`'s; here it is started,
told where it listens, and ended. Their help is in `words`.
"""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

import structlog
import uvloop

from gateway import __version__
from gateway.app import Gateway, GatewayWorker
from gateway.cli.listener import admin_listeners, http_url, listen
from gateway.cli.options import Read
from gateway.cli.processes import CANNOT_START, SIGNALS, Supervisor
from gateway.cli.reload import Configuration, heed, keep_waiting
from gateway.cli.watchdog import Watchdog
from gateway.delivery.resources import raise_descriptor_limit
from gateway.errors import ConfigurationError, GatewayError
from gateway.server import Asked, beside, make_server
from gateway.settings import (
    LIST,
    PROCESS,
    RUNS,
    Millis,
    Settings,
    WorkerSettings,
    is_loopback,
)
from gateway.telemetry import Metrics, configure_logging

log = structlog.stdlib.get_logger("gateway.cli")

S = TypeVar("S", bound=WorkerSettings)
T = TypeVar("T", bound=Settings)

END_S = 10.0
"""How much longer than `drain_ms` an end may take before it is forced."""

GARBAGE_LIMIT = 10_000
"""So many objects more than before, then the collector looks at the newest (default: 700)."""

DEMO_AGENTS = ("demo", "echo", "scripted")


@dataclass(frozen=True, kw_only=True)
class DemoSettings(Settings):
    """`serve`, with agents that have something to show and a quick end."""

    agents: Annotated[tuple[str, ...], RUNS, LIST] = DEMO_AGENTS
    """Built-in names or `package.module:attribute`; comma-separated, repeatable."""

    drain_ms: Annotated[Millis, PROCESS] = 1_000
    """How long a process that was told to end may take for it."""


def serve(settings: Settings | None = None, *, read: Read[Settings] = None) -> int:
    """Serve clients, and run agents unless told not to."""
    return _serve(_configuration(Settings, settings, read), demo=False)


def demo(settings: DemoSettings | None = None, *, read: Read[DemoSettings] = None) -> int:
    """Serve the demo page with the agents demo, echo and scripted, and print its URL."""
    return _serve(_configuration(DemoSettings, settings, read), demo=True)


def worker(settings: WorkerSettings | None = None, *, read: Read[WorkerSettings] = None) -> int:
    """Run agents for gateways that share its broker; listens nowhere."""
    configuration = _configuration(WorkerSettings, settings, read)
    settings = configuration.settings
    if settings.broker.startswith("memory:"):
        raise ConfigurationError(
            "a worker shares memory:// with nobody and would never get a run: give it the broker "
            "of its gateways, for example --broker redis://127.0.0.1:6379/0; with memory:// "
            "`agent-gateway serve` executes the runs itself."
        )
    configure_logging(settings.log_level, settings.log_format)
    keep_waiting()
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
        heed(configuration)
        async with gateway.running():
            # not the URL of the broker: it may hold a password
            log.info("worker_started", agents=sorted(gateway.agents))
            await ending.wait()
            log.info("worker_ending")

    return _run(work, gateway)


def _configuration(
    kind: type[S], settings: S | None, read: Callable[[], S | None] | None
) -> Configuration[S]:
    def again() -> S:
        return settings or kind() if read is None else read() or kind()

    return Configuration(settings or kind(), again)


def _serve(configuration: Configuration[T], *, demo: bool) -> int:
    settings = configuration.settings
    configure_logging(settings.log_level, settings.log_format, audit_log=settings.audit_log)
    _warn_if_open(settings)
    keep_waiting()
    raise_descriptor_limit()
    listener = listen(settings.host, settings.port, any_port=demo)
    admin = admin_listeners(settings.admin_host, settings.admin_port, settings.processes)

    def process(parent_gone: int | None = None, index: int = 0) -> int:
        try:
            settings = configuration.settings  # a child may be started after they have changed
            metrics = Metrics() if parent_gone is None else Metrics(process=str(os.getpid()))
            gateway = Gateway(settings, demo=demo, metrics=metrics)

            async def serving(watchdog: Watchdog) -> None:
                heed(configuration, gateway.apply)
                mine = admin[index] if admin else None
                await _until_told(gateway, listener, mine, parent_gone, watchdog)

            return _run(serving, gateway)
        except GatewayError as error:
            if parent_gone is None:
                raise
            print(f"agent-gateway: {error}", file=sys.stderr)
            return CANNOT_START

    with listener, contextlib.ExitStack() as opened:
        for one in admin:
            opened.enter_context(one)
        if settings.processes == 1:
            return process()
        # While the children drain nobody may be let in by the parent's copy of the socket.
        return Supervisor(
            process, settings.processes, ending=listener.close, hung_up=configuration.hung_up
        ).run()


def _page(url: str, agents: Collection[str]) -> str:
    """The demo page's address; it names the agents that the page shall offer, one's own first."""
    if set(agents) == set(DEMO_AGENTS):
        return url
    offered = sorted(agents, key=lambda name: (name in DEMO_AGENTS, name))
    return f"{url}?{urlencode([('agent', name) for name in offered])}"


def _warn_if_open(settings: Settings) -> None:
    if settings.auth != "none" or is_loopback(settings.host):
        return
    log.warning("everybody_is_let_in", host=settings.host, auth="none")
    print(
        f"agent-gateway: WARNING: --auth none --insecure on {settings.host}: whoever reaches this "
        "address may read and do everything, from any web page. Use --auth jwt.",
        file=sys.stderr,
        flush=True,
    )


async def _until_told(
    gateway: Gateway,
    listener: socket.socket,
    admin: socket.socket | None,
    parent_gone: int | None,
    watchdog: Watchdog,
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
            print(_page(url, gateway.agents), flush=True)
        if admin is None:
            await server.serve(sockets=[listener])
            return
        log.info("admin_started", url=http_url(admin))
        async with beside(gateway.admin_app, gateway.settings, admin):
            await server.serve(sockets=[listener])


def _run(main: Callable[[Watchdog], Coroutine[Any, Any, None]], gateway: GatewayWorker) -> int:
    async def watched() -> None:
        watchdog.beat()
        await main(watchdog)

    # What is there now stays; without this it would be looked through many times a second.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_LIMIT, 10, 10)
    lag = gateway.metrics.loop_lag_seconds.observe
    with (
        Watchdog(gateway.stall_s, lag) as watchdog,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(watched())
    return 0
