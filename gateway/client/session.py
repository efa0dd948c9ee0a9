"""The handle of one session: its state, its events, and the commands that act on it.

Knows nothing of sockets: commands go through the port it is given, and the client feeds it what
the connection received.
"""

import asyncio
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct, structs

from gateway.client.bodies import read_event, read_state
from gateway.client.errors import GatewayError, usage
from gateway.client.ids import MakeId
from gateway.client.stream import EventStream
from gateway.client.tools import ToolRunner
from gateway.client.words import WAITING_FOR_WORKER
from protocol import commands as cmd
from protocol.events import Event, RunCancelled, RunCompleted, RunFailed, SessionDeleted
from protocol.frames import Ok
from protocol.state import Approval, Call, Message, Run, State
from protocol.values import ContentPart, ErrorInfo, IfBusy, TextPart, Tool

REMEMBERED_RUNS = 256


class Sent(Struct, frozen=True):
    """A stored message and the run that it started, or that it steers.

    `seq` counts in `epoch`: in another one the message may be lost.
    """

    message: str
    run: str | None
    seq: int
    epoch: str | None = None


class Started(Struct, frozen=True):
    """A run that was queued; `seq` counts in `epoch`."""

    run: str
    seq: int
    epoch: str | None = None


class Port(Protocol):
    """What a session needs of its client."""

    make_id: MakeId
    tools: ToolRunner

    async def command(self, frame: cmd.Command) -> Ok:
        """Send it until it is answered; raises `GatewayError`."""
        ...

    def leave(self, session: str) -> None:
        """Listen to the session no more."""
        ...


def reached(state: State, sent: Sent | Started) -> bool:
    """Whether what a command caused is in the state, or was: in another epoch it may be lost."""
    return state.seq >= sent.seq or sent.epoch not in (None, state.epoch)


def text_of(message: Message) -> str:
    """The whole answer so far: its text parts, without commentary and thinking."""
    return "".join(part.text for part in message.parts if isinstance(part, TextPart))


def waits_for_worker(run: Run) -> bool:
    """Whether nobody takes a run."""
    return run.activity == WAITING_FOR_WORKER


class Session:
    """A session that this client listens to; made by `client.session(…)`.

    `state` is live: it changes as events come, between two awaits of the reader. Copy what must
    stay (`protocol.state.copy`). All methods raise `GatewayError` when the gateway refuses.
    """

    def __init__(self, session: str, port: Port) -> None:
        self.id = session
        self.detail: str = ""
        self.error: GatewayError | None = None
        self._state: State | None = None
        self._closed = False
        self._port = port
        self._streams: weakref.WeakSet[EventStream] = weakref.WeakSet()
        self._changed = asyncio.Event()
        self._ended: dict[str, Run] = {}  # run -> as it ended, the oldest first

    @property
    def state(self) -> State:
        """The session at the newest event that was received."""
        if self._state is None:
            usage(f"Session {self.id} is not open yet.")
        return self._state

    @property
    def closed(self) -> bool:
        """Whether it is no longer listened to: closed, refused or deleted."""
        return self._closed

    @property
    def approvals(self) -> list[Approval]:
        """The questions that wait for an answer."""
        return [a for a in self.state.approvals.values() if a.decision is None]

    @property
    def pending_tool_calls(self) -> list[Call]:
        """Open calls of the tools without a handler: answer with `submit_tool_result`."""
        return self._port.tools.unhandled(self.state)

    @property
    def waiting_for_worker(self) -> bool:
        """Whether nobody can answer just now: the run waits until a worker has its agent."""
        if self._closed or self._state is None:
            return False
        first = self._state.live_run or next(iter(self._state.queue), None)
        return first is not None and waits_for_worker(first)

    def text(self, run: str) -> str:
        """What the agent said in a run so far, its messages one after the other."""
        return "".join(text_of(message) for message in self.state.messages if message.run == run)

    # --- reading

    def events(self) -> EventStream:
        """What happens from now on; `StateReset` where events are missing."""
        stream = EventStream()
        if self._closed:
            stream.end(self.error)
        else:
            self._streams.add(stream)
        return stream

    async def wait_until(self, condition: Callable[[State], bool]) -> State:
        """Wait until the state fulfils a condition; it is asked when something changed.

        Events that came together are one change.

        Raises:
            GatewayError: the session was closed before.
        """
        while self._state is None or not condition(self._state):
            if self._closed:
                text = f"Session {self.id} was closed."
                raise self.error or GatewayError("client.closed", text)
            await self._changed.wait()
        return self._state

    async def finished(self, sent: Sent | Started) -> Run | None:
        """Wait for the end of a run; None if it ended while its end could not be seen.

        That is so when the gateway had to send the whole state, and another run came since, or
        the run was lost with the end of the log.
        """
        await self.wait_until(lambda _: self.is_over(sent))
        return self.ended(sent)

    def is_over(self, sent: Sent | Started) -> bool:
        """Whether the run that a message started has ended."""
        if sent.run is None:
            usage("The message started no run.")
        return self._is_over(self.state, sent.run, sent)

    def ended(self, sent: Sent | Started) -> Run | None:
        """The run as it ended; None if it has not, or ended unseen."""
        return self._ended.get(sent.run or "")

    def _is_over(self, state: State, run: str, sent: Sent | Started) -> bool:
        if run in self._ended:
            return True
        if not reached(state, sent):
            return False
        known = state.run_of(run)
        if known is not None and known.status in ("completed", "failed", "cancelled"):
            self._remember(known)
            return True
        return known is None

    # --- commands

    async def send(
        self,
        content: str | Sequence[ContentPart],
        *,
        message: str | None = None,
        metadata: dict[str, Any] | None = None,
        if_busy: IfBusy = "reject",
        start: bool = True,
        after: str | None = None,
    ) -> Sent:
        """Send a message; unless `start` is false the agent runs.

        `if_busy` says what to do while a run is live. `after` drops the later messages first.
        Returns when it is stored; a connection lost meanwhile only delays that.
        """
        frame = cmd.MessageSend(
            **self._head(),
            content=content if isinstance(content, str) else list(content),
            message=message,
            metadata=metadata,
            if_busy=if_busy,
            start=start,
            after=after,
        )
        ok = await self._port.command(frame)
        return Sent(ok.message or "", ok.run, ok.seq or 0, self._epoch)

    async def run(self, value: Any = None, *, if_busy: IfBusy = "reject") -> Started:
        """Start a run without a message, with any JSON as its input."""
        ok = await self._port.command(cmd.RunStart(**self._head(), input=value, if_busy=if_busy))
        return Started(ok.run or "", ok.seq or 0, self._epoch)

    async def stop(self, run: str | None = None, *, reason: str | None = None) -> None:
        """Stop the live run, or the named one; nothing of it comes afterwards."""
        await self._port.command(cmd.RunInterrupt(**self._head(), run=run, reason=reason))

    async def approve(
        self,
        approval: str,
        *,
        arguments: Any = None,
        reason: str | None = None,
        remember: bool = False,
    ) -> None:
        """Agree; `arguments` if they were edited. `remember`: ask no more for this tool."""
        await self._respond(
            "approve", approval, arguments=arguments, reason=reason, remember=remember
        )

    async def deny(
        self, approval: str, *, reason: str | None = None, remember: bool = False
    ) -> None:
        """Disagree; the agent hears that, and the reason."""
        await self._respond("deny", approval, reason=reason, remember=remember)

    async def _respond(
        self, decision: Literal["approve", "deny"], approval: str, **fields: Any
    ) -> None:
        await self._port.command(
            cmd.ApprovalRespond(**self._head(), approval=approval, decision=decision, **fields)
        )

    async def submit_tool_result(
        self, call: str, output: Any = None, *, error: ErrorInfo | None = None
    ) -> None:
        """Answer a call of a tool that has no handler here."""
        await self._port.command(
            cmd.ToolResult(**self._head(), call=call, output=output, error=error)
        )

    async def update(
        self, *, tools: Sequence[Tool] | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        """Replace the tools; merge the metadata by key, where None deletes."""
        known = None if tools is None else list(tools)
        await self._port.command(cmd.SessionUpdate(**self._head(), tools=known, metadata=metadata))

    async def delete(self) -> None:
        """Stop what runs and delete the session."""
        await self._port.command(cmd.SessionDelete(**self._head()))

    async def messages(self, *, before: str | None = None, limit: int = 50) -> list[Message]:
        """Older messages than the state holds: those before the message `before`."""
        frame = cmd.SessionMessages(**self._head(), before=before, limit=limit)
        return (await self._port.command(frame)).messages or []

    def close(self) -> None:
        """Stop listening, and give up the calls this client executes. The session lives on."""
        if not self._closed:
            self._port.leave(self.id)
            self.end()

    @property
    def _epoch(self) -> str | None:
        return None if self._state is None else self._state.epoch

    def _head(self) -> dict[str, Any]:
        return {"id": self._port.make_id("k"), "session": self.id}

    # --- what the client feeds in

    def apply(self, frame: bytes, seq: int) -> None:
        """The next event."""
        state = self._state
        if state is None:
            return
        event = read_event(frame)
        if event is None:
            state.seq = seq
        else:
            state.apply(event, seq)
            self._note(event, state)
            self._port.tools.heed(event, state)
            for stream in list(self._streams):
                stream.put(event, state)
        self._wake()
        if isinstance(event, SessionDeleted):
            self.end(GatewayError("session.not_found", f"Session {self.id} was deleted."))

    def reset(self, state: bytes, detail: str) -> None:
        """A whole new state."""
        try:
            self._state = read_state(state)
        except GatewayError as error:
            self._port.leave(self.id)
            self.end(error)
            return
        self.detail = detail
        self._port.tools.observe(self._state)
        for stream in list(self._streams):
            stream.reset(self._state)
        self._wake()

    def end(self, error: GatewayError | None = None) -> None:
        """It is no longer listened to."""
        if self._closed:
            return
        self._closed = True
        self.error = error
        self._port.tools.forget(self.id)
        for stream in list(self._streams):
            stream.end(error)
        self._wake()

    def _note(self, event: Event, state: State) -> None:
        if not isinstance(event, RunCompleted | RunFailed | RunCancelled):
            return
        run = state.run
        if run is not None and run.id == event.run:
            self._remember(run)

    def _remember(self, run: Run) -> None:
        self._ended[run.id] = structs.replace(run)
        if len(self._ended) > REMEMBERED_RUNS:
            del self._ended[next(iter(self._ended))]

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
