"""The protocol of one connection (docs/protocol.md), whatever transport carries it.

Frames come in by the reader (`run`), which waits for nobody but the client: commands and
subscriptions go into the lane of their session. Frames go out by `flush`, which the hub calls
after every turn in which there was something for this connection. Refusals are error frames; the
connection itself ends only by a close code of docs/protocol.md.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from gateway import __version__, audit
from gateway.auth import Grant
from gateway.delivery.addresses import Visit
from gateway.delivery.answers import Asked, answer
from gateway.delivery.delivery import Delivery
from gateway.delivery.identity import Identity
from gateway.delivery.inbox import Inbox
from gateway.delivery.lanes import Job, Lanes
from gateway.delivery.outbox import Outbox
from gateway.delivery.peer import Peer
from gateway.delivery.refusal import refusal
from gateway.delivery.subscriptions import Subscriptions
from gateway.errors import BrokerUnavailable
from protocol import commands as cmd
from protocol import frames as down
from protocol.codec import encode, error_frame
from protocol.codes import CLOSES
from protocol.errors import ProtocolError, malformed
from protocol.features import NAMES as FEATURE_NAMES
from protocol.values import Principal

CLOSES_FOR = {"auth.forbidden": 4403, "auth.unavailable": 1013, "rate.limited": 4479}
"""What ends a connection whose hello is refused; any other refusal: 4401."""
GONE = 1005
"""Stands for a client that left by itself, however it did: no close code of ours."""
CONTROL_LANE = "."
"""No session's: not an id."""
PONG = encode(down.Pong())

Answer = Callable[[], Awaitable[down.Down | None]]

log = logging.getLogger("gateway.delivery")


class Connection:
    """One client. `run` it once; everything else is called by hub and roster."""

    __slots__ = (
        *("_before_hello", "_blocked_since", "_counts", "_failures", "_identity", "_in", "_inbox"),
        *("_lanes", "_outbox", "_paging", "_peer", "_pinged_at", "_subscriptions"),
        *("client", "close_code", "id", "wake"),
    )

    def __init__(self, peer: Peer, delivery: Delivery, visit: Visit | None = None) -> None:
        self._peer = peer
        self._in = delivery
        self._inbox = Inbox(delivery)
        self._identity = Identity(delivery, visit or Visit())
        self.id = delivery.new_id("x")
        self.client = ""
        self.close_code: int | None = None
        self.wake: Callable[[str], None] = _no_news
        self._subscriptions: Subscriptions | None = None
        self._outbox: Outbox | None = None  # theirs
        self._counts = delivery.hub.counts
        self._lanes: Lanes | None = None
        self._paging = asyncio.Lock()
        self._before_hello: list[bytes] = []
        self._pinged_at = delivery.clock()
        self._blocked_since: float | None = None
        self._failures = 0  # of the broker, in answering this connection

    # --- the reader

    async def run(self) -> None:
        """Speaks with the client until one of both closes; then nothing of it is left."""
        roster, metrics = self._in.roster, self._in.metrics
        roster.enter(self)
        metrics.connections.inc()
        self._peer.when_writable(self._resume)
        try:
            async with asyncio.TaskGroup() as group:
                self._lanes = Lanes(group, self._in.settings.command_queue)
                await self._read()
                self._end()
        except Exception:  # the top of a task
            log.exception("connection %s failed", self.id)
            self.close(1012)
        finally:
            self._end()
            self._counts.report(metrics)
            metrics.connections.dec()
            metrics.closed(self.close_code or GONE)
            principal = self.grant.principal if self.grant else None
            roster.leave(self, principal, self.client)
            if self._subscriptions is not None:
                self._subscriptions.close()
            if principal is not None:
                self._audit("disconnect", "ok", principal, code=self.close_code)

    def _end(self) -> None:
        """Jobs that run go on to their end; nothing else begins, nothing more is sent."""
        self.close_code = self.close_code or GONE
        if self._lanes is not None:
            self._lanes.drop()
        if self._subscriptions is not None:
            self._subscriptions.outbox.close()

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(self._in.settings.hello_timeout_ms / 1000):
                while self.grant is None:
                    if not await self._receive():
                        return
        except TimeoutError:
            self.close(4454)
            return
        self._peer.listen(self._heard)
        while await self._receive():
            pass

    async def _receive(self) -> bool:
        """Takes a message that is waited for: always the first, later ones where `listen` can't."""
        message = await self._peer.receive()
        if message is None or self.close_code is not None:
            return False
        for frame in self._inbox.frames(message):
            if (
                isinstance(frame, cmd.Hello)
                and self._subscriptions is None
                and self._inbox.takes(frame)
            ):
                await self._hello(frame)
            else:
                self._frame(frame)
            if self.close_code is not None:
                return False
        return True

    def _heard(self, message: str | bytes) -> None:
        """Takes a message as it comes."""
        try:
            subscriptions = self._subscriptions
            if subscriptions is not None and self.close_code is None:
                ack = self._inbox.ack(message)
                if ack is not None:
                    self._ack(subscriptions, *ack)
                    return
            for frame in self._inbox.frames(message):
                if self.close_code is not None:
                    return
                self._frame(frame)
        except Exception:  # the top of a callback
            log.exception("connection %s failed", self.id)
            self.close(1012)

    def _ack(self, subscriptions: Subscriptions, session: str, seq: int) -> None:
        try:
            subscriptions.ack(session, seq)
        except ProtocolError as error:
            self._send(error_frame(error))
        outbox = subscriptions.outbox
        if outbox.line or outbox.control_frames:
            self._in.hub.flush_soon(self)

    def _frame(self, frame: cmd.AnyUp | ProtocolError) -> None:
        if not self._inbox.takes(frame):
            self._flood(frame)
        elif isinstance(frame, ProtocolError):
            self._refuse(frame)
        elif self._subscriptions is not None:
            self._dispatch(frame, self._subscriptions)
        else:
            self._refuse(_echo(malformed("The first frame must be hello.", "$.type"), frame))

    def _flood(self, frame: cmd.AnyUp | ProtocolError) -> None:
        self._send(error_frame(_echo(ProtocolError("rate.limited"), frame)))
        if self._inbox.flooded():
            self.close(4479)

    def _refuse(self, error: ProtocolError) -> None:
        """A frame that could not be read, or not here."""
        self._send(error_frame(error))
        if error.code == "frame.malformed" and self._inbox.misread():
            self.close(4400)

    # --- hello

    async def _hello(self, hello: cmd.Hello) -> None:
        if self._in.roster.draining:
            self._send(error_frame(ProtocolError("server.draining")))
            self.close(1012)
            return
        try:
            grant = await self._identity.shown(hello.token)
        except ProtocolError as error:
            self._send(error_frame(error))
            self.close(CLOSES_FOR.get(error.code, 4401))
            return
        if self.close_code is not None:
            return
        self.client = hello.client or self._in.new_id("tab")
        place = self._in.control.place(self.id)
        if not self._in.roster.join(self, grant.principal, self.client, place):
            self._audit("connect", "refused", grant.principal, code=4480)
            self.close(4480)
            return
        self._identity.grant = grant
        self._identity.visit.known()
        self._audit("connect", "ok", grant.principal)
        if hello.client:
            tell = partial(self._in.control.supersede, grant.principal, self.client, place)
            self._work(CONTROL_LANE, tell)
        self._subscriptions = Subscriptions(
            self._in.hub,
            self._in.store,
            self,
            self._work,
            grant,
            most=self._in.settings.max_subscriptions,
            count=self._in.metrics.subscriptions.inc,
            clock=self._in.clock,
        )
        self._outbox = self._subscriptions.outbox
        self.wake = self._subscriptions.wake
        for frame in self._before_hello:
            self._subscriptions.outbox.control(frame)
        self._before_hello.clear()
        self._welcome(grant)
        most = self._in.settings.max_subscriptions
        for at, options in enumerate(hello.sessions or ()):
            if at >= most:
                text = f"At most {most} subscriptions per connection."
                self._send(error_frame(_echo(ProtocolError("limit.exceeded", text), options)))
                continue
            self._queue(
                options, options.session, partial(self._subscriptions.subscribe, options, None)
            )

    def _audit(
        self,
        action: audit.Action,
        outcome: audit.Outcome,
        principal: Principal,
        code: int | None = None,
    ) -> None:
        audit.record(
            action,
            outcome,
            principal,
            client=self.client,
            connection=self.id,
            address=self._identity.visit.address or None,
            code=code,
        )

    def _welcome(self, grant: Grant) -> None:
        settings = self._in.settings
        welcome = down.Welcome(
            connection=self.id,
            client=self.client,
            principal=grant.principal,
            heartbeat_ms=settings.heartbeat_ms,
            limits=down.Limits(settings.max_frame_bytes, settings.max_subscriptions),
            features=FEATURE_NAMES,
            server=down.Server("agent-gateway", __version__),
        )
        self._send(encode(welcome))

    # --- commands

    def _dispatch(self, frame: cmd.AnyUp, subscriptions: Subscriptions) -> None:
        match frame:
            case cmd.Ack():
                self._ack(subscriptions, frame.session, frame.seq)
            case cmd.PingUp():
                self._send(PONG)
            case cmd.PongUp():
                pass
            case cmd.Hello():
                self._refuse(malformed("There was a hello already.", "$.type"))
            case cmd.AuthRefresh():
                self._queue(frame, "", partial(self._refresh, frame))
            case cmd.SessionList():
                self._ask(frame, "", subscriptions)
            case _:
                self._ask(frame, frame.session or "", subscriptions)

    def _ask(self, frame: Asked, lane: str, subscriptions: Subscriptions) -> None:
        work = partial(answer, frame, self._in.store, subscriptions, self.client)
        self._queue(frame, lane, work)

    def _queue(self, frame: cmd.AnyUp | cmd.SubscriptionOptions, lane: str, work: Answer) -> None:
        assert self._lanes is not None
        job = partial(self._answer, frame, work, self._failures)
        if isinstance(frame, cmd.SessionMessages | cmd.SessionList):
            job = partial(self._in_turn, job)
        if not self._lanes.put(lane, job):
            text = "Too many commands wait; send it again later."
            self._send(error_frame(_echo(ProtocolError("rate.limited", text), frame)))

    async def _in_turn(self, job: Job) -> None:
        """Pages may be large: the next, of any session, waits for room after the last."""
        async with self._paging:
            await job()

    def _work(self, session: str, job: Job) -> None:
        assert self._lanes is not None
        self._lanes.put(session, job, always=True)

    async def _answer(
        self, frame: cmd.AnyUp | cmd.SubscriptionOptions, work: Answer, failures: int
    ) -> None:
        """One job of a lane: never raises, answers once."""
        assert self._subscriptions is not None
        await self._subscriptions.outbox.room()
        if self.close_code is not None:
            return
        metrics, began, code = self._in.metrics, self._in.clock(), "ok"
        try:
            told = await self._tried(work, failures)
        except Exception as error:  # noqa: BLE001 - the top of a task; `refusal` logs the unknown
            refused = _echo(refusal(error, None, None), frame)
            code = refused.code
            self._send(error_frame(refused))
        else:
            if told is not None:
                self._send(encode(told))
            self._in.hub.flush_soon(self)
        metrics.command(str(type(frame).__struct_config__.tag or "hello"), code)
        metrics.command_seconds.observe(self._in.clock() - began)

    async def _tried(self, work: Answer, failures: int) -> down.Down | None:
        """What `work` gives. `failures`: of the broker, when it was queued.

        What waited while the broker failed does not try it in its turn: then every command has an
        answer within 2 s, however many wait.
        """
        if failures != self._failures:
            raise BrokerUnavailable
        try:
            return await work()
        except BrokerUnavailable:
            self._failures += 1
            raise

    async def _refresh(self, frame: cmd.AuthRefresh) -> down.Ok | None:
        assert self._subscriptions is not None
        grant = await self._identity.refreshed(frame.token)
        if grant is None:
            self._send(error_frame(ProtocolError("auth.forbidden", id=frame.id)))
            self.close(4403)
            return None
        self._subscriptions.allow(grant)
        return down.Ok(id=frame.id)

    # --- the way down

    def _send(self, frame: bytes) -> None:
        """A control frame; goes out at the end of this turn of the loop."""
        if self.close_code is not None:
            return
        if self._subscriptions is None:
            self._before_hello.append(frame)
        else:
            self._subscriptions.outbox.control(frame)
            if self._subscriptions.outbox.overflowing:
                self.close(4458)
        self._in.hub.flush_soon(self)

    def flush(self) -> None:
        """Writes what waits, as far as the transport takes it. Never waits."""
        outbox = self._outbox
        if outbox is None:
            self._flush_early()
            return
        peer = self._peer
        while self.close_code is None and peer.writable:
            message, frames = outbox.take()
            if frames:
                peer.write(message)
                down = self._counts
                down.frames_down += frames
                down.bytes_down += len(message)
            if not (outbox.line or outbox.control_frames):
                return

    def _flush_early(self) -> None:
        """The errors before `hello`."""
        if self._before_hello and self.close_code is None and self._peer.writable:
            self._peer.write(b"\n".join(self._before_hello))
            self._before_hello.clear()

    def _resume(self) -> None:
        self._blocked_since = None
        self._in.hub.flush_soon(self)

    # --- time and the end

    def look_again(self, session: str, /) -> None:
        """Perhaps it may not see the session any more."""
        if self._subscriptions is not None and self.close_code is None:
            self._subscriptions.look_again(session)

    def tick(self, now: float) -> None:
        """Once a second: pings, deadlines, the end of the token."""
        settings = self._in.settings
        if self._peer.writable:
            self._blocked_since = None
        elif self._blocked_since is None:
            self._blocked_since = now
        elif now - self._blocked_since > settings.write_timeout_ms / 1000:
            self.close(4458)
            return
        if self._subscriptions is None:
            return
        if self._subscriptions.tick(now, settings.ack_timeout_ms / 1000):
            self.close(4458)
            return
        if now - self._pinged_at >= settings.heartbeat_ms / 1000:
            self._pinged_at = now
            self._send(encode(down.Ping()))
        try:
            expiring = self._identity.expiring()
        except ProtocolError as error:
            self._send(error_frame(error))
            self.close(4401)
            return
        if expiring is not None:
            self._send(encode(expiring))
        self._in.hub.flush_soon(self)

    @property
    def grant(self) -> Grant | None:
        """What it may do; None before hello."""
        return self._identity.grant

    @property
    def slow(self) -> bool:
        """Whether the socket took nothing since the last tick."""
        return self._blocked_since is not None and self.close_code is None

    def go_away(self, reason: str, reconnect_after_ms: int) -> None:
        """Asks the client to connect elsewhere."""
        self._send(encode(down.Goaway(reason=reason, reconnect_after_ms=reconnect_after_ms)))

    def abort(self) -> None:
        """Something of ours failed, so nothing is flushed: the client should come back."""
        self._shut(1012)

    def close(self, code: int) -> None:
        """Ends the connection with a close code; what waits and fits goes out before."""
        if self.close_code is None:
            self.flush()
            self._shut(code)

    def _shut(self, code: int) -> None:
        if self.close_code is not None:
            return
        self.close_code = code
        log.info("connection %s is closed: %s, %s", self.id, code, CLOSES[code].text)
        self._peer.close(code, CLOSES[code].text)


def _no_news(_session: str) -> None:
    """Nobody is subscribed before hello."""


def _echo(error: ProtocolError, frame: object) -> ProtocolError:
    """The error with the id and the session of the frame it answers, if it has them."""
    error.id = error.id or getattr(frame, "id", None)
    error.session = error.session or getattr(frame, "session", None)
    return error
