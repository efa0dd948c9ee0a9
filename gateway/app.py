"""The composition root: which objects a process is made of, and in which order they live and end.

Nothing is decided here and nothing is kept: constructors are called, loops are started and ended.
Loops end before the broker closes, so nothing meets a closed connection.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import WebSocketRoute

from gateway import __version__
from gateway.agents.registry import resolve_agents
from gateway.auth import Authenticator, NoAuth, OwnAuthenticator, open_auth
from gateway.broker.base import Broker
from gateway.broker.open import open_broker
from gateway.delivery.addresses import Addresses
from gateway.delivery.admission import Admission
from gateway.delivery.control import Control
from gateway.delivery.delivery import Delivery
from gateway.delivery.hub import Hub
from gateway.delivery.revocations import Revocations, Unrevoked
from gateway.delivery.roster import Roster
from gateway.delivery.tickets import Tickets
from gateway.fleet.announcer import Announcer
from gateway.fleet.directory import Directory
from gateway.fleet.record import ProcessRecord, Role
from gateway.runtime.agent import Agent, offers_of
from gateway.runtime.timers import Timers
from gateway.runtime.worker import Worker, WorkerOptions
from gateway.sessions.access import Authorizer
from gateway.sessions.cache import SessionCache
from gateway.sessions.draft import Rules
from gateway.sessions.ids import random_id
from gateway.sessions.loading import Snapshots
from gateway.sessions.quotas import Quotas
from gateway.sessions.sizes import Sizes
from gateway.sessions.store import Store
from gateway.settings import Settings, WorkerSettings
from gateway.telemetry import Metrics
from gateway.transports.answers import refused
from gateway.transports.grants import granted_to
from gateway.transports.headers import HEADERS, SecurityHeaders
from gateway.transports.health import anybody, health_routes, nobody
from gateway.transports.http import api_routes
from gateway.transports.origins import OriginCheck, OriginGuard
from gateway.transports.pages import demo_routes
from gateway.transports.proxies import TrustedProxies
from gateway.transports.rates import RequestRates
from gateway.transports.started import NOT_STARTED, StartedGuard
from gateway.transports.websocket import native_endpoint
from protocol.errors import ProtocolError
from protocol.values import time_text

SOCKETS_SHARE = 0.9
"""Of `drain_ms`, for the clients to leave; runs are handed over in the same time."""


class GatewayWorker:
    """A process that executes runs and fires timers; no sockets."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        agents: Mapping[str, Agent] | None = None,
        broker: Broker | None = None,
        metrics: Metrics | None = None,
        runs: bool = True,
        authorizer: Authorizer | None = None,
        quotas: Quotas | None = None,
    ) -> None:
        self.agents = resolve_agents(settings.agents) if agents is None else dict(agents)
        self.broker = open_broker(settings.broker) if broker is None else broker
        self.started = False
        self.metrics = metrics or Metrics()
        self.drain_s = settings.drain_ms / 1000
        self.stall_s = settings.stall_ms / 1000
        # What a replica without runs was told to offer, somebody else has to do
        offers = offers_of(self.agents.values()) if runs else []
        self.announcer = Announcer(
            self.broker,
            ProcessRecord(
                id=random_id("p"),
                role=self._role(runs),
                version=__version__,
                started=time_text(time.time()),
                agents=offers,
            ),
            metrics=self.metrics,
        )
        self.store = Store(
            self.broker,
            rules=Rules(
                run_ttl_s=settings.run_ttl_ms / 1000,
                session_ttl_s=settings.session_ttl_ms / 1000 or math.inf,
                sizes=Sizes(
                    queued_runs=settings.max_queued_runs,
                    metadata_bytes=settings.max_metadata_bytes,
                    tools_bytes=settings.max_tools_bytes,
                    log_bytes=settings.max_session_bytes,
                ),
            ),
            snapshots=Snapshots(
                self.broker,
                every=settings.snapshot_events,
                keep_events=settings.keep_events,
                keep_bytes=settings.keep_bytes,
                keep_s=settings.keep_ms / 1000,
            ),
            cache=SessionCache(settings.state_cache_bytes),
            authorizer=authorizer,
            quotas=quotas,
            directory=Directory(self.broker, offers),
            appended=self.metrics.events_appended.inc,
        )
        self.timers = Timers(self.store, metrics=self.metrics)
        self.worker = (
            Worker(
                self.store,
                self.agents.values(),
                WorkerOptions.of(settings),
                metrics=self.metrics,
            )
            if runs
            else None
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Everything is started; on leaving, everything is ended, in order.

        Raises:
            ConfigurationError: the broker cannot be used; the text names the remedy.
        """
        try:
            await self.broker.start()
            await self.announcer.announce()  # before anybody hears that it is ready
            self.started = True
            async with asyncio.TaskGroup() as group:
                loops = [group.create_task(loop) for loop in self._loops()]
                worker = None if self.worker is None else group.create_task(self.worker.run())
                yield
                if self.worker is not None and worker is not None:
                    self.worker.stop()
                    await worker
                for loop in loops:
                    loop.cancel()
            if self.broker.healthy:
                await self.announcer.withdraw()
        finally:
            self.started = False
            await self.broker.close()

    def _loops(self) -> Sequence[Coroutine[Any, Any, None]]:
        """The loops of this process that run until they are cancelled, one task each."""
        return [self.timers.run(), self.announcer.run()]

    def _role(self, runs: bool) -> Role:
        return "worker"


class Gateway(GatewayWorker):
    """A process that serves clients.

    `app` is its ASGI application; `admin_app` another one with the operator's routes alone, for a
    listener that only operators reach.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        agents: Mapping[str, Agent] | None = None,
        broker: Broker | None = None,
        metrics: Metrics | None = None,
        authenticator: Authenticator | None = None,
        authorizer: Authorizer | None = None,
        demo: bool = False,
    ) -> None:
        self._given_auth = authenticator
        settings = self._actual(settings)
        super().__init__(
            settings,
            agents=agents,
            broker=broker,
            metrics=metrics,
            runs=settings.runs,
            authorizer=authorizer,
            quotas=Quotas(
                runs=settings.most_runs_of_a_subject,
                sessions=settings.most_sessions_of_a_subject,
                shares=settings.max_shares,
                run_ttl_s=settings.run_ttl_ms / 1000,
            ),
        )
        self.settings = settings
        self.demo = demo
        self._own_auth: OwnAuthenticator | None = None
        if authenticator is None:
            authenticator = self._own_auth = open_auth(settings)
        self.hub = Hub(
            self.broker,
            max_events=settings.feed_events,
            max_bytes=settings.feed_bytes,
            metrics=self.metrics,
        )
        self.roster = Roster(most_of_a_subject=settings.most_of_a_subject)
        self.admission = Admission(settings, self.roster, metrics=self.metrics)
        self.revocations = Revocations(self.broker, self.roster)
        self.control = Control(self.broker, self.roster, self.metrics, self.revocations)
        self._delivery = Delivery(
            store=self.store,
            hub=self.hub,
            roster=self.roster,
            admission=self.admission,
            control=self.control,
            revocations=self.revocations,
            tickets=Tickets(self.broker),
            auth=self._unrevoked(authenticator),
            addresses=Addresses(settings, metrics=self.metrics),
            settings=self.settings,
            metrics=self.metrics,
        )
        self._origins = OriginCheck(self.settings)
        self.app = self._app()
        self.admin_app = Starlette(
            routes=health_routes(self.unready, self.metrics),
            middleware=[Middleware(SecurityHeaders)],
        )

    def _actual(self, settings: Settings) -> Settings:
        """With `auth` as it is: what was given, if that was."""
        if self._given_auth is None:
            return settings
        return replace(settings, auth="none" if isinstance(self._given_auth, NoAuth) else "own")

    def _unrevoked(self, authenticator: Authenticator) -> Authenticator:
        """Where nobody shows a token there is none to revoke."""
        if isinstance(authenticator, NoAuth):
            return authenticator
        return Unrevoked(authenticator, self.revocations)

    def apply(self, settings: Settings) -> None:
        """Go on with other settings, of which only those in `CHANGEABLE` may differ.

        Connections stay, with what their tokens granted; who comes from now on is measured by the
        new ones. An authenticator that was given stays.
        """
        settings = self._actual(settings)
        self.settings = self._delivery.settings = settings
        self._origins.allow(settings.allowed_origins)
        if self._own_auth is not None:
            self._own_auth.apply(settings)

    async def drain(self) -> None:
        """Send the clients away, before the sockets close; meanwhile runs come to their end."""
        if self.worker is not None:
            self.worker.stop()
        await self.roster.drain(self.drain_s * SOCKETS_SHARE)

    def unready(self) -> str | None:
        """Why no new client should come; None: all is well."""
        if not self.started:
            return NOT_STARTED
        if (reason := self.admission.unready) is not None:
            return reason
        if not self.broker.healthy:
            return "the broker does not answer"
        return None if self._own_auth is None else self._own_auth.unready

    def _role(self, runs: bool) -> Role:
        return "both" if runs else "gateway"

    def _loops(self) -> Sequence[Coroutine[Any, Any, None]]:
        loops = [*super()._loops(), self.hub.run(), self.roster.run(), self.revocations.run()]
        return loops if self._own_auth is None else [*loops, self._own_auth.run()]

    def _app(self) -> Starlette:
        if self.settings.admin_port is not None:
            may_see_metrics = nobody
        else:
            may_see_metrics = anybody if isinstance(self._own_auth, NoAuth) else self._is_admin
        return Starlette(
            routes=[
                WebSocketRoute("/v1/ws", native_endpoint(self._delivery, self._origins)),
                *health_routes(self.unready, self.metrics, may_see_metrics),
                *api_routes(self._delivery),
                *(demo_routes() if self.demo else []),
            ],
            middleware=[
                Middleware(SecurityHeaders),
                Middleware(StartedGuard, started=lambda: self.started),
                Middleware(TrustedProxies, proxies=self.settings.trusted_proxies),
                Middleware(RequestRates, addresses=self._delivery.addresses),
                Middleware(OriginGuard, check=self._origins),
            ],
            exception_handlers={Exception: _failed},
            lifespan=self._lifespan,
        )

    async def _is_admin(self, request: Request) -> bool:
        try:
            return "admin" in (await granted_to(request, self._delivery)).scopes
        except ProtocolError:
            return False

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncGenerator[None]:
        async with self.running():
            yield
            await self.drain()


async def _failed(_request: Request, _error: Exception) -> Response:
    """The answer to a request that broke; Starlette sends it past every middleware."""
    answer = refused(ProtocolError("internal"))
    answer.headers.update(HEADERS)
    return answer


def create_app(
    settings: Settings | None = None,
    *,
    agents: Mapping[str, Agent] | None = None,
    broker: Broker | None = None,
    metrics: Metrics | None = None,
    authenticator: Authenticator | None = None,
    authorizer: Authorizer | None = None,
    demo: bool = False,
) -> Starlette:
    """A gateway as an ASGI application, started and ended by its lifespan.

    For any ASGI server, or mounted in an application of one's own. What is not given is made as
    the settings say.

    Raises:
        ConfigurationError: an agent, the broker or the authentication cannot be had.
    """
    return Gateway(
        settings or Settings(),
        agents=agents,
        broker=broker,
        metrics=metrics,
        authenticator=authenticator,
        authorizer=authorizer,
        demo=demo,
    ).app
