"""One tool call in this client: claim, execute, renew, deliver (docs/protocol.md).

A job ends once: with its result stored, refused, or cancelled. The result keeps its command id
for every try, so however often it is sent it counts once. Which calls become jobs is decided in
`tools`.
"""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeAlias

import msgspec

from gateway.client.errors import GatewayError
from gateway.client.ids import MakeId
from gateway.client.tool import Handler
from protocol.commands import Command, ToolClaim, ToolRenew, ToolResult
from protocol.frames import Ok
from protocol.state import Call
from protocol.values import ErrorInfo, Progress

RETRY_SECONDS = 1.0
PROGRESS_SECONDS = 0.25
LEASE_MS = 15_000
_FINAL = ("tool.held", "tool.closed", "tool.unknown", "session.not_found", "client.closed")

Issue: TypeAlias = Callable[[Command], Awaitable[Ok]]


class ToolRun:
    """What a handler may know and say beside its arguments; usable from its thread."""

    def __init__(self, call: Call, report: Callable[[Progress], None]) -> None:
        self.call = call
        self._loop = asyncio.get_running_loop()
        self._report = report
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether the result is no longer wanted: a handler in a thread should look at times."""
        return self._cancelled.is_set()

    def progress(
        self, current: float | None = None, total: float | None = None, text: str | None = None
    ) -> None:
        """Tell how far it is; only the newest report of a quarter of a second goes out.

        Raises `TypeError`: a value is none that JSON has.
        """
        msgspec.json.encode((current, total, text))
        self._loop.call_soon_threadsafe(self._report, Progress(current, total, text))

    def cancel(self) -> None:
        """The result is not wanted any more."""
        self._cancelled.set()


class Job:
    """The execution of `call` by `handler`, `delay` seconds from now."""

    def __init__(
        self,
        session: str,
        call: Call,
        handler: Handler,
        *,
        delay: float,
        began: Callable[[], None],
        issue: Issue,
        make_id: MakeId,
    ) -> None:
        self.session = session
        self.call = call.id
        self.delivered = False  # its result was stored: it must not be executed here again
        self.executing = False
        self._handler = handler
        self._delay = delay
        self._began = began
        self._issue = issue
        self._make_id = make_id
        self._lease_ms = LEASE_MS
        self._progress: Progress | None = None
        self._reported = asyncio.Event()
        self._run = ToolRun(call, self._report)

    async def run(self) -> None:
        """Claim, execute, deliver; cancelled when somebody else has the call, or nobody wants it.

        An error of the handler is the call's result, never this coroutine's.
        """
        try:
            await asyncio.sleep(self._delay)
            if await self.claim():
                await self._deliver(await self._execute())
        finally:
            self._run.cancel()

    async def claim(self) -> bool:
        """Take the call, or take it back; whether this client has it now."""
        try:
            ok = await self._insist(lambda: ToolClaim(**self._fields()))
        except GatewayError:
            return False  # held by another client, or closed: either way not ours to execute
        self._lease_ms = ok.lease_ms or LEASE_MS
        return True

    def _fields(self) -> dict[str, Any]:
        return {"id": self._make_id("k"), "session": self.session, "call": self.call}

    async def _execute(self) -> dict[str, Any]:
        """The result's fields."""
        self.executing = True
        self._began()
        async with asyncio.TaskGroup() as group:
            renewing = group.create_task(self._renew())
            try:
                output = await call_handler(self._handler, self._run)
                msgspec.json.encode(output)
            except GatewayError as error:
                return {"error": ErrorInfo(error.code, error.message)}
            except Exception as error:  # noqa: BLE001 - whatever it raised, the agent should hear it
                return {"error": ErrorInfo("tool.failed", str(error) or type(error).__name__)}
            finally:
                self.executing = False
                renewing.cancel()
        return {"output": output}

    async def _deliver(self, result: dict[str, Any]) -> None:
        frame = ToolResult(**self._fields(), **result)
        try:
            await self._insist(lambda: frame)
        except GatewayError as error:
            if error.code not in _FINAL and "error" not in result:
                # the result itself was unfit (too large, say): the agent should hear why
                await self._deliver({"error": ErrorInfo("tool.failed", error.message)})
            return
        self.delivered = True

    async def _insist(self, frame: Callable[[], Command]) -> Ok:
        """Send until there is an answer that repeating would not change."""
        while True:
            try:
                return await self._issue(frame())
            except GatewayError as error:
                if not error.retryable:
                    raise
            await asyncio.sleep(RETRY_SECONDS)

    def _report(self, progress: Progress) -> None:
        self._progress = progress
        self._reported.set()

    async def _renew(self) -> None:
        """Keep the lease while the handler runs; progress goes with a renewal of its own."""
        while True:
            try:
                async with asyncio.timeout(self._lease_ms / 3000):
                    await self._reported.wait()
            except TimeoutError:
                pass
            self._reported.clear()
            progress, self._progress = self._progress, None
            # If the lease is gone, `released` or `completed` says what next; it may be taken back.
            with suppress(GatewayError):
                await self._issue(ToolRenew(**self._fields(), progress=progress))
            await asyncio.sleep(PROGRESS_SECONDS)


async def call_handler(handler: Handler, run: ToolRun) -> Any:
    """Its output: a coroutine function runs in the loop, a plain one in a thread."""
    arguments = (run.call.arguments, run) if _takes_two(handler) else (run.call.arguments,)
    if inspect.iscoroutinefunction(handler):
        return await handler(*arguments)
    output = await asyncio.to_thread(handler, *arguments)
    return await output if inspect.isawaitable(output) else output


def _takes_two(handler: Handler) -> bool:
    """Whether it also wants its `ToolRun`: a second parameter without a default."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    places = [
        parameter
        for parameter in inspect.signature(handler).parameters.values()
        if parameter.kind in kinds and parameter.default is inspect.Parameter.empty
    ]
    return len(places) > 1
