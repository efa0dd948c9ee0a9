"""Whatever an agent hands to any verb: what is stored can be read by everybody, others go on.

The verbs and their parameters come from the classes themselves, so a new one is tried as well.
Each is given each piece of junk for each parameter, caught by the agent and not.
"""

import asyncio
import enum
import inspect
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from gateway.runtime.agent import agent
from gateway.runtime.context import RunContext
from gateway.runtime.plain import MAX_DELTA_BYTES
from gateway.runtime.tools import server_tool
from gateway.runtime.writer import CallWriter, MessageWriter
from protocol.codec import MAX_DEPTH, decode_event
from protocol.codes import ERRORS
from protocol.events import MessageDelta, RunFailed, ToolCallDelta
from protocol.values import (
    DataPart,
    ErrorInfo,
    FilePart,
    SourcePart,
    TextPart,
    Tool,
    Usage,
)
from tests.runtime.stage import DEV, Stage

VERB_S = 0.03
"""Some verbs wait for a person, or for an agent that is not there."""


class Odd(str):
    """A text of a library's own kind."""

    __slots__ = ()

    def isascii(self) -> bool:
        return True

    def encode(self, *_: Any, **__: Any) -> bytes:
        return b"not what it is"


class Colour(enum.Enum):
    RED = object()


class Liar:
    """Raises whenever it is looked at."""

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def endless() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


HALF = "half \ud800 pair"
TEXTS: list[Any] = [
    HALF,
    "\udca5",
    "\x00\x01\x1b[2J\r\n\u2028\u202e\ufeff",
    "<script>alert(1)</script>",
    "x" * 100_000,
    "é😀" * 30_000,
    Odd(HALF),
    "",
    "a b/../{}*",
]
NUMBERS: list[Any] = [
    float("nan"),
    float("inf"),
    -float("inf"),
    1e308,
    2**53 + 1,
    -(2**63) - 1,
    2**64,
    10**5000,
    -1,
    True,
]
VALUES: list[Any] = [
    None,
    b"\xff\x00",
    bytearray(b"\xff"),
    memoryview(b"\xff"),
    object(),
    Liar(),
    Colour.RED,
    {1, 2},
    {"a": {1, object()}},
    {HALF: HALF},
    {None: 1, 10**5000: 2, (1, 2): 3},
    {"n": 10**5000},
    [10**30],
    nested(MAX_DEPTH + 2),
    nested(100_000),
    endless(),
    datetime(1, 1, 1),  # noqa: DTZ001 - junk
    lambda: 1,
    iter([1]),
    Exception(HALF),
    TextPart(HALF),
    TextPart(5),  # type: ignore[arg-type]
    FilePart(HALF, "\ud800"),
    FilePart(None, 1),  # type: ignore[arg-type]
    SourcePart("javascript:alert(1)", float("nan")),  # type: ignore[arg-type]
    DataPart(HALF, float("nan")),
    [Tool(name="not a name", parameters={"x": float("nan")})],
    [Tool(name="t", parameters={}, timeout_ms=10**5000)],
    Usage(-(10**5000), float("nan")),  # type: ignore[arg-type]
    [("no such tool", {"a": object()})],
    [("scan\ud800", {HALF: 10**30})],
    ErrorInfo("x" * 100, HALF),
]
JUNK: list[Any] = [*TEXTS, *NUMBERS, *VALUES]
FIT = {"text": "t", "name": "scan", "piece": "{}", "activity": "a", "current": 1, "title": "t"}
"""What the other parameters are given."""


def verbs(of: type) -> list[str]:
    return [n for n, f in vars(of).items() if inspect.isfunction(f) and not n.startswith("_")]


Call = Callable[[Any, Any], Any]


def calls(of: type, verb: str) -> list[tuple[str, Callable[[Any, Any], Any]]]:
    """(parameter, a call with one piece of junk there) for each parameter of a verb."""
    parameters = list(inspect.signature(getattr(of, verb)).parameters.values())[1:]
    made: list[tuple[str, Callable[[Any, Any], Any]]] = []
    for junky in parameters:
        others = [p for p in parameters if p is not junky and p.default is p.empty]

        def call(
            target: Any, junk: Any, junky: Any = junky, others: Sequence[Any] = tuple(others)
        ) -> Any:
            order: list[Any] = []
            named: dict[str, Any] = {}
            for parameter in parameters:
                if parameter is not junky and parameter not in others:
                    continue
                value = junk if parameter is junky else FIT.get(parameter.name)
                if parameter.kind is parameter.VAR_KEYWORD:
                    named |= {"argument": value} if parameter is junky else {}
                elif parameter.kind is parameter.KEYWORD_ONLY:
                    named[parameter.name] = value
                else:
                    order.append(value)
            return getattr(target, verb)(*order, **named)

        made.append((junky.name, call))
    return made


CASES = [
    pytest.param(of, verb, call, id=f"{of.__name__}.{verb}:{parameter}")
    for of in (RunContext, MessageWriter, CallWriter)
    for verb in verbs(of)
    for parameter, call in calls(of, verb)
]


def test_there_is_a_case_for_every_verb() -> None:
    assert len(CASES) > 25
    tried = {(case.values[0], case.values[1]) for case in CASES}
    without = {
        f"{of.__name__}.{verb}"
        for of in (RunContext, MessageWriter, CallWriter)
        for verb in verbs(of)
        if (of, verb) not in tried
    }
    assert without == {  # they are given nothing
        *("RunContext.steering", "RunContext.open_message", "RunContext.ready"),
        *("MessageWriter.call_tools", "MessageWriter.end", "MessageWriter.fail"),
        "CallWriter.parsed",
    }


async def done(made: Any) -> None:
    """What a verb gave, awaited or entered, for a while."""
    with suppress(TimeoutError):
        async with asyncio.timeout(VERB_S):
            if hasattr(made, "__aenter__"):
                async with made as writer:
                    await writer.write("fine")
            elif inspect.isawaitable(made):
                await made


async def tried(run: RunContext, of: type, call: Call, junk: Any) -> None:
    """One call of a verb with a piece of junk."""
    if of is RunContext:
        await done(call(run, junk))
        return
    async with run.message() as message:
        await done(call(message if of is MessageWriter else await message.call("scan"), junk))


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing is an error of ours."""
    yield
    errors = [r for r in caplog.get_records("call") if r.levelno >= logging.ERROR]
    assert errors == []


@pytest.mark.parametrize(("of", "verb", "call"), CASES)
async def test_junk_that_the_agent_survives(of: type, verb: str, call: Call) -> None:
    async def junk(run: RunContext) -> None:
        for piece in junk_for(verb):
            with suppress(Exception):
                await tried(run, of, call, piece)
        await run.say("and goes on")

    stage = Stage([agent(name="junk")(junk)])
    await stage.create("junk")
    async with stage.worker():
        await stage.send("Go")
        state = await stage.ended()
    assert state.run is not None
    assert (state.run.status, state.run.error) == ("completed", None)
    await assert_readable(stage)


@pytest.mark.parametrize(("of", "verb", "call"), CASES)
async def test_junk_that_ends_the_run(of: type, verb: str, call: Call) -> None:
    told: list[Any] = []

    async def junk(run: RunContext) -> None:
        await tried(run, of, call, told[0])

    stage = Stage([agent(name="junk")(junk)])
    await stage.create("junk")
    async with stage.worker():
        for number, piece in enumerate((HALF, float("nan"), 10**5000, Liar()), 1):
            told[:] = [piece]
            await stage.send("Go")
            await stage.ended(f"r_{number}")
    await assert_readable(stage)


def junk_for(verb: str) -> Sequence[Any]:
    """To wait until a time that never comes is no fault."""
    return [None, "x", float("nan"), -1e308, -(10**5000)] if verb == "pace" else JUNK


def returning(value: Any) -> Callable[[RunContext], Any]:
    async def junk(run: RunContext) -> Any:
        del run
        return value

    return junk


def raising(value: Any) -> Callable[[RunContext], Any]:
    async def junk(run: RunContext) -> Any:
        del run
        raise RuntimeError(value)

    return junk


def calling(value: Any) -> Callable[[RunContext], Any]:
    """A tool of the agent's gives the junk."""

    async def junk(run: RunContext) -> Any:
        with suppress(Exception):
            await run.call_tool("odd")
        await run.say("and goes on")

    del value
    return junk


@pytest.mark.parametrize("way", [returning, raising, calling])
async def test_junk_that_a_run_ends_with_or_a_tool_gives(way: Callable[[Any], Any]) -> None:
    told: list[Any] = []

    @server_tool
    async def odd() -> Any:
        return told[0]

    async def junk(run: RunContext) -> Any:
        return await way(told[0])(run)

    stage = Stage([agent(name="junk", tools=[odd])(junk)])
    await stage.create("junk")
    with capture_logs():  # to draw such things takes longer than all else
        async with stage.worker():
            for number, piece in enumerate(JUNK, 1):
                told[:] = [piece]
                await stage.send("Go")
                state = await stage.ended(f"r_{number}")
                assert state.run is not None
                if way is not returning:
                    assert state.run.status == ("failed" if way is raising else "completed")
    await assert_readable(stage)


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


async def assert_readable(stage: Stage) -> None:
    """Every event is strict JSON of valid text, and one that our readers know."""
    for _, body in await stage.broker.read(stage.session, 0, 100_000):
        text = body.decode()
        json.loads(text, parse_constant=refuse, parse_int=int)
        event = decode_event(body)
        assert event is not None, text[:500]
        if isinstance(event, MessageDelta | ToolCallDelta):
            assert len(event.delta.encode()) <= MAX_DELTA_BYTES
        if isinstance(event, RunFailed):
            assert event.error.code in ERRORS
            assert 0 < len(event.error.message) <= 2_000
    msgspec.json.encode((await stage.store.load(stage.session, DEV)).state).decode()
