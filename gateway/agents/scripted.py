"""Does what its message says: a JSON list of steps. For tests, demos and load (docs/agents.md).

The message's text, or the run's input, is read and checked as a whole before the first step.
Replayed: an attempt after the first skips what is committed, with its pauses.
"""

import asyncio
from typing import Annotated, Any, assert_never, cast

import msgspec
from msgspec import Meta, Struct

from gateway.runtime.agent import agent
from gateway.runtime.calls import CallResult
from gateway.runtime.children import ChildResult
from gateway.runtime.context import Decision, RunContext, cut
from gateway.runtime.failures import AgentError
from gateway.runtime.writer import MessageWriter
from protocol.values import ErrorInfo, Name, Number

MAX_DEPTH = 16
HELP = (
    "Send a JSON list of steps, such as "
    '[{"say": "Hello"}, {"call_tool": {"name": "read_heading"}}, {"say": "{last}"}].'
)
CANCELLED = ErrorInfo("tool.cancelled", "The child run was cancelled.")

Chunk = Annotated[int, Meta(ge=1, le=1_000_000)]
Pause = Annotated[int, Meta(ge=0, le=86_400_000)]
Times = Annotated[int, Meta(ge=0, le=1_000_000)]


class Step(Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of the list; its field without a default names it."""


class Words(Step, frozen=True):
    """How a text is streamed."""

    chunk: Chunk = 4
    interval_ms: Pause = 0


class Say(Words, frozen=True, kw_only=True):
    say: str


class Think(Words, frozen=True, kw_only=True):
    think: str


class Commentary(Words, frozen=True, kw_only=True):
    commentary: str


class ToolCall(Step, frozen=True):
    name: Name
    arguments: dict[str, Any] = {}


class CallTool(Step, frozen=True):
    call_tool: ToolCall


class CallTools(Step, frozen=True):
    call_tools: list[ToolCall]


class Question(Step, frozen=True):
    title: str
    arguments: Any = None


class Approve(Step, frozen=True):
    approve: Question


class Activity(Step, frozen=True):
    activity: str


class Progress(Step, frozen=True):
    progress: tuple[Number, Number | None]


class Log(Step, frozen=True):
    log: str


class Output(Step, frozen=True):
    output: Any


class Custom(Step, frozen=True):
    name: str
    value: Any = None


class Emit(Step, frozen=True):
    emit: Custom


class Sleep(Step, frozen=True):
    sleep_ms: Pause


class Fail(Step, frozen=True):
    fail: str


class Repeat(Step, frozen=True):
    repeat: Times
    steps: list[Any]


class ChildRun(Step, frozen=True):
    agent: Name
    input: Any = None


class Child(Step, frozen=True):
    child: ChildRun


_KINDS: dict[str, type[Step]] = {
    "say": Say,
    "think": Think,
    "commentary": Commentary,
    "call_tool": CallTool,
    "call_tools": CallTools,
    "approve": Approve,
    "activity": Activity,
    "progress": Progress,
    "log": Log,
    "output": Output,
    "emit": Emit,
    "sleep_ms": Sleep,
    "fail": Fail,
    "repeat": Repeat,
    "child": Child,
}
_encode = msgspec.json.Encoder().encode


@agent(name="scripted", resume="replay", description="Does what the message says, for tests.")
async def scripted(run: RunContext) -> None:
    """Does the steps in order. Errors of tools and denials do not end it."""
    await Play(run).all(script(run.text if run.input is None else run.input))


def script(source: Any) -> list[Step]:
    """The steps of a script: JSON text, or what it stands for. Raises `AgentError`."""
    if isinstance(source, str):
        try:
            source = msgspec.json.decode(source)
        except (msgspec.DecodeError, RecursionError) as error:
            raise _bad("The script", f"is not JSON: {error}") from None
    if not isinstance(source, list):
        raise _bad("The script", "is not a list")
    return _steps(cast("list[Any]", source), "", 0)


def _steps(entries: list[Any], inside: str, depth: int) -> list[Step]:
    if depth > MAX_DEPTH:
        raise _bad(f"Step {inside}", f"repeats deeper than {MAX_DEPTH}")
    return [_step(entry, f"{inside}{i}", depth) for i, entry in enumerate(entries, 1)]


def _step(entry: Any, place: str, depth: int) -> Step:
    where = f"Step {place}"
    if not isinstance(entry, dict):
        raise _bad(where, "is not an object")
    names = [k for k in cast("dict[str, Any]", entry) if k in _KINDS]
    if len(names) != 1:
        found = ", ".join(sorted(str(k) for k in cast("dict[str, Any]", entry))) or "nothing"
        raise _bad(where, f"must have one of {', '.join(_KINDS)}; it has {found:.100}")
    try:
        step = msgspec.convert(entry, _KINDS[names[0]])
    except msgspec.ValidationError as error:
        raise _bad(where, f"is wrong: {error}") from None
    if isinstance(step, Repeat):
        return Repeat(step.repeat, _steps(step.steps, f"{place}.", depth + 1))
    return step


def _bad(where: str, problem: str) -> AgentError:
    return AgentError("agent.failed", f"{where} {problem}. {HELP}")


class Play:
    """The steps of one attempt, and what they remember."""

    def __init__(self, run: RunContext) -> None:
        self._run = run
        self._message: MessageWriter | None = None
        self._last: Any = None

    async def all(self, steps: list[Step]) -> None:
        """Does the steps, and ends the message."""
        await self._each(steps)
        await self._end_message()

    async def _each(self, steps: list[Step]) -> None:
        for step in steps:
            await self._do(step)

    async def _do(self, step: Step) -> None:
        match step:
            case Say() | Think() | Commentary():
                await self._stream(step)
            case CallTool() | CallTools() | Approve() | Child():
                await self._end_message()
                self._last = await self._ask(step)
            case Sleep():
                await self._pause(step.sleep_ms)
            case Fail():
                raise AgentError("agent.failed", step.fail)
            case Repeat():
                for _ in range(step.repeat):
                    await self._each(step.steps)
            case _:
                await self._tell(step)

    async def _stream(self, step: Say | Think | Commentary) -> None:
        """Streams a text into the open message; a part begins where the kind changes."""
        if self._message is None:
            self._message = await self._run.open_message()
        match step:
            case Say(say=text):
                write = self._message.text
            case Think(think=text):
                write = self._message.thinking
            case Commentary(commentary=text):
                write = self._message.commentary
            case _:
                assert_never(step)
        text = text.replace("{last}", _encode(self._last).decode())
        interval_s = 0.0 if self._run.replaying else step.interval_ms / 1000
        due = asyncio.get_running_loop().time()
        for index, piece in enumerate(cut(text, step.chunk)):
            if index and interval_s:
                due += interval_s  # a schedule, so that no delay adds up
                await self._run.pace(due)
            await write(piece)

    async def _end_message(self) -> None:
        message, self._message = self._message, None
        if message is not None:
            await message.end()

    async def _ask(self, step: CallTool | CallTools | Approve | Child) -> Any:
        """What `{last}` becomes."""
        run = self._run
        match step:
            case CallTool(call_tool=call):
                return _result((await run.call_tools([(call.name, call.arguments)]))[0])
            case CallTools(call_tools=calls):
                results = await run.call_tools([(c.name, c.arguments) for c in calls])
                return [_result(r) for r in results]
            case Approve(approve=question):
                return _decision(await run.approve(question.title, question.arguments))
            case Child(child=child):
                return _outcome(await run.start_child(child.agent, child.input))
            case _:
                assert_never(step)

    async def _tell(self, step: Step) -> None:
        match step:
            case Activity():
                await self._run.activity(step.activity)
            case Progress():
                await self._run.progress(*step.progress)
            case Log():
                await self._run.log(step.log)
            case Output():
                await self._run.output(step.output)
            case Emit():
                await self._run.emit(step.emit.name, step.emit.value)
            case _:
                raise AssertionError(f"{step} is in the table of steps, but nothing does it")

    async def _pause(self, milliseconds: int) -> None:
        if milliseconds and not self._run.replaying:
            await asyncio.sleep(milliseconds / 1000)


def _result(result: CallResult) -> Any:
    return result.output if result.error is None else {"error": result.error}


def _decision(decided: Decision) -> dict[str, Any]:
    last: dict[str, Any] = {"decision": decided.decision}
    if decided.arguments is not None:
        last["arguments"] = decided.arguments
    return last


def _outcome(child: ChildResult) -> Any:
    if child.status == "completed":
        return child.output
    return {"error": child.error or CANCELLED}
