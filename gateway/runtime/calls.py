"""Tool calls of one attempt: what is asked, server tools executed, results awaited.

A client call is answered by a tab through the session's log; a server call runs here, in the
agent's own task group, and its result goes through the same log.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from gateway.runtime.failures import NotJsonError, ToolError
from gateway.runtime.history import arguments_of
from gateway.runtime.keeper import Keeper
from gateway.runtime.plain import checked, plain
from gateway.runtime.tools import NotBegunError, ServerTool, ToolResult, failed
from gateway.sessions import inputs
from gateway.sessions.session import Session
from gateway.telemetry import Metrics
from protocol.values import ErrorInfo, FilePart, Target, Tool

OUTCOME_UNKNOWN = ErrorInfo(
    "tool.outcome_unknown", "The worker was lost during the call; it may have taken effect."
)


GIVEN_UP = ErrorInfo("tool.cancelled", "The agent did not wait for the call any longer.")


class CallResult(Struct, frozen=True, kw_only=True):
    """What came of a call: an `error`, or else the `output`."""

    call: str
    name: str
    arguments: Any
    output: Any = None
    error: ErrorInfo | None = None
    files: list[FilePart] | None = None

    def unwrap(self) -> Any:
        """The output. Raises `ToolError`."""
        if self.error is not None:
            raise ToolError(self.error.code, self.error.message)
        return self.output


class Calls:
    """The tools that a run can call, and the calls that are under way here."""

    def __init__(
        self,
        keeper: Keeper,
        tools: Sequence[ServerTool],
        metrics: Metrics,
        *,
        lost: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keeper = keeper
        self._tools: Mapping[str, ServerTool] = {t.name: t for t in tools}
        self._metrics = metrics
        self._clock = clock
        # Server calls that a lost attempt may have begun.
        self._doubtful = frozenset(_requested(keeper)) if lost else frozenset[str]()
        # Server calls whose function runs now.
        self._under_way: set[str] = set()

    def target(self, name: str) -> Target:
        """Who executes a tool: the agent's own wins over a page's of the same name."""
        if name in self._tools or all(t.name != name for t in self._keeper.state.tools):
            return "server"
        return "client"

    def known(self) -> list[Tool]:
        """All tools that can be called, for a model."""
        own = [
            Tool(
                name=t.name,
                parameters=t.parameters,
                description=t.description,
                approval=t.approval,
                idempotent=t.idempotent,
            )
            for t in self._tools.values()
        ]
        return own + [t for t in self._keeper.state.tools if t.name not in self._tools]

    def request(self, call: str, name: str, arguments: Any) -> inputs.CallRequest:
        """The call as the decider takes it."""
        tool = self._tools.get(name)
        return inputs.CallRequest(
            call=call,
            name=name,
            arguments=plain(arguments, "arguments"),
            target=self.target(name),
            approval=tool.approval if tool is not None else False,
            timeout_ms=round(tool.timeout_s * 1000) if tool is not None else 120_000,
        )

    def refusal(self, name: str) -> ErrorInfo | None:
        """Why a call of this name cannot be offered."""
        if name in self._tools or any(t.name == name for t in self._keeper.state.tools):
            return None
        return ErrorInfo("tool.unknown", f"There is no tool {name}.")

    def unsure(self) -> list[str]:
        """Server calls that this attempt or a lost one may have begun, and nobody may repeat."""
        state = self._keeper.state
        return [
            call
            for call in self._keeper.ledger.open_calls
            if (call in self._under_way or call in self._doubtful)
            and not self._may_repeat(state.calls[call].name)
        ]

    def _may_repeat(self, name: str) -> bool:
        tool = self._tools.get(name)
        return tool is not None and tool.idempotent

    async def results(self, calls: Sequence[str]) -> list[CallResult]:
        """Returns when all of them are closed; server calls among them are executed."""
        if not calls:
            return []
        state = self._keeper.state
        own = [c for c in calls if state.calls[c].target == "server"]
        async with asyncio.TaskGroup() as group:
            for call in own:
                group.create_task(self._serve(call))
            if len(own) < len(calls):
                await self._keeper.until(_closed(calls), calls)
        return [self._result(c) for c in calls]

    async def _serve(self, call: str) -> None:
        """One server call, to its end: also when the agent does not wait for it any more."""
        try:
            await self._carry_out(call)
        except asyncio.CancelledError:
            await self.give_up(call)
            raise

    async def ask(self, step: inputs.RequestCalls | inputs.EndMessage) -> None:
        """Records the step that requests calls.

        Who stops waiting does not take it back: then the server calls among them are given up.
        """
        try:
            await self._keeper.recorder.step(step)
        except asyncio.CancelledError:
            for request in step.calls:
                if request.target == "server":
                    await self.give_up(request.call)
            raise

    async def give_up(self, call: str) -> None:
        """Ends a server call that the agent does not wait for any more."""
        if not self._keeper.recorder.closed:
            await self._keeper.recorder.step(inputs.ServerResult(call=call, error=GIVEN_UP))
            self._under_way.discard(call)

    async def _carry_out(self, call: str) -> None:
        """Executes a call once it is requested; consent may come first."""
        await self._keeper.until(_offered(call), [call])
        known = self._keeper.state.calls[call]
        if known.status == "completed":
            return
        tool = self._tools.get(known.name)
        error: ErrorInfo | None = None
        if tool is None:
            error = ErrorInfo("tool.unknown", f"There is no tool {known.name} any more.")
        elif call in self._doubtful and not tool.idempotent:
            error = OUTCOME_UNKNOWN
        if tool is None or error is not None:
            await self._keeper.recorder.step(inputs.ServerResult(call=call, error=error))
            return
        result = await self._execute(call, tool, known.arguments)
        await self._keeper.recorder.step(_answer(call, result))
        self._under_way.discard(call)

    async def _execute(self, call: str, tool: ServerTool, arguments: Any) -> ToolResult:
        """Calls the function, as soon as the lease is sure to be held at that very moment."""
        lease = self._keeper.lease
        while True:
            await lease.ready()
            began = self._clock()
            self._under_way.add(call)
            try:
                result = await tool.run(arguments, may_begin=lambda: lease.fresh)
            except NotBegunError:
                self._under_way.discard(call)
                continue
            self._metrics.tool("server", self._clock() - began)
            return result

    def _result(self, call: str) -> CallResult:
        known = self._keeper.state.calls[call]
        return CallResult(
            call=call,
            name=known.name,
            arguments=arguments_of(self._keeper.state, known),
            output=known.output,
            error=known.error,
            files=known.files,
        )


def _answer(call: str, result: ToolResult) -> inputs.ServerResult:
    """The result as the decider takes it; one that cannot be stored is a failure."""
    step = inputs.ServerResult(call=call, output=result.output, error=result.error)
    try:
        return checked(step, "result")
    except NotJsonError as error:
        return inputs.ServerResult(call=call, error=failed(str(error)).error)


def _requested(keeper: Keeper) -> list[str]:
    """The server calls that whoever has the run may execute: not those that wait for consent."""
    calls = (keeper.state.calls[c] for c in keeper.ledger.open_calls)
    return [c.id for c in calls if c.target == "server" and c.status == "requested"]


def _closed(calls: Sequence[str]) -> Callable[[Session], bool]:
    return lambda session: not any(c in session.ledger.open_calls for c in calls)


def _offered(call: str) -> Callable[[Session], bool]:
    """Requested, or closed without ever being."""
    return lambda session: session.state.calls[call].status in ("requested", "completed")
