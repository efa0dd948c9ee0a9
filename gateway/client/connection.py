"""The client's side of the protocol as a machine of values: no socket, no timer, no clock.

`step(input, now_ms)` takes what happened and returns what to do; `deadline` says when it wants a
`Tick`. Which socket is in use is `lifeline`; here is what is said on it. The hello of a new one
carries every subscription's cursor, and every command without an answer is sent again under the
same id. That makes both exactly-once (docs/protocol.md).

While a new socket waits for its welcome the old one goes on: what it still says counts, and what
both say is dropped by the cursor. The twin of web/src/connection.js, held to the same vectors.
"""

import random as chance
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from msgspec import Struct

from gateway.client import steps
from gateway.client.backoff import delay_ms
from gateway.client.ids import MakeId, make_id
from gateway.client.incoming import Control, Place, read, refusal
from gateway.client.lifeline import Greeted, Lifeline
from gateway.client.subscription import HELLO, Subscription, Verdict
from protocol.codec import encode
from protocol.commands import (
    App,
    Hello,
    PongUp,
    SessionSubscribe,
    SessionUnsubscribe,
    SubscriptionOptions,
    Up,
)

MESSAGE_BYTES = 256 * 1024
MAX_FRAME_BYTES = 1024 * 1024


class Pending(Struct, frozen=True):
    """A command without an answer, encoded once."""

    type: str
    line: bytes


class Connection(Lifeline):
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
        super().__init__(renewable=renewable, random=random)
        self.client = client
        self.subscriptions: dict[str, Subscription] = {}  # by session
        self.pending: dict[str, Pending] = {}  # command id -> without an answer, oldest first
        self._app = app
        self._make_id = make_id
        self._max_frame_bytes = MAX_FRAME_BYTES
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
        due = [super().deadline]
        if self.current is not None:
            for subscription in self.subscriptions.values():
                due += [subscription.ack_at, subscription.retry_at]
        return min(due)

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

    # --- hello, and what follows it

    def _greeting(self, token: str | None) -> tuple[Hello, Greeted]:
        """With every cursor."""
        known = self._known()
        sessions = [one.request() for one in known]
        hello = Hello(client=self.client, token=token, app=self._app, sessions=sessions or None)
        return hello, {one.session: (one, one.wishes) for one in known}

    def _known(self) -> list[Subscription]:
        """The subscriptions that need not wait for a command without an answer."""
        return [s for s in self.subscriptions.values() if s.after not in self.pending]

    def _deliver(self, greeted: Greeted) -> None:
        """Say on `current` what its hello did not: pending commands, changed subscriptions."""
        for one in self._known():
            asked, wishes = greeted.get(one.session, (None, None))
            if asked is one and wishes is one.wishes:
                one.outdated = False
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

    def _refuse_pending(self, message: str) -> None:
        for command in list(self.pending):
            self._answer(command, refusal(command, "client.closed", message))

    def _answer(self, command: str, frame: bytes) -> None:
        if self.pending.pop(command, None) is not None:
            self._effects.append(steps.Answered(command, frame))

    # --- inputs

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
            self._hear(now_ms)

    def _on_tick(self, taken: steps.Tick, now_ms: float) -> None:
        super()._on_tick(taken, now_ms)
        if self.current is None:
            return
        for subscription in self.subscriptions.values():
            if now_ms >= subscription.retry_at:
                self._subscribe(subscription)

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
        subscription.after = taken.after or subscription.after
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
        self._welcome(now_ms)
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
        elif subscription is not None and (
            subscription.awaiting == (frame.id or HELLO) or _ends(frame, subscription)
        ):
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
        if self.next is None:  # else the move is under way
            self._move_at = now_ms + frame.reconnect_after_ms

    def _on_pong(self, _: Control, __: bytes, ___: float) -> None:
        """That it came is all it says."""

    inputs: ClassVar[Mapping[type, Callable[[Any, Any, float], None]]] = {
        **Lifeline.inputs,
        steps.Tick: _on_tick,
        steps.Text: _on_text,
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


def _ends(error: Control, subscription: Subscription) -> bool:
    """Whether it is the news that the session is gone, or may not be seen any more."""
    unasked = error.id is None and subscription.awaiting is None
    return unasked and error.code == "session.not_found"
