"""Runs of real agents in the test's own process: a memory broker, a store and a worker.

What a page would send is submitted to the store; what it would see is read from the log.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

import msgspec

from gateway.auth import Grant
from gateway.broker.memory import MemoryBroker
from gateway.runtime.agent import Agent
from gateway.runtime.worker import Worker
from gateway.sessions.draft import Origin
from gateway.sessions.store import Store
from protocol import commands as cmd
from protocol import events as ev
from protocol.codec import decode_event
from protocol.frames import Ok
from protocol.state import Call, Message, State
from protocol.values import ErrorInfo, Principal, Tool, Usage
from tests.support.waiting import eventually

DEV = Grant(Principal("local", "dev"), "full")
TAB = Origin(DEV, "tab_A")
EventT = TypeVar("EventT", bound=ev.Event)


class Ended(NamedTuple):
    """The end of a run."""

    status: str
    finish_reason: str | None = None
    usage: Usage | None = None
    error: ErrorInfo | None = None


class Place:
    """One session; the tab that drives it answers the calls of its tools."""

    def __init__(self, store: Store, session: str) -> None:
        self.session = session
        self._store = store
        self._ids = itertools.count(1)

    async def submit(self, kind: type[cmd.SessionCommand], **fields: Any) -> Ok:
        command = kind(id=f"k_{next(self._ids)}", session=self.session, **fields)
        return await self._store.submit(command, TAB)  # type: ignore[arg-type]  # a decided one

    async def send(self, content: Any, **fields: Any) -> str:
        """A user's message; the run that it started, or that it steers."""
        ok = await self.submit(cmd.MessageSend, content=content, **fields)
        assert ok.run is not None
        return ok.run

    async def state(self) -> State:
        return (await self._store.load(self.session, DEV)).state

    async def events(self, kind: type[EventT]) -> list[EventT]:
        """The session's events of one type, oldest first."""
        stored = await self._store.broker.read(self.session, 0, 100_000)
        return [e for _, body in stored if isinstance(e := decode_event(body), kind)]

    async def log(self) -> bytes:
        """Everything that was stored, as it was stored."""
        stored = await self._store.broker.read(self.session, 0, 100_000)
        return b"\n".join(body for _, body in stored)

    async def end(self, run: str) -> Ended:
        """How the run has ended, once it has; another one may live by then."""

        async def ended() -> Ended | None:
            stored = await self._store.broker.read(self.session, 0, 100_000)
            for _, body in stored:
                match decode_event(body):
                    case ev.RunCompleted(run=id_, finish_reason=reason, usage=usage) if id_ == run:
                        return Ended("completed", finish_reason=reason, usage=usage)
                    case ev.RunFailed(run=id_, error=error) if id_ == run:
                        return Ended("failed", error=error)
                    case ev.RunCancelled(run=id_) if id_ == run:
                        return Ended("cancelled")
                    case _:
                        pass
            return None

        found = await eventually(ended, within=20, what=f"the end of {run}")
        assert found is not None
        return found

    async def requested(self, name: str) -> Call:
        """The open call of a client tool, once it is requested."""

        async def offered() -> Call | None:
            calls = (await self.state()).calls.values()
            return next((c for c in calls if c.name == name and c.status == "requested"), None)

        found = await eventually(offered, what=f"a call of {name}")
        assert found is not None
        return found

    async def answer(self, outputs: Mapping[str, Any]) -> None:
        """Gives the results of client calls, in this order; an `ErrorInfo` is an error."""
        for name, output in outputs.items():
            call = (await self.requested(name)).id
            about = {"error": output} if isinstance(output, ErrorInfo) else {"output": output}
            await self.submit(cmd.ToolResult, call=call, **about)

    async def said(self) -> list[Message]:
        """The assistant's messages."""
        return [m for m in (await self.state()).messages if m.role == "assistant"]

    async def parts(self) -> list[Any]:
        """The assistant's messages as (kind, text) or (`tool_call`, name)."""
        state = await self.state()
        return [
            [
                (p["kind"], state.calls[p["call"]].name if "call" in p else p["text"])
                for p in msgspec.to_builtins(message.parts)
            ]
            for message in state.messages
            if message.role == "assistant"
        ]


class Works:
    """A broker and a store, and workers as the test wants them."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.broker = MemoryBroker(clock)
        self.store = Store(self.broker)
        self._ids = itertools.count(1)

    async def place(self, agent: Agent, *tools: Tool) -> Place:
        """A new session of this agent."""
        session = f"s_{next(self._ids)}"
        create = cmd.SessionCreate(
            id=f"k_{session}", agent=agent.name, session=session, tools=list(tools)
        )
        await self.store.submit(create, TAB)
        return Place(self.store, session)

    @asynccontextmanager
    async def worker(self, *agents: Agent) -> AsyncGenerator[asyncio.Task[None]]:
        """A worker that is stopped at the end; cancelling its task is how it is lost."""
        worker = Worker(self.store, agents)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(worker.run())
            try:
                yield task
            finally:
                worker.stop()


@asynccontextmanager
async def working(agent: Agent, *tools: Tool) -> AsyncGenerator[Place]:
    """One session of one agent, and a worker that has it."""
    works = Works()
    place = await works.place(agent, *tools)
    async with works.worker(agent):
        yield place
