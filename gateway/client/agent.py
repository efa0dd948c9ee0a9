"""A conversation as most SDKs have it: send a message, read the whole answer as it grows.

One agent object is one session, opened at the first message. Built on `Session` alone; the
blocking twin in `blocking` reads the same turns.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias, TypedDict, Unpack, overload

from msgspec import Struct, convert

from gateway.client.errors import GatewayError, usage
from gateway.client.session import Sent, Session, Started, reached, waits_for_worker
from gateway.client.stream import EventStream, StateReset
from gateway.client.tool import ClientTool
from gateway.client.words import SENTENCES
from protocol.events import Event, ToolCallRequested
from protocol.state import Approval, Call, Run, State, copy
from protocol.values import ContentPart, Detail, ErrorInfo, IfBusy

_log = logging.getLogger("gateway.client")

Content: TypeAlias = str | Sequence[ContentPart]
OnMessage: TypeAlias = Callable[[str, bool], None]
OnToolCall: TypeAlias = Callable[[Call], None]


class AgentConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which agent of the gateway, and how this client takes part."""

    agent: str
    tools: list[Any] = []
    session: str | None = None
    metadata: dict[str, Any] | None = None
    detail: Detail | None = None


class Reply(Struct, frozen=True):
    """An answer so far. `done`: nothing more comes before the caller does something.

    Then either the run has ended (`run` says how, `error` why it failed), or it waits for the
    caller: for results of tools without a handler, or for decisions. `waiting_for_worker`: nobody
    takes it just now; it goes on by itself when a worker comes.
    """

    text: str
    done: bool
    run: Run | None
    pending_tool_calls: list[Call] = []
    pending_approvals: list[Approval] = []
    waiting_for_worker: bool = False

    @property
    def notice(self) -> str:
        """What to tell a person who waits: a sentence while nobody can answer, else nothing."""
        return SENTENCES["no_worker"] if self.waiting_for_worker else ""

    @property
    def error(self) -> ErrorInfo | None:
        """Why the run failed."""
        return self.run.error if self.run is not None else None


Step: TypeAlias = Reply | Call


class Callbacks(TypedDict, total=False):
    """Whom `send_message` tells of a reply that grows, and of calls of client tools."""

    on_message: OnMessage | None
    on_tool_call: OnToolCall | None


class Ears(Struct, frozen=True, kw_only=True):
    """The callbacks of one message."""

    on_message: OnMessage | None = None
    on_tool_call: OnToolCall | None = None

    def hear(self, step: Step) -> None:
        """Tell them of a step."""
        if isinstance(step, Reply):
            if self.on_message is not None and (step.text or step.done):
                self.on_message(step.text, step.done)
        elif self.on_tool_call is not None:
            self.on_tool_call(step)


class Opener(Protocol):
    """What an agent needs of its client."""

    async def session(
        self,
        session: str | None = None,
        *,
        agent: str | None = None,
        tools: Sequence[ClientTool] = (),
        metadata: dict[str, Any] | None = None,
        detail: Detail | None = None,
    ) -> Session:
        """Create or take up a session."""
        ...


def configured(config: str | Mapping[str, Any]) -> AgentConfig:
    """The configuration, of a name or of a mapping; `core_app_ref` is taken for `agent`.

    Raises:
        GatewayError: `client.usage`; the text names what is wrong.
    """
    fields = {"agent": config} if isinstance(config, str) else dict(config)
    if "core_app_ref" in fields:
        fields.setdefault("agent", fields.pop("core_app_ref"))
    try:
        known = convert(fields, AgentConfig)
    except ValueError as error:
        usage(f"This is no configuration of an agent: {error}")
    if not all(isinstance(tool, ClientTool) for tool in known.tools):
        usage("Tools are made by tool(…) … .build().")
    return known


class AsyncAgent:
    """A conversation with one agent; made by `client.agent(…)`."""

    def __init__(self, client: Opener, config: AgentConfig) -> None:
        self._client = client
        self._config = config
        self._session: Session | None = None
        self._opening = asyncio.Lock()
        self._current: Sent | Started | None = None

    async def session(self) -> Session:
        """The session behind it, opened now if it was not."""
        async with self._opening:
            if self._session is None or self._session.closed:
                config = self._config
                self._session = await self._client.session(
                    config.session,
                    agent=config.agent,
                    tools=config.tools,
                    metadata=config.metadata,
                    detail=config.detail,
                )
            return self._session

    @overload
    def send_message(
        self,
        content: Content,
        *,
        stream: Literal[False] = False,
        if_busy: IfBusy = "reject",
        **callbacks: Unpack[Callbacks],
    ) -> Awaitable[Reply]: ...

    @overload
    def send_message(
        self,
        content: Content,
        *,
        stream: Literal[True],
        if_busy: IfBusy = "reject",
        **callbacks: Unpack[Callbacks],
    ) -> AsyncGenerator[Reply]: ...

    def send_message(
        self,
        content: Content,
        *,
        stream: bool = False,
        if_busy: IfBusy = "reject",
        **callbacks: Unpack[Callbacks],
    ) -> Awaitable[Reply] | AsyncGenerator[Reply]:
        """Send a message; await the finished reply, or with `stream` iterate over growing ones.

        `on_message(text, done)` gets the whole text so far, `on_tool_call(call)` every client
        call, whether a handler takes it or not. While no worker takes it, replies say so
        (`waiting_for_worker`), and the logger `gateway.client` has one line. `if_busy` says what
        to do while a run is live: `reject` (the default), `enqueue`, `interrupt` or `steer`.
        """
        steps = self.turn(content, if_busy=if_busy)
        replies = _replies(steps, Ears(**callbacks))
        return replies if stream else _last(replies)

    async def turn(self, content: Content, *, if_busy: IfBusy = "reject") -> AsyncGenerator[Step]:
        """What a message leads to, step by step: growing replies, and calls of client tools."""
        session = await self.session()
        events = session.events()
        sent = await session.send(content, if_busy=if_busy)
        self._current = sent
        async for step in _follow(session, sent, events):
            yield step

    async def submit_tool_result(
        self, call: str, output: Any = None, *, error: ErrorInfo | None = None
    ) -> Reply:
        """Answer a pending call; the reply that the run comes to then."""
        session = await self.session()
        await session.submit_tool_result(call, output, error=error)
        epoch = session.state.epoch
        await session.wait_until(lambda state: _closed(state, call) or state.epoch != epoch)
        return await self._go_on(session)

    async def approve(self, approval: str, **options: Any) -> Reply:
        """Agree (see `Session.approve`); the reply that the run comes to then."""
        session = await self.session()
        await session.approve(approval, **options)
        return await self._decided(session, approval)

    async def deny(self, approval: str, **options: Any) -> Reply:
        """Disagree (see `Session.deny`); the reply that the run comes to then."""
        session = await self.session()
        await session.deny(approval, **options)
        return await self._decided(session, approval)

    async def stop(self, *, reason: str | None = None) -> None:
        """Stop the live run."""
        await (await self.session()).stop(reason=reason)

    async def reset(self) -> None:
        """Begin anew: the next message starts another session."""
        if self._session is not None:
            self._session.close()
        self._session = self._current = None
        if self._config.session is not None:
            usage("The configuration names the session: delete that, or leave the name out.")

    async def _decided(self, session: Session, approval: str) -> Reply:
        epoch = session.state.epoch

        def decided(state: State) -> bool:
            known = state.approvals.get(approval)
            return known is None or known.decision is not None or state.epoch != epoch

        await session.wait_until(decided)
        return await self._go_on(session)

    async def _go_on(self, session: Session) -> Reply:
        if self._current is None:
            usage("This agent was not sent a message yet.")
        steps = _follow(session, self._current, session.events())
        return await _last(_replies(steps, Ears()))


def _closed(state: State, call: str) -> bool:
    known = state.calls.get(call)
    return known is None or known.status == "completed"


async def _follow(
    session: Session, sent: Sent | Started, events: EventStream
) -> AsyncGenerator[Step]:
    """A run from here on, until it ends or waits for the caller."""
    run = sent.run
    if run is None:
        usage("The message started no run.")
    await session.wait_until(lambda state: reached(state, sent))
    reply = _reply(session, sent, run)
    if reply.text or reply.done or reply.waiting_for_worker:
        yield reply
    while not reply.done:
        event = await anext(events, None)
        if event is None:
            raise GatewayError("client.closed", f"Session {session.id} was closed.")
        for call in _calls(event, run):
            yield call
        if events.backlog:
            continue  # the newest text says it all
        newer = _reply(session, sent, run)
        waits, waited = newer.waiting_for_worker, reply.waiting_for_worker
        if newer.text != reply.text or newer.done or waits != waited:
            if waits and not waited:
                tell_of_waiting(session.state.agent)
            reply = newer
            yield reply


def tell_of_waiting(agent: str) -> None:
    """One line for the author of a program that only waits: nothing else would say why."""
    _log.warning("%s No worker has the agent %s.", SENTENCES["no_worker"], agent)


def _calls(event: Event | StateReset, run: str) -> list[Call]:
    """The client calls that an event offers."""
    match event:
        case ToolCallRequested(target="client") if event.run == run:
            return [
                Call(
                    id=event.call,
                    run=event.run,
                    message=event.message,
                    name=event.name,
                    target=event.target,
                    arguments=event.arguments,
                    status="requested",
                    deadline=event.deadline,
                )
            ]
        case _:
            return []


def _reply(session: Session, sent: Sent | Started, run: str) -> Reply:
    ended = session.ended(sent)
    if ended is not None or session.is_over(sent):
        return Reply(session.text(run), True, ended)
    state = session.state
    live = state.run_of(run)
    waits = set(live.on or ()) if live is not None and live.status == "waiting" else set[str]()
    calls = [call for call in session.pending_tool_calls if call.id in waits]
    approvals = [approval for approval in session.approvals if approval.id in waits]
    mine = {one.id for one in (*calls, *approvals)}
    if not mine or waits - mine:
        known = state.run_of(run)
        nobody = known is not None and waits_for_worker(known)
        return Reply(session.text(run), False, None, waiting_for_worker=nobody)
    kept = copy(state)  # the live ones change
    return Reply(
        session.text(run),
        True,
        kept.run_of(run),
        [kept.calls[call.id] for call in calls],
        [kept.approvals[approval.id] for approval in approvals],
    )


async def _replies(steps: AsyncGenerator[Step], ears: Ears) -> AsyncGenerator[Reply]:
    async for step in steps:
        ears.hear(step)
        if isinstance(step, Reply):
            yield step


async def _last(replies: AsyncGenerator[Reply]) -> Reply:
    reply = Reply("", False, None)
    async for newer in replies:
        reply = newer
    return reply
