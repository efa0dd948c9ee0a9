"""`GET /v1/sessions/{session}/events`: one subscription as Server-Sent Events.

Every event's data is a frame of the native protocol; its id is `<epoch>:<seq>`, so that a browser's
own `Last-Event-ID` resumes. Pulled like any other subscription: a client that reads slowly is
only a cursor that lags.
"""

import asyncio
from collections.abc import Iterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.auth import Grant
from gateway.delivery.connection import Delivery
from gateway.delivery.lanes import Job, Lanes
from gateway.delivery.refusal import refusal
from gateway.delivery.subscriptions import Subscriptions
from gateway.transports.answers import bearer, not_let_in, path_session, refused, unreadable
from protocol.codec import encode, event_head
from protocol.commands import SubscriptionOptions
from protocol.errors import ProtocolError
from protocol.frames import Goaway

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # or nginx would collect it
]
COMMENT = b":\n\n"
EXPIRED_S = 25.0
RETRY_FULL_S = 5


class _Epoch(msgspec.Struct):
    epoch: str


_epoch = msgspec.json.Decoder(_Epoch)


class EventsEndpoint:
    """The route, as an ASGI application."""

    def __init__(self, delivery: Delivery) -> None:
        self._in = delivery

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers with a stream, or with an error as JSON."""
        request = Request(scope, receive)
        if (answer := self._refused()) is not None:
            await answer(scope, receive, send)
            return
        try:
            grant = await self._in.auth.authenticate(bearer(request))
            options = _options(request)
        except Exception as error:  # noqa: BLE001 - the top of a request; `refusal` logs
            await refused(refusal(error, None, None))(scope, receive, send)
            return
        await EventStream(self._in, grant, options).run(scope, receive, send)

    def _refused(self) -> Response | None:
        if self._in.roster.draining:
            return refused(ProtocolError("server.draining"))
        admission = self._in.admission
        after_s = RETRY_FULL_S if admission.full else admission.refused()
        return None if after_s is None else not_let_in(after_s)


def _options(request: Request) -> SubscriptionOptions:
    query = {k: v for k, v in request.query_params.items() if k in ("after", "epoch", "detail")}
    epoch, colon, after = request.headers.get("last-event-id", "").rpartition(":")
    if colon and after.isascii() and after.isdigit():
        query |= {"epoch": epoch, "after": after}
    try:
        fields = {**query, "session": path_session(request)}
        return msgspec.convert(fields, SubscriptionOptions, strict=False)
    except msgspec.ValidationError as error:
        raise unreadable(error) from None


class EventStream:
    """One stream; to the hub a subscriber, to the roster a member without a client id."""

    def __init__(self, delivery: Delivery, grant: Grant, options: SubscriptionOptions) -> None:
        self._in = delivery
        self.grant = grant
        self._options = options
        self._work = asyncio.Event()
        self._ended = False
        self._sending = False
        self._stuck = False  # has been sending since the last tick
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
        self._in.roster.enter(self)
        try:
            async with asyncio.TaskGroup() as group:
                self._lanes = Lanes(group, 4)
                try:
                    await self._subscriptions.subscribe(self._options, None)
                except Exception as error:  # noqa: BLE001 - as above
                    answer = refused(refusal(error, None, self._options.session))
                    await answer(scope, receive, send)
                    return
                watcher = group.create_task(self._watch(receive))
                await self._pump(send)
                watcher.cancel()
        finally:
            self._in.roster.leave(self, None, "")
            self._subscriptions.close()

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
            if self._comment:
                self._comment = False
                await self._send(send, COMMENT)
            await self._work.wait()
            self._work.clear()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send, body: bytes) -> None:
        self._sending = True
        await send({"type": "http.response.body", "body": body, "more_body": True})
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
        self._ended = True
        self._subscriptions.outbox.close()
        self._work.set()

    # --- the hub's and the roster's side

    def wake(self, session: str, /) -> None:
        """The session has news."""
        self._subscriptions.wake(session)

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
