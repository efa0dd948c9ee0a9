"""`GET /v1/sessions/{session}/events`: one subscription as Server-Sent Events.

Every event's data is a frame of the native protocol; its id is `<epoch>:<seq>`, so that a browser's
own `Last-Event-ID` resumes. Pulled like any other subscription: a client that reads slowly is
only a cursor that lags, one that takes nothing for `write_timeout_ms` is cut off.
"""

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway import audit
from gateway.auth import Grant
from gateway.delivery.addresses import Visit
from gateway.delivery.delivery import Delivery
from gateway.delivery.lanes import Job, Lanes
from gateway.delivery.refusal import refusal
from gateway.delivery.subscriptions import Subscriptions
from gateway.transports.answers import not_let_in, path_session, queried, refused
from gateway.transports.grants import granted_to
from gateway.transports.proxies import address_of
from protocol.codec import encode, event_head
from protocol.commands import SubscriptionOptions
from protocol.errors import ProtocolError
from protocol.frames import Goaway
from protocol.values import Detail, Seq

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # or nginx would collect it
]
COMMENT = b":\n\n"
EXPIRED_S = 25.0
RETRY_FULL_S = 5
LAST_S = 2.0
"""For what is being sent when the stream ends; after it the socket is cut off."""


class _Epoch(msgspec.Struct):
    epoch: str


_epoch = msgspec.json.Decoder(_Epoch)


class EventsEndpoint:
    """The route, as an ASGI application."""

    def __init__(self, delivery: Delivery) -> None:
        self._in = delivery

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers with a stream, or with an error as JSON."""
        visit = self._in.addresses.visit(address_of(scope))
        try:
            await self._answer(visit, scope, receive, send)
        finally:
            visit.end()

    async def _answer(self, visit: Visit, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if (answer := self._refused(visit)) is not None:
            await answer(scope, receive, send)
            return
        try:
            grant = await granted_to(request, self._in)
            options = _options(request)
        except Exception as error:  # noqa: BLE001 - the top of a request; `refusal` logs
            await refused(refusal(error, None, None))(scope, receive, send)
            return
        visit.known()
        if request.method == "HEAD":
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            await send({"type": "http.response.body", "body": b""})
            return
        await EventStream(self._in, grant, options, visit.address).run(scope, receive, send)

    def _refused(self, visit: Visit) -> Response | None:
        if self._in.roster.draining:
            return refused(ProtocolError("server.draining"))
        admission, addresses = self._in.admission, self._in.addresses
        if admission.full or addresses.full(visit.address) or addresses.crowded(visit.address):
            return not_let_in(RETRY_FULL_S)
        after_s = admission.refused()
        return None if after_s is None else not_let_in(after_s)


class Wish(msgspec.Struct, frozen=True):
    """The query: the options of a subscription that a URL may give."""

    after: Seq | UnsetType = UNSET
    epoch: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET
    detail: Detail | UnsetType = UNSET


def _options(request: Request) -> SubscriptionOptions:
    session = path_session(request)
    epoch, colon, after = request.headers.get("last-event-id", "").rpartition(":")
    resumes = colon and after.isascii() and after.isdigit()
    wish = queried(request, Wish, **({"epoch": epoch, "after": after} if resumes else {}))
    given = {k: v for k, v in msgspec.structs.asdict(wish).items() if v is not UNSET}
    return SubscriptionOptions(session=session, **given)


def cut_off(scope: Scope) -> None:
    """Ends the connection at once, where the server offers it; what waits is thrown away."""
    abort = scope.get("extensions", {}).get("gateway")
    if abort is not None:
        abort()


class EventStream:
    """One stream; to the hub a subscriber, to the roster a member without a client id."""

    def __init__(
        self, delivery: Delivery, grant: Grant, options: SubscriptionOptions, address: str = ""
    ) -> None:
        self._in = delivery
        self.grant = grant
        self._address = address
        self._id = delivery.new_id("x")  # in the place of a client id, too: each is one of its own
        self._options = options
        self._work = asyncio.Event()
        self._ended = False
        self._sending = False
        self._stuck = False  # has been sending since the last tick
        self._patience: asyncio.Timeout | None = None  # of what is being sent
        self._epoch = b""
        self._comment = False
        self._commented_at = delivery.clock()
        self._lanes: Lanes | None = None
        self._subscriptions = Subscriptions(
            delivery.hub,
            delivery.store,
            self,
            self._put,
            grant,
            most=1,
            count=delivery.metrics.subscriptions.inc,
            clock=delivery.clock,
        )

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Streams until the client is gone or the gateway ends it."""
        roster, principal = self._in.roster, self.grant.principal
        roster.enter(self)
        joined = False
        try:
            if not roster.join(self, principal, self._id, self._in.control.place(self._id)):
                self._audit("connect", "refused")
                await not_let_in(RETRY_FULL_S)(scope, receive, send)
                return
            joined = True
            self._audit("connect", "ok")
            async with asyncio.TaskGroup() as group:
                self._lanes = Lanes(group, 4)
                began = asyncio.get_running_loop().create_future()
                self._put(self._options.session, partial(self._begin, began))
                try:
                    await began
                except Exception as error:  # noqa: BLE001 - as above
                    answer = refused(refusal(error, None, self._options.session))
                    await answer(scope, receive, send)
                    return
                watcher = group.create_task(self._watch(receive))
                try:
                    await self._pump(send)
                except TimeoutError:
                    cut_off(scope)
                watcher.cancel()
        finally:
            roster.leave(self, principal, self._id)
            self._subscriptions.close()
            if joined:
                self._audit("disconnect", "ok")

    def _audit(self, action: audit.Action, outcome: audit.Outcome) -> None:
        audit.record(
            action,
            outcome,
            self.grant.principal,
            connection=self._id,
            address=self._address or None,
            session=self._options.session,
        )

    async def _begin(self, began: asyncio.Future[None]) -> None:
        """A job of the lane: what is said of the session meanwhile comes after it."""
        try:
            await self._subscriptions.subscribe(self._options, None)
        except Exception as error:  # noqa: BLE001 - whoever waits for it raises it
            if not began.done():
                began.set_exception(error)
        else:
            if not began.done():
                began.set_result(None)

    def _put(self, session: str, job: Job) -> None:
        if self._lanes is not None:
            self._lanes.put(session, job, always=True)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._end()

    async def _pump(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        outbox = self._subscriptions.outbox
        while not self._ended:
            message, frames = outbox.take()
            if frames:
                await self._send(send, b"".join(self._records(message)))
                self._in.hub.counts.frames_down += frames
                self._in.hub.counts.bytes_down += len(message)
                continue
            if not len(self._subscriptions):  # it ended: the last frame said why
                break
            if self._comment:
                self._comment = False
                await self._send(send, COMMENT)
            await self._work.wait()
            self._work.clear()
        await self._send(send, b"", more=False)

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        """Raises `TimeoutError`: the client takes nothing."""
        bound_s = LAST_S if self._ended else self._in.settings.write_timeout_ms / 1000
        self._sending = True
        async with asyncio.timeout(bound_s) as self._patience:
            await send({"type": "http.response.body", "body": body, "more_body": more})
        self._sending = self._stuck = False

    def _records(self, message: bytes) -> Iterator[bytes]:
        for frame in message.split(b"\n"):
            head = event_head(frame)
            if head.type == "subscribed":
                self._epoch = _epoch.decode(frame).epoch.encode()
            if head.time is not None or head.type in ("subscribed", "cursor"):
                yield b"id: %b:%d\ndata: %b\n\n" % (self._epoch, head.seq, frame)
            else:
                yield b"data: %b\n\n" % frame

    def _end(self) -> None:
        patience = self._patience
        if self._sending and not self._ended and patience is not None and not patience.expired():
            soon = asyncio.get_running_loop().time() + LAST_S
            patience.reschedule(min(soon, patience.when() or soon))
        self._ended = True
        self._subscriptions.outbox.close()
        self._work.set()

    # --- the hub's and the roster's side

    def wake(self, session: str, /) -> None:
        """The session has news."""
        self._subscriptions.wake(session)

    def look_again(self, session: str, /) -> None:
        """Perhaps it may not be seen any more."""
        self._subscriptions.look_again(session)

    def flush(self) -> None:
        """Something waits."""
        self._work.set()

    def abort(self) -> None:
        """It cannot go on; the client comes back by itself."""
        self._end()

    def close(self, code: int) -> None:
        """As `abort`: there are no close codes here."""
        del code
        self._end()

    def tick(self, now: float) -> None:
        """A second has passed."""
        self._stuck = self._sending
        self._subscriptions.tick(now, self._in.settings.ack_timeout_ms / 1000)
        if now - self._commented_at >= self._in.settings.heartbeat_ms / 1000:
            self._commented_at, self._comment = now, True
        expires = self.grant.expires_at
        if expires is not None and self._in.wall() >= expires + EXPIRED_S:
            self._end()
        self._work.set()

    @property
    def slow(self) -> bool:
        """Whether the socket took nothing since the last tick."""
        return self._stuck and self._sending and not self._ended

    def go_away(self, reason: str, reconnect_after_ms: int) -> None:
        """This process ends."""
        frame = Goaway(reason=reason, reconnect_after_ms=reconnect_after_ms)
        self._subscriptions.outbox.control(encode(frame))
        self._work.set()
