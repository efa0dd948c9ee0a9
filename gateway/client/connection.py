"""The client's side of the protocol as a machine of values: no socket, no timer, no clock.

`step(input, now_ms)` takes what happened and returns what to do; `deadline` says when it wants a
`Tick`. Sockets are numbers that the caller maps to real ones: `current` is in use, `next` is
being opened. After a loss, or ahead of it when the gateway says `goaway`, `next` takes over: its
`hello` carries every subscription's cursor, and every command without an answer is sent again
under the same id. That makes both exactly-once (docs/protocol.md).

Ahead of a loss `current` goes on until `next` is welcomed: what it still says counts, and what
both say is dropped by the cursor. The twin of web/src/connection.js, held to the same vectors.
"""

import math
import random as chance
from collections.abc import Callable
from typing import Any, ClassVar

from msgspec import Struct

from gateway.client import steps
from gateway.client.backoff import delay_ms
from gateway.client.ids import MakeId, make_id
from gateway.client.incoming import Control, Place, read, refusal
from gateway.client.subscription import HELLO, Subscription, Verdict, Wishes
from protocol.codec import encode
from protocol.codes import close_is_final
from protocol.commands import (
    App,
    Hello,
    PingUp,
    PongUp,
    SessionSubscribe,
    SessionUnsubscribe,
    SubscriptionOptions,
    Up,
)

SILENCE_MS = 45_000
PROBE_MS = 5_000
OPENING_MS = 10_000
STEADY_MS = 5_000
MESSAGE_BYTES = 256 * 1024
MAX_FRAME_BYTES = 1024 * 1024
LOST = 1006
TOKEN_ENDED = 4401
SUPERSEDED = 4409


class Pending(Struct, frozen=True):
    """A command without an answer, encoded once."""

    type: str
    line: bytes


class Connection:
    """The machine of one client. `renewable`: a new token can be had when one has ended."""

    def __init__(
        self,
        client: str,
        *,
        app: App | None = None,
        renewable: bool = False,
        random: Callable[[], float] = chance.random,
        make_id: MakeId = make_id,
    ) -> None:
        self.client = client
        self.subscriptions: dict[str, Subscription] = {}  # by session
        self.pending: dict[str, Pending] = {}  # command id -> without an answer, oldest first
        self.current: int | None = None  # greeted with `hello`, and in use
        self.next: int | None = None  # being opened, or unwelcomed while `current` lives
        # session -> whom the hello on `next` asked for, while `current` lives
        self.greeted: dict[str, tuple[Subscription, Wishes]] | None = None
        self._superseded = False  # a hello went out elsewhere while `current` lives
        self._app = app
        self._renewable = renewable
        self._random = random
        self._make_id = make_id
        self._sockets = 0
        self._running = False
        self._online = True
        self._welcomed = False
        self._ever_welcomed = False
        self._attempt = 0
        self._code = 0
        self._reason = ""
        self._retry_at = math.inf
        self._opening_until = math.inf
        self._move_at = math.inf
        self._steady_at = math.inf
        self._heard_at = 0.0
        self._probe_until = math.inf
        self._reported: tuple[steps.Status, float] | None = None
        self._max_frame_bytes = MAX_FRAME_BYTES
        self._effects: list[steps.Effect] = []
        self._lines: list[bytes] = []  # for `current`, joined at the end of the step

    def step(self, taken: steps.Input, now_ms: float) -> list[steps.Effect]:
        """Take one input; the effects are to be done in order."""
        self.inputs[type(taken)](self, taken, now_ms)
        if self.current is not None:
            for subscription in self.subscriptions.values():
                if (ack := subscription.ack(now_ms)) is not None:
                    self._send(ack)
        self._flush()
        self._report()
        effects, self._effects = self._effects, []
        return effects

    @property
    def deadline(self) -> float:
        """When the next `Tick` is due; infinite: not before another input."""
        times = [self._retry_at, self._opening_until, self._move_at]
        if self.current is not None:
            times += [self._heard_at + SILENCE_MS, self._probe_until]
            for subscription in self.subscriptions.values():
                times += [subscription.ack_at, subscription.retry_at]
        return min(times)

    @property
    def status(self) -> steps.Status:
        """How the connection is, in one word."""
        if not self._running:
            return "closed"
        if self.current is not None and self._welcomed:
            return "open"
        idle = self.current is None and self.next is None
        if idle and (self._attempt > 1 or not self._online):
            return "offline"
        return "resuming" if self._ever_welcomed else "connecting"

    # --- what goes out

    def _send(self, frame: Up | SessionSubscribe) -> None:
        self._lines.append(encode(frame))

    def _flush(self) -> None:
        """What was said so far goes to `current`, in as few messages as the limit allows."""
        lines, self._lines = self._lines, []
        if self.current is None:
            return
        limit = min(MESSAGE_BYTES, self._max_frame_bytes)
        while lines:
            count, size = 1, len(lines[0])
            while count < len(lines) and size + 1 + len(lines[count]) <= limit:
                size += 1 + len(lines[count])
                count += 1
            self._effects.append(steps.Send(self.current, b"\n".join(lines[:count])))
            del lines[:count]

    def _report(self) -> None:
        now = (self.status, self._retry_at)
        if now == self._reported:
            return
        self._reported = now
        retry_at = None if math.isinf(self._retry_at) else self._retry_at
        self._effects.append(steps.StatusChanged(self.status, retry_at, self._code, self._reason))

    # --- sockets come and go

    def _open(self, now_ms: float) -> None:
        self._retry_at = self._move_at = math.inf
        self._sockets += 1
        self.next = self._sockets
        self._opening_until = now_ms + OPENING_MS
        self._effects.append(steps.Connect(self.next))

    def _forget_current(self) -> None:
        self.current = None
        self._probe_until = math.inf

    def _forget_next(self) -> None:
        self.next = None
        self.greeted = None
        self._opening_until = math.inf

    def _drop_current(self) -> None:
        if self.current is not None:
            self._effects.append(steps.Close(self.current))
            self._forget_current()

    def _drop_next(self) -> None:
        if self.next is not None:
            self._effects.append(steps.Close(self.next))
            self._forget_next()

    def _promote(self, now_ms: float) -> None:
        """`next` comes into use, before or with its `welcome`."""
        greeted = self.greeted or {}
        self._drop_current()
        self.current, self.next, self.greeted = self.next, None, None
        self._superseded = False
        self._heard_at = now_ms
        self._move_at = math.inf
        self._deliver(greeted)

    def _lose(self, code: int, reason: str, now_ms: float) -> None:
        """`current` is lost: what is under way takes over, or a try is over."""
        self._forget_current()
        self._move_at = math.inf
        if self._superseded and code == SUPERSEDED:
            code = LOST  # by our own hello, though that socket may be lost again meanwhile
        if self.next is None or self._ends(code):
            self._opening_until = math.inf
            self._fail(code, reason, now_ms)
            return
        self._welcomed = False
        if self.greeted is not None:
            self._promote(now_ms)

    def _ends(self, code: int) -> bool:
        """Whether the client must not come back by itself."""
        renews = code == TOKEN_ENDED and self._renewable and self._welcomed
        return close_is_final(code) and not renews

    def _fail(self, code: int, reason: str, now_ms: float) -> None:
        """A try is over: back off, or end for good."""
        self._code, self._reason = code, reason
        if self._ends(code):
            self._end(reason or f"The gateway closed the connection for good ({code}).")
            return
        self._attempt = 1 if now_ms >= self._steady_at else self._attempt + 1
        self._steady_at = self._move_at = math.inf
        self._welcomed = False
        self._retry_at = now_ms + delay_ms(self._attempt, code, self._random)

    def _end(self, message: str) -> None:
        """No more tries; what has no answer yet gets one."""
        self._drop_next()
        self._drop_current()
        self._running = self._welcomed = False
        self._retry_at = self._move_at = self._steady_at = math.inf
        self._attempt = 0
        for command in list(self.pending):
            self._answer(command, refusal(command, "client.closed", message))

    # --- hello, and what follows it

    def _hello(self, token: str | None) -> Hello:
        """The first frame on a socket, with every cursor."""
        sessions = [one.request() for one in self._known()]
        return Hello(client=self.client, token=token, app=self._app, sessions=sessions or None)

    def _known(self) -> list[Subscription]:
        """The subscriptions that need not wait for a command without an answer."""
        return [s for s in self.subscriptions.values() if s.after not in self.pending]

    def _deliver(self, greeted: dict[str, tuple[Subscription, Wishes]]) -> None:
        """Say on `current` what its hello did not: pending commands, changed subscriptions."""
        for one in self._known():
            asked, wishes = greeted.get(one.session, (None, None))
            if asked is one and wishes is one.wishes:
                one.await_answer(HELLO)
            else:
                one.outdated = one.session in greeted
                self._subscribe(one)
        for session in greeted:
            if session not in self.subscriptions:
                self._unsubscribe(session)
        for command, pending in list(self.pending.items()):
            if pending.type == "auth.refresh":
                # the hello just brought a token that is at least as new
                self._answer(command, encode({"type": "ok", "id": command}))
                continue
            self._lines.append(pending.line)
            for one in self.subscriptions.values():
                if one.after == command:
                    self._subscribe(one)

    def _subscribe(self, subscription: Subscription) -> None:
        answer = self._make_id("k")
        request = subscription.request()
        fields = {name: getattr(request, name) for name in SubscriptionOptions.__struct_fields__}
        self._send(SessionSubscribe(id=answer, **fields))
        subscription.await_answer(answer)

    def _unsubscribe(self, session: str) -> None:
        self._send(SessionUnsubscribe(id=self._make_id("k"), session=session))

    def _answer(self, command: str, frame: bytes) -> None:
        if self.pending.pop(command, None) is not None:
            self._effects.append(steps.Answered(command, frame))

    def _probe(self, now_ms: float) -> None:
        """Ask for a sign of life, after a hint that the network has changed."""
        if self.current is not None:
            self._send(PingUp())
            self._probe_until = min(self._probe_until, now_ms + PROBE_MS)

    # --- inputs

    def _on_start(self, _: steps.Start, now_ms: float) -> None:
        if not self._running:
            self._running = True
            self._open(now_ms)

    def _on_stop(self, _: steps.Stop, __: float) -> None:
        self._code, self._reason = 1000, ""
        self._end("The client was closed.")

    def _on_opened(self, taken: steps.Opened, now_ms: float) -> None:
        if taken.socket != self.next or self.greeted is not None:
            return
        self._opening_until = now_ms + OPENING_MS
        greeted = {one.session: (one, one.wishes) for one in self._known()}
        hello = self._hello(taken.token)
        if self.current is not None:
            self.greeted = greeted
            self._superseded = True
            self._effects.append(steps.Send(taken.socket, encode(hello)))
            return
        self.current, self.next = taken.socket, None
        self._superseded = False
        self._welcomed = False
        self._heard_at = now_ms
        self._send(hello)
        self._deliver(greeted)

    def _on_text(self, taken: steps.Text, now_ms: float) -> None:
        if taken.socket not in (self.current, self.next):
            return
        for line in taken.text.split(b"\n"):
            frame = read(line)
            if frame is None:
                continue
            if taken.socket == self.next and frame.type == "welcome":
                self._promote(now_ms)
            if taken.socket == self.current:
                self._receive(frame, line, now_ms)
        if taken.socket == self.current:
            self._heard_at = now_ms
            self._probe_until = math.inf

    def _on_closed(self, taken: steps.Closed, now_ms: float) -> None:
        if taken.socket == self.current:
            self._lose(taken.code, taken.reason, now_ms)
        elif taken.socket == self.next:
            self._forget_next()
            if self.current is None or self._ends(taken.code):
                self._fail(taken.code, taken.reason, now_ms)
                return
            # a move that failed is tried again while the old socket lives
            self._move_later(taken.code, now_ms)

    def _move_later(self, code: int, now_ms: float) -> None:
        self._attempt += 1
        self._move_at = now_ms + delay_ms(self._attempt, code, self._random)

    def _on_tick(self, _: steps.Tick, now_ms: float) -> None:
        if now_ms >= self._retry_at:
            self._open(now_ms)
        elif now_ms >= self._opening_until:
            self._give_up(now_ms)
        if self.current is None:
            return
        if now_ms >= self._move_at and self.next is None:
            self._open(now_ms)
        if now_ms >= min(self._heard_at + SILENCE_MS, self._probe_until):
            self._drop_current()
            self._lose(LOST, "The connection fell silent.", now_ms)
            return
        for subscription in self.subscriptions.values():
            if now_ms >= subscription.retry_at:
                self._subscribe(subscription)

    def _give_up(self, now_ms: float) -> None:
        """A socket did not open, or was not welcomed, in time."""
        if self.next is not None:
            self._drop_next()
        else:
            self._opening_until = math.inf
            self._drop_current()
        if self.current is None:
            self._fail(LOST, "The gateway did not answer.", now_ms)
        else:
            self._move_later(0, now_ms)

    def _on_hint(self, _: steps.Hint, now_ms: float) -> None:
        if not math.isinf(self._retry_at):
            self._open(now_ms)
        else:
            self._probe(now_ms)

    def _on_online(self, taken: steps.Online, now_ms: float) -> None:
        self._online = taken.online
        if taken.online and not math.isinf(self._retry_at):
            self._open(now_ms)
        else:
            self._probe(now_ms)

    def _on_issue(self, taken: steps.Issue, _: float) -> None:
        command = taken.frame.id
        line = encode(taken.frame)
        kind = str(type(taken.frame).__struct_config__.tag)
        self.pending[command] = Pending(kind, line)
        if not self._running:
            text = "The client is closed: connect first."
            self._answer(command, refusal(command, "client.closed", text))
        elif len(line) > self._max_frame_bytes:
            # such a message would cost the connection, each time that it is sent again
            text = f"The frame has {len(line)} bytes; the gateway takes {self._max_frame_bytes}."
            self._answer(command, refusal(command, "frame.too_large", text))
        elif self.current is not None:
            self._lines.append(line)

    def _on_subscribe(self, taken: steps.Subscribe, _: float) -> None:
        subscription = self.subscriptions.get(taken.session)
        if subscription is None:
            subscription = Subscription(taken.session, taken.wishes, taken.after)
            self.subscriptions[taken.session] = subscription
        subscription.change(taken.wishes)
        if self.current is not None:
            self._subscribe(subscription)

    def _on_unsubscribe(self, taken: steps.Unsubscribe, _: float) -> None:
        known = self.subscriptions.pop(taken.session, None)
        if known is not None and self.current is not None:
            self._unsubscribe(taken.session)

    # --- frames

    def _receive(self, frame: Place | Control, line: bytes, now_ms: float) -> None:
        if isinstance(frame, Place):
            self._event(frame, line, now_ms)
        elif (take := self.frames.get(frame.type)) is not None:
            take(self, frame, line, now_ms)

    def _event(self, place: Place, line: bytes, now_ms: float) -> None:
        subscription = self.subscriptions.get(place.session)
        if subscription is None:
            return
        verdict = subscription.receive(place.seq, place.from_seq, now_ms)
        if verdict is Verdict.LOST:
            self._subscribe(subscription)
        elif verdict is Verdict.APPLY:
            if place.type == "session.deleted":
                del self.subscriptions[place.session]
            self._effects.append(steps.Received(place.session, place.seq, line))

    def _on_welcome(self, frame: Control, line: bytes, now_ms: float) -> None:
        self._welcomed = self._ever_welcomed = True
        self._opening_until = math.inf
        self._steady_at = now_ms + STEADY_MS
        limit = frame.limits.max_frame_bytes if frame.limits is not None else None
        self._max_frame_bytes = MAX_FRAME_BYTES if limit is None else limit
        self._effects.append(steps.Welcomed(line))

    def _on_ok(self, frame: Control, line: bytes, _: float) -> None:
        self._answer(frame.id or "", line)

    def _on_error(self, frame: Control, line: bytes, now_ms: float) -> None:
        subscription = self.subscriptions.get(frame.session)
        if frame.id is not None and frame.id in self.pending:
            # a draining replica: the command stays and goes to the one we move to
            if frame.code != "server.draining":
                self._answer(frame.id, line)
        elif subscription is not None and subscription.awaiting == (frame.id or HELLO):
            self._refuse(subscription, frame, line, now_ms)
        elif frame.id is None:
            self._effects.append(steps.Problem(line))

    def _refuse(
        self, subscription: Subscription, frame: Control, line: bytes, now_ms: float
    ) -> None:
        if not frame.retryable:
            del self.subscriptions[subscription.session]
            self._effects.append(steps.Refused(subscription.session, line))
            return
        subscription.refusals += 1
        wait_ms = delay_ms(subscription.refusals, 0, self._random)
        # what came meanwhile was for the place that was lost: keep dropping it
        subscription.await_answer(HELLO)
        subscription.retry_at = now_ms + wait_ms

    def _on_subscribed(self, frame: Control, _: bytes, __: float) -> None:
        session = frame.session
        subscription = self.subscriptions.get(session)
        if subscription is None:
            return
        outcome = subscription.subscribed(
            frame.id,
            recovered=frame.recovered,
            epoch=frame.epoch,
            seq=frame.seq,
            granted=frame.detail,
        )
        if outcome == "reset":
            self._effects.append(
                steps.Reset(session, frame.epoch, frame.seq, frame.detail, frame.state)
            )
        elif outcome == "recovered":
            self._effects.append(steps.Recovered(session))
        elif outcome == "lost":
            self._subscribe(subscription)

    def _on_cursor(self, frame: Control, _: bytes, __: float) -> None:
        subscription = self.subscriptions.get(frame.session)
        if subscription is not None and subscription.skip(frame.seq) is Verdict.LOST:
            self._subscribe(subscription)

    def _on_ping(self, _: Control, __: bytes, ___: float) -> None:
        self._send(PongUp())

    def _on_expiring(self, _: Control, __: bytes, ___: float) -> None:
        self._effects.append(steps.Refresh())

    def _on_goaway(self, frame: Control, _: bytes, now_ms: float) -> None:
        self._move_at = now_ms + frame.reconnect_after_ms

    def _on_pong(self, _: Control, __: bytes, ___: float) -> None:
        """That it came is all it says."""

    inputs: ClassVar[dict[type, Callable[["Connection", Any, float], None]]] = {
        steps.Start: _on_start,
        steps.Stop: _on_stop,
        steps.Tick: _on_tick,
        steps.Hint: _on_hint,
        steps.Online: _on_online,
        steps.Opened: _on_opened,
        steps.Text: _on_text,
        steps.Closed: _on_closed,
        steps.Issue: _on_issue,
        steps.Subscribe: _on_subscribe,
        steps.Unsubscribe: _on_unsubscribe,
    }
    frames: ClassVar[dict[str, Callable[["Connection", Control, bytes, float], None]]] = {
        "welcome": _on_welcome,
        "ok": _on_ok,
        "error": _on_error,
        "subscribed": _on_subscribed,
        "cursor": _on_cursor,
        "ping": _on_ping,
        "pong": _on_pong,
        "auth.expiring": _on_expiring,
        "goaway": _on_goaway,
    }
