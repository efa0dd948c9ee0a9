"""The tools of this client: which open calls it may take, and the jobs that execute them.

Learns of calls from events, and from whole states after a start or a lost log (docs/protocol.md).
At most one job per call. Nothing here speaks to a socket.
"""

import asyncio
from functools import partial
from typing import Any

from gateway.client.ids import MakeId
from gateway.client.job import Issue, Job
from gateway.client.tasks import Tasks
from gateway.client.tool import ClientTool
from protocol.events import (
    Event,
    ToolCallClaimed,
    ToolCallCompleted,
    ToolCallReleased,
    ToolCallRequested,
)
from protocol.state import Call, State

OTHERS_WAIT_SECONDS = 1.0


def claim_delay(call: Call, client: str, *, idempotent: bool) -> float | None:
    """After how many seconds this client may claim a call; None: not its turn."""
    if call.target != "client":
        return None
    if call.status == "claimed":
        return 0 if call.client == client else None
    if call.status != "requested":
        return None
    if call.client in (None, client):
        return 0
    # a lease that ran out: an idempotent tool is offered to all again, its last holder goes first
    return OTHERS_WAIT_SECONDS if idempotent and call.lease_until is not None else None


class ToolRunner:
    """The jobs of one client; `issue` sends a command and gives its `ok`."""

    def __init__(self, client: str, *, issue: Issue, make_id: MakeId, tasks: Tasks) -> None:
        self._client = client
        self._issue = issue
        self._make_id = make_id
        self._tasks = tasks
        self._tools: dict[str, dict[str, ClientTool]] = {}  # session -> name -> tool
        self._jobs: dict[str, dict[str, _Running]] = {}  # session -> call -> job
        self._begun: set[str] = set()  # open calls whose handler was called here

    def declare(self, session: str, tools: list[ClientTool]) -> None:
        """The tools that this client has for a session."""
        self._tools[session] = {tool.name: tool for tool in tools}

    def forget(self, session: str) -> None:
        """Cancel the session's jobs: nobody here listens to it any more."""
        for running in self._jobs.pop(session, {}).values():
            running.task.cancel()
        self._tools.pop(session, None)

    def unhandled(self, state: State) -> list[Call]:
        """Open calls that somebody must answer by hand: their tools have no handler."""
        tools = self._tools.get(state.session, {})
        return [
            call
            for call in state.calls.values()
            if call.target == "client"
            and call.status in ("requested", "claimed")
            and (tool := tools.get(call.name)) is not None
            and tool.handler is None
        ]

    def observe(self, state: State) -> None:
        """A whole new state: drop the jobs of calls that are closed, take up those open."""
        for call_id, running in list(self._jobs.get(state.session, {}).items()):
            call = state.calls.get(call_id)
            if call is None or call.status == "completed" or self._is_others(call):
                running.task.cancel()
            elif call.status == "requested":
                self._reclaim(running)
        for call in state.calls.values():
            if call.status == "completed":
                self._begun.discard(call.id)
            self._consider(state.session, call)

    def heed(self, event: Event, state: State) -> None:
        """An event, and the state after it."""
        match event:
            case ToolCallRequested(call=name) | ToolCallReleased(call=name):
                offered = True
            case ToolCallClaimed(call=name) | ToolCallCompleted(call=name):
                offered = False
            case _:
                return
        call = state.calls.get(name)
        if call is None:
            return
        running = self._jobs.get(state.session, {}).get(name)
        if offered and running is not None and not running.task.done():
            self._reclaim(running)
        elif offered:
            self._consider(state.session, call)
        elif running is not None and (call.status == "completed" or self._is_others(call)):
            running.task.cancel()
            if call.status == "completed":
                del self._jobs[state.session][name]
                self._begun.discard(name)

    def _is_others(self, call: Call) -> bool:
        return call.status == "claimed" and call.client != self._client

    def _reclaim(self, running: "_Running") -> None:
        """The lease was lost while the handler ran: take it back, or stop if it is another's."""
        if running.job.executing:
            self._tasks.start(_take_back(running))

    def _consider(self, session: str, call: Call) -> None:
        tool = self._tools.get(session, {}).get(call.name)
        if tool is None or tool.handler is None:
            return
        delay = claim_delay(call, self._client, idempotent=tool.spec.idempotent)
        jobs = self._jobs.setdefault(session, {})
        old = jobs.get(call.id)
        if delay is None or (old is not None and (not old.task.done() or old.job.delivered)):
            return
        if not tool.spec.idempotent and call.id in self._begun:
            return  # what may have taken effect is not done again, whatever became of its result
        job = Job(
            session,
            call,
            tool.handler,
            delay=delay,
            began=partial(self._begun.add, call.id),
            issue=self._issue,
            make_id=self._make_id,
        )
        running = _Running(job, self._tasks.start(job.run()))
        jobs[call.id] = running
        running.task.add_done_callback(lambda _: self._ended(running))

    def _ended(self, running: "_Running") -> None:
        # a delivered one stays until `completed`: a state may still show the call as open
        jobs = self._jobs.get(running.job.session, {})
        if not running.job.delivered and jobs.get(running.job.call) is running:
            del jobs[running.job.call]


class _Running:
    """A job and the task that it runs in."""

    def __init__(self, job: Job, task: "asyncio.Task[Any]") -> None:
        self.job = job
        self.task = task


async def _take_back(running: _Running) -> None:
    if not await running.job.claim() and running.job.executing:
        running.task.cancel()
