"""What an agent sees of its run, and the verbs it moves it with (docs/agents.md).

Every verb returns when what it did is stored, or (streams) is on its way; when the run is over,
stopped or taken over, every verb raises `CancelledError`. Nothing of brokers, leases or fences
shows here.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from msgspec import Struct

from gateway.runtime import children
from gateway.runtime.calls import CallResult, Calls
from gateway.runtime.children import ChildResult
from gateway.runtime.failures import AgentError, DivergedError
from gateway.runtime.gate import THINK_TAGS, Gate, Preamble, Tags
from gateway.runtime.history import HistoryMessage, history, one_of_history
from gateway.runtime.keeper import Keeper
from gateway.runtime.plain import checked, clean, native, plain
from gateway.runtime.replay import Replay
from gateway.runtime.writer import MessageWriter
from gateway.sessions import inputs
from gateway.sessions.draft import NewId
from gateway.sessions.ids import derived_id
from gateway.sessions.session import digest, same_json
from gateway.sessions.store import Store
from protocol import events as ev
from protocol.model import Run
from protocol.values import FinishReason, Metadata, Tool, Usage

PACED_S = 1.0
"""Longer pauses are not worth sharing a timer."""


class Decision(Struct, frozen=True, kw_only=True):
    """What a person decided; `arguments` only if they were edited."""

    decision: Literal["approve", "deny", "expired", "cancelled"]
    arguments: Any = None
    reason: str | None = None
    by: str | None = None

    @property
    def approved(self) -> bool:
        """Whether it may be done."""
        return self.decision == "approve"


class Hold(Struct):
    """What a context works with in one attempt."""

    keeper: Keeper
    calls: Calls
    store: Store
    replay: Replay | None
    """None: the agent does not replay."""
    new_id: NewId
    preamble: Preamble


class RunContext:
    """One run, as its agent works on it in this attempt."""

    def __init__(self, hold: Hold) -> None:
        run = hold.keeper.state.live_run
        assert run is not None, "a context is made for a live run"
        self.id = run.id
        self.session = hold.keeper.state.session
        self.client = run.client
        """The tab that triggered the run."""
        self.input: Any = run.input
        """What `run.start` gave."""
        self.finish_reason: FinishReason | None = None
        self.usage: Usage | None = None
        self._hold = hold
        self._keeper = hold.keeper
        self._recorder = hold.keeper.recorder
        self._replay = hold.replay or Replay()
        self._open: MessageWriter | None = None
        self._trigger = run.trigger
        # Messages that the agent has looked at; steering among them is read by the next step.
        self._seen: set[str] = set()
        # Messages of this run that this attempt has made or passed, for a replayed agent.
        self._own: list[str] = []
        # Approvals of earlier attempts whose answer this one has not had.
        self._unheard = [] if hold.replay is not None else list(hold.keeper.ledger.asked)
        self._children = 0

    # --- what there is

    @property
    def metadata(self) -> Metadata:
        """The session's metadata."""
        return dict(self._keeper.state.metadata)

    @property
    def tools(self) -> list[Tool]:
        """The page's tools and the agent's own."""
        return self._hold.calls.known()

    @property
    def messages(self) -> list[HistoryMessage]:
        """The history for a model call; steering in it is read by the next `message()`."""
        own = None if self._hold.replay is None else self._own
        found = history(self._keeper.state, self._run, own)
        self._seen.update(m.id for m in found)
        return found

    @property
    def trigger(self) -> HistoryMessage | None:
        """The message that triggered the run."""
        if self._trigger is None:
            return None
        return one_of_history(self._keeper.state, self._run, self._trigger)

    @property
    def text(self) -> str:
        """The text of the message that triggered the run."""
        trigger = self.trigger
        return "" if trigger is None else trigger.text

    @property
    def replaying(self) -> bool:
        """Whether what the agent does now was done by an earlier attempt."""
        writer = self._open
        inside = writer is not None and writer.committed and not writer.ended
        return inside or self._replay.ahead

    def steering(self) -> list[HistoryMessage]:
        """Messages that came for the live run and that it has not seen; the next step reads them.

        For agents that resume by history: a replayed one sees its messages as at its start.
        """
        unread = set(self._keeper.ledger.unread) - self._seen
        if not unread:
            return []
        found = [m for m in history(self._keeper.state, self._run) if m.id in unread]
        self._seen.update(m.id for m in found)
        return found

    # --- messages

    @asynccontextmanager
    async def message(
        self,
        *,
        preamble: Preamble | None = None,
        tags: Tags = THINK_TAGS,
        marker: str | None = None,
        opened: bool = False,
    ) -> AsyncGenerator[MessageWriter]:
        """One model step: a message, open within the block; options as `gate.Gate`'s.

        At the end calls that were named and not requested are requested and awaited. After an
        exception the message is `failed`, and no model sees it again.
        """
        gate = Gate(
            preamble=preamble or self._hold.preamble, tags=tags, marker=marker, opened=opened
        )
        writer = await self._begin(gate)
        try:
            yield writer
        except BaseException:
            await writer.fail()
            raise
        if not writer.ended:
            await writer.call_tools()

    async def open_message(self) -> MessageWriter:
        """A message that is open until `end()`, or until the next call, approval or child."""
        return await self._begin(Gate(tags=()))

    async def say(self, text: str, *, chunk: int | None = None) -> None:
        """A message of its own with one text; in deltas of `chunk` characters."""
        pieces = cut(native(text), chunk)  # what is no text opens no message
        writer = await self._begin(Gate(tags=()))
        for piece in pieces:
            await writer.text(piece)
        await writer.end()

    async def think(self, text: str) -> None:
        """A message of its own with one thought."""
        text = native(text)
        writer = await self._begin(Gate(tags=()))
        await writer.thinking(text)
        await writer.end()

    # --- calls, approvals, children

    async def call_tool(self, name: str, /, **arguments: Any) -> Any:
        """The output of one call of a client or server tool. Raises `ToolError`."""
        return (await self.call_tools([(name, arguments)]))[0].unwrap()

    async def call_tools(self, wanted: Sequence[tuple[str, Mapping[str, Any]]]) -> list[CallResult]:
        """Several calls at once; returns when each has a result, in the same order."""
        await self._end_open()
        if not wanted:
            return []
        asked = [(clean(name), plain(dict(given), "arguments")) for name, given in wanted]
        committed = self._replay.calls(asked)
        if committed is not None:
            self._own.append(committed[0].message)
            return await self._hold.calls.results([c.id for c in committed])
        await self._keeper.lease.ready()
        calls = self._hold.calls
        requests = [calls.request(self._hold.new_id("c"), name, given) for name, given in asked]
        refused = {r.call: calls.refusal(r.name) for r in requests}
        message = self._hold.new_id("m")
        self._own.append(message)
        step = inputs.RequestCalls(
            message=message,
            calls=requests,
            invalid={c: error for c, error in refused.items() if error is not None},
        )
        await calls.ask(step)
        return await calls.results([r.call for r in requests])

    async def approve(self, title: str, arguments: Any = None) -> Decision:
        """Asks a person; returns their decision, or `expired` after the run's time to live."""
        await self._end_open()
        asked = plain(arguments, "arguments")
        title = clean(title)
        approval = self._asked_before(title, asked)
        if approval is None:
            approval = self._hold.new_id("ap")
            await self._recorder.step(
                inputs.AskApproval(approval=approval, title=title, arguments=asked)
            )
        await self._keeper.until(
            lambda session: session.state.approvals[approval].decision is not None, [approval]
        )
        decided = self._keeper.state.approvals[approval]
        assert decided.decision is not None, "it was awaited"
        return Decision(
            decision=decided.decision,
            arguments=None if same_json(decided.arguments, asked) else decided.arguments,
            reason=decided.reason,
            by=decided.by,
        )

    async def start_child(self, agent: str, input: Any = None) -> ChildResult:  # noqa: A002
        """A run of another agent in a session of its own; returns when it has ended.

        Who stops waiting (`asyncio.timeout`) stops the child.

        Raises:
            AgentError: `agent.not_found`: no process offered such an agent within 24 h.
        """
        self._children += 1
        child = self._child_id()
        await self._end_open()
        given = plain(input, "input")
        committed = self._replay.child(agent, child)
        run = await self._begin_child(child, agent, given) if committed is None else committed.run
        store, parent = self._hold.store, self._keeper.attempt.session
        try:
            cancelled = committed is not None and committed.status == "cancelled"
            result = await children.ended(store, parent, child, run, cancelled=cancelled)
        except asyncio.CancelledError:
            if not self._recorder.closed:
                await children.stop(store, parent, child, run)
                await self._child_step(child, run, agent, "cancelled")
            raise
        if committed is None or committed.status == "started":
            await self._child_step(child, run, agent, result.status)
        return result

    # --- signs of life

    async def activity(self, activity: str, text: str | None = None) -> None:
        """What the run does now: `thinking`, `calling_tool`, `preparing`, `uploading`, …"""
        await self._tell(ev.RunActivity(time="", run=self.id, activity=activity, text=text))

    async def progress(
        self, current: float, total: float | None = None, text: str | None = None
    ) -> None:
        """How far the run is."""
        await self._tell(
            ev.RunProgress(time="", run=self.id, current=current, total=total, text=text)
        )

    async def log(self, text: str, *, level: str = "info") -> None:
        """A line for developers."""
        await self._tell(ev.RunLog(time="", run=self.id, level=level, text=text))

    async def output(self, value: Any) -> None:
        """The output so far; the last one is the run's, unless the agent returns another."""
        await self._tell(ev.RunOutput(time="", run=self.id, output=value))

    async def emit(self, name: str, value: Any = None, *, keep: bool = False) -> None:
        """A custom event; with `keep` its newest value stays in the session's state."""
        await self._tell(ev.Custom(time="", name=name, value=value, keep=keep or None))

    async def update(
        self, *, metadata: Metadata | None = None, tools: list[Tool] | None = None
    ) -> None:
        """Changes the session: metadata is merged by key (None deletes), tools are replaced."""
        if not self.replaying:
            await self._recorder.step(inputs.UpdateSession(metadata=metadata, tools=tools))

    def finish(self, finish_reason: FinishReason | None, usage: Usage | None = None) -> None:
        """Why the model stopped; `usage` instead of the sum over the run's messages."""
        end = checked(inputs.CompleteRun(finish_reason=finish_reason, usage=usage), "finish")
        self.finish_reason, self.usage = end.finish_reason, end.usage

    async def ready(self) -> None:
        """Returns when something outside may be asked or done: no other worker has the run.

        Await it right before requests of the agent's own; calls of tools and `message()` do.
        """
        await self._keeper.lease.ready()

    def pace(self, due: float) -> Awaitable[None]:
        """Awaited, returns at `due` of the event loop's clock: for streams with their own rhythm.

        Up to 3 ms early, and cheaper than `asyncio.sleep` when thousands of runs do it.
        """
        beat = self._keeper.beat
        ahead = due - beat.loop.time()
        if ahead > PACED_S:
            return self._pace_long(due, ahead)
        return beat.until(beat.time() + ahead)

    async def _pace_long(self, due: float, ahead: float) -> None:
        await asyncio.sleep(ahead - PACED_S)
        await self.pace(due)

    @property
    def diverged(self) -> DivergedError | None:
        """Set once a replay went another way, even if the agent caught the error."""
        return self._replay.diverged

    # --- parts

    @property
    def _run(self) -> Run:
        run = self._keeper.state.run
        assert run is not None, "a session that had a run keeps its newest"
        return run

    async def _begin(self, gate: Gate) -> MessageWriter:
        if self._open is not None and not self._open.ended:
            raise AgentError("agent.failed", "Another message is open; end it first.")
        committed = self._replay.message()
        writer = MessageWriter(
            self._keeper, self._hold.calls, self._replay, gate, self._hold.new_id, committed
        )
        self._open = writer
        self._own.append(writer.id)
        if committed is None:
            await self._keeper.lease.ready()
            read = [m for m in self._keeper.ledger.unread if m in self._seen]
            await self._recorder.step(inputs.StartMessage(message=writer.id, read=read))
            await self._keeper.lease.ready()  # the model is asked next, and storing took its time
        return writer

    async def _end_open(self) -> None:
        writer, self._open = self._open, None
        if writer is not None:
            await writer.end()

    async def _tell(self, event: ev.StreamEvent) -> None:
        """A stream event that belongs to no message; not again in a replay."""
        if self.replaying:
            return
        if self._recorder.full:
            await self._recorder.room()
        self._recorder.fact(event)

    def _asked_before(self, title: str, arguments: Any) -> str | None:
        """The same question of an earlier attempt, answered or not.

        An agent that resumes by history asks again what it asked since its newest message.
        """
        committed = self._replay.approval(title, arguments)
        if committed is not None:
            return committed.id
        state, shown = self._keeper.state, self._keeper.ledger.shown
        for approval in self._unheard:
            known = state.approvals.get(approval)
            if known and known.title == title and shown.get(approval) == digest(arguments):
                self._unheard.remove(approval)
                return approval
        return None

    def _child_id(self) -> str:
        """Of a replayed agent the same in each attempt: a lost one may have made the child."""
        if self._hold.replay is None:
            return self._hold.new_id("s")
        return derived_id("s", self.session, self.id, str(self._children))

    async def _begin_child(self, child: str, agent: str, given: Any) -> str:
        """The child's run. Cancelled, it leaves none that nobody will find."""
        store, parent = self._hold.store, self._keeper.attempt.session
        await self._keeper.lease.ready()
        run: str | None = None
        try:
            _, run = await children.start(store, parent, agent, given, child)
            await self._child_step(child, run, agent, "started")
        except asyncio.CancelledError:
            goes_on = self._recorder.closed and self._hold.replay is not None
            if not goes_on or await children.is_over(store, parent, self.id):
                await children.stop(store, parent, child, run)
                if run is not None and not self._recorder.closed:
                    await self._child_step(child, run, agent, "cancelled")
            raise
        return run

    async def _child_step(
        self,
        session: str,
        run: str,
        agent: str,
        status: Literal["started", "completed", "failed", "cancelled"],
    ) -> None:
        await self._recorder.step(
            inputs.ChildStep(child_session=session, child_run=run, agent=agent, status=status)
        )


def cut(text: str, chunk: int | None) -> list[str]:
    """`text` in pieces of `chunk` characters."""
    if not chunk:
        return [text]
    return [text[at : at + chunk] for at in range(0, len(text), chunk)]
