"""A run on its own: an agent, its input, and updates until it ends, in a session of its own.

An update tells how it was when its event happened, so the updates fold the events once more, by
themselves: the session's state may be ahead of them.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Literal, Protocol, TypeAlias

from msgspec import Struct, convert, structs

from gateway.client.agent import Opener, tell_of_waiting
from gateway.client.errors import GatewayError, usage
from gateway.client.session import Session, Started, text_of
from gateway.client.stream import EventStream, StateReset
from gateway.client.tasks import Tasks
from gateway.client.words import WAITING_FOR_WORKER
from protocol import events as ev
from protocol.state import Run, State, copy
from protocol.values import Detail, ErrorInfo, Progress

Status: TypeAlias = Literal[
    "queued",
    "preparing",
    "serving",
    "setting_up",
    "running",
    "waiting",
    "uploading",
    "completed",
    "failed",
    "cancelled",
]

PHASES = frozenset(("preparing", "serving", "setting_up", "uploading"))
"""Activities that say where a task is."""

ENDS = frozenset(("completed", "failed", "cancelled"))
STOP_SECONDS = 2.0


class Task(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be run."""

    agent: str
    input: Any = None
    metadata: dict[str, Any] | None = None
    detail: Detail | None = None


class Update(Struct, frozen=True, kw_only=True):
    """What is new of a run; fields without news are empty. `output` and `error` come with its end.

    `logs` are those since the last update, `text` is all that was said so far.
    """

    status: Status
    logs: list[str] = []
    progress: Progress | None = None
    partial_output: Any = None
    text: str | None = None
    activity: str | None = None
    output: Any = None
    error: ErrorInfo | None = None


def task_of(task: str | Mapping[str, Any]) -> Task:
    """The task, of an agent's name or of a mapping; `app` is taken for `agent`.

    Raises:
        GatewayError: `client.usage`; the text names what is wrong.
    """
    fields = {"agent": task} if isinstance(task, str) else dict(task)
    if "app" in fields:
        fields.setdefault("agent", fields.pop("app"))
    try:
        return convert(fields, Task)
    except ValueError as error:
        usage(f"This is no task: {error}")


class Launcher(Opener, Protocol):
    """What a run needs of its client."""

    tasks: Tasks


class AsyncRun(AsyncIterator[Update]):
    """A run's updates, to be read once; it starts when the first is asked for.

    Leaving the loop only stops listening; `cancel` stops the run.
    """

    def __init__(self, client: Launcher, task: Task) -> None:
        self._client = client
        self._task = task
        self._launched: tuple[Session, asyncio.Task[Started]] | None = None
        self._updates = self._follow()

    def __aiter__(self) -> AsyncGenerator[Update]:
        return self._updates

    async def __anext__(self) -> Update:
        """The next update."""
        return await anext(self._updates)

    async def cancel(self) -> None:
        """Stop the run, if it was started."""
        if self._launched is None:
            return
        session, launching = self._launched
        await asyncio.wait([launching])
        if not launching.cancelled() and launching.exception() is None:
            await session.stop(launching.result().run)

    async def _give_up(self) -> None:
        with suppress(GatewayError):  # it has ended, or the client is closed
            await self.cancel()

    async def outcome(self, timeout: float | None = None) -> Update:
        """All updates in one. After `timeout` seconds the run is stopped.

        That is waited for 2 s at most: a gateway that is away is told when it is back.

        Raises:
            GatewayError: it failed, or it was stopped (`client.cancelled`).
            TimeoutError: it took longer.
        """
        last = Update(status="queued")
        try:
            async with asyncio.timeout(timeout):
                async for update in self._updates:
                    last = merged(last, update)
        except TimeoutError:
            stopping = self._client.tasks.start(self._give_up())
            await asyncio.wait([stopping], timeout=STOP_SECONDS)
            raise
        if last.status == "failed" and last.error is not None:
            raise GatewayError(last.error.code, last.error.message)
        if last.status != "completed":
            raise GatewayError("client.cancelled", "The run was stopped.")
        return last

    async def _follow(self) -> AsyncGenerator[Update]:
        task = self._task
        session = await self._client.session(
            agent=task.agent, metadata=task.metadata, detail=task.detail
        )
        try:
            events, state = session.events(), copy(session.state)
            # whoever leaves meanwhile does not know the run's id: only its own task can
            launching = self._client.tasks.start(session.run(task.input), awaited=True)
            self._launched = session, launching
            await asyncio.wait([launching])
            if launching.cancelled():
                raise GatewayError("client.closed", "The client was closed.")
            async for update in _updates(session, launching.result(), events, state):
                yield update
        finally:
            session.close()


async def _updates(
    session: Session, started: Started, events: EventStream, state: State
) -> AsyncGenerator[Update]:
    spoke = False  # whether there is text that no update has told of
    async for item in events:
        if isinstance(item, StateReset):
            state = item.state
            known = state.run_of(started.run) or session.ended(started)
        else:
            state.apply(item, state.seq + 1)
            known = state.run_of(started.run)
        if known is None:
            if session.is_over(started):
                return  # it ended unseen, and another one came since
            continue
        if isinstance(item, StateReset) or concerns(item, known, state):
            texts = isinstance(item, ev.MessageDelta | ev.MessagePart)
            spoke = spoke or texts
            if texts and events.backlog:
                continue  # the newest text says it all
            if nobody_takes_it(item):
                tell_of_waiting(state.agent)
            yield structs.replace(news(item, known), text=said(known, state) if spoke else None)
            if known.status in ENDS:
                return
            spoke = False


def nobody_takes_it(item: ev.Event | StateReset) -> bool:
    """Whether it is the news that no worker takes the run."""
    return isinstance(item, ev.RunActivity) and item.activity == WAITING_FOR_WORKER


def concerns(event: ev.Event, run: Run, state: State) -> bool:
    """Whether an event is about the run."""
    if (named := getattr(event, "run", None)) is not None:
        return named == run.id
    message = getattr(event, "message", None)
    return any(one.id == message and one.run == run.id for one in state.messages)


def said(run: Run, state: State) -> str:
    """All that the agent said in the run."""
    return "".join(text_of(message) for message in state.messages if message.run == run.id)


def news(item: ev.Event | StateReset, run: Run) -> Update:
    """What an event says of a run, but for text; `run` is as it was after it."""
    status = status_of(run)
    match item:
        case ev.RunLog():
            return Update(status=status, logs=[item.text])
        case ev.RunProgress():
            return Update(status=status, progress=item.value())
        case ev.RunOutput():
            return Update(status=status, partial_output=item.output)
        case ev.RunActivity():
            return Update(status=status, activity=item.activity)
        case _ if run.status == "completed":
            return Update(status=status, output=run.output)
        case _:
            return Update(status=status, error=run.error)


def status_of(run: Run) -> Status:
    """Its status, or the phase that its agent says it is in."""
    if run.status == "running" and run.activity in PHASES:
        phase: Any = run.activity
        return phase
    return run.status


def merged(before: Update, update: Update) -> Update:
    """Both in one: the newest of each field, and all logs."""
    empty = Update(status=update.status)
    newer = {
        name: value
        for name in update.__struct_fields__
        if (value := getattr(update, name)) != getattr(empty, name)
    }
    fields = {**newer, "status": update.status, "logs": [*before.logs, *update.logs]}
    return structs.replace(before, **fields)
