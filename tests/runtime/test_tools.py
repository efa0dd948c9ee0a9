"""Server tools: the schema from type hints, the conversion, and a result whatever happens."""

import asyncio
import functools
import threading
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, Literal

import msgspec
import pytest
from jsonschema import Draft202012Validator
from msgspec import Meta, Struct

from gateway.errors import ConfigurationError
from gateway.runtime.tools import NotBegunError, ServerTool, ToolResult, server_tool


class Place(Struct):
    city: str
    country: str = "FR"


def weather(place: Place, unit: Literal["c", "f"] = "c", days: list[date] | None = None) -> str:
    """What the weather is like.

    In more than one line.

    Args:
        place: Where,
            in two lines.
        unit (str): Celsius or Fahrenheit.

    Returns:
        A sentence: about it.
    """
    return f"{place.city} in {unit}, {len(days or [])} days"


async def test_the_schema_comes_from_the_hints_and_the_docstring() -> None:
    tool = ServerTool.of(weather)
    assert tool.name == "weather"
    assert tool.description == "What the weather is like.\n\nIn more than one line."
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "place": {"description": "Where, in two lines.", "$ref": "#/$defs/Place"},
            "unit": {
                "description": "Celsius or Fahrenheit.",
                "enum": ["c", "f"],
                "default": "c",
            },
            "days": {
                "anyOf": [
                    {"type": "array", "items": {"type": "string", "format": "date"}},
                    {"type": "null"},
                ],
                "default": None,
            },
        },
        "required": ["place"],
        "additionalProperties": False,
        "$defs": {
            "Place": {
                "title": "Place",
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "country": {"type": "string", "default": "FR"},
                },
                "required": ["city"],
            }
        },
    }
    Draft202012Validator.check_schema(tool.parameters)
    Draft202012Validator(tool.parameters).validate({"place": {"city": "Paris"}, "unit": "f"})


async def test_arguments_are_converted_to_what_the_hints_say() -> None:
    result = await ServerTool.of(weather).run({"place": {"city": "Paris"}, "days": ["2026-01-31"]})
    assert result == ToolResult("Paris in c, 1 days")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"place": {"city": 1}}, "`$.place.city`"),
        ({"place": {"city": "Paris"}, "unit": "k"}, "`$.unit`"),
        ({"place": {"city": "Paris"}, "days": ["x"]}, "`$.days[0]`"),
        ({"place": {"city": "Paris"}, "wind": 1}, "`wind`"),
        ({}, "`place`"),
        (None, "`place`"),
        ("Paris", "`object`"),
    ],
)
async def test_wrong_arguments_are_an_error_that_names_the_path(arguments: Any, what: str) -> None:
    result = await ServerTool.of(weather).run(arguments)
    assert result.output is None
    assert result.error is not None
    assert result.error.code == "tool.failed"
    assert result.error.message.startswith("Invalid arguments for weather: ")
    assert what in result.error.message


async def test_options_and_the_function_itself() -> None:
    @server_tool(name="add-up", description="Adds.", timeout_s=2, approval=True, idempotent=True)
    def add(*, a: Annotated[int, Meta(ge=0, description="The one")], b: int = 1) -> int:
        """Not this text."""
        return a + b

    assert (add.name, add.description) == ("add-up", "Adds.")
    assert (add.timeout_s, add.approval, add.idempotent) == (2, True, True)
    assert add.parameters["properties"]["a"] == {
        "type": "integer",
        "minimum": 0,
        "description": "The one",
    }
    assert add(a=1, b=2) == 3
    assert await add.run({"a": 1}) == ToolResult(2)


async def test_a_tool_without_parameters_and_text() -> None:
    @server_tool
    def nothing() -> None: ...

    assert nothing.description is None
    assert nothing.parameters == {
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    }
    assert await nothing.run({}) == await nothing.run(None) == ToolResult(None)


async def test_a_plain_function_may_block_without_stopping_the_loop() -> None:
    go = threading.Event()
    main = threading.get_ident()

    def block() -> bool:
        go.wait(10)
        return threading.get_ident() != main

    async with asyncio.TaskGroup() as group:
        call = group.create_task(ServerTool.of(block).run({}))
        await asyncio.sleep(0)
        go.set()  # reached only because the loop is free
    assert call.result() == ToolResult(True)


class Greeter:
    """Greets."""

    async def __call__(self, name: str) -> str:
        return f"Hello, {name}!"

    def greet(self, name: str) -> str:
        """Hi."""
        return f"Hi, {name}!"


async def greet(greeting: str, name: str) -> str:
    """Greets at once."""
    await asyncio.sleep(0)
    return f"{greeting}, {name}!"


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (Greeter(), "Hello, Ada!"),
        (Greeter().greet, "Hi, Ada!"),
        (functools.partial(greet, "Ahoy"), "Ahoy, Ada!"),
        (lambda name: f"{name}!", None),
    ],
)
async def test_callables_of_every_sort(function: Callable[..., Any], expected: str | None) -> None:
    if expected is None:
        with pytest.raises(ConfigurationError, match="type hint"):
            ServerTool.of(function, name="greet")
        return
    tool = ServerTool.of(function, name="greet")
    assert tool.description in ("Greets.", "Hi.", "Greets at once.")
    assert await tool.run({"name": "Ada"}) == ToolResult(expected)


class Panic(BaseException):
    """As extensions raise that are written in another language."""


@pytest.mark.parametrize("fails_in", ["thread", "task"])
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no such city"), "no such city"),
        (KeyError(), "KeyError"),
        (TimeoutError("the tool's own"), "the tool's own"),
        (StopIteration(1), "StopIteration: 1"),
        (RuntimeError("x" * 9_000), "x" * 1_999 + "…"),
        (msgspec.ValidationError("not of the arguments"), "not of the arguments"),
        (SystemExit(2), "SystemExit: 2"),
        (Panic("of an extension"), "Panic: of an extension"),
    ],
)
async def test_an_exception_is_a_result(fails_in: str, error: BaseException, text: str) -> None:
    def fail() -> None:
        raise error

    async def fail_async() -> None:
        raise error

    if fails_in == "task" and isinstance(error, StopIteration):
        text = "coroutine raised StopIteration"
    result = await ServerTool.of(fail if fails_in == "thread" else fail_async).run({})
    assert result.error is not None
    assert (result.error.code, result.error.message) == ("tool.failed", text)


async def test_a_timeout_is_a_result() -> None:
    cancelled = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    result = await ServerTool.of(hang, timeout_s=0.02).run({})
    assert result.error is not None
    assert result.error.code == "tool.timeout"
    assert "hang did not finish within 0.02 s" in result.error.message
    assert cancelled.is_set()


async def test_a_plain_function_that_hangs_does_not_hold_the_caller() -> None:
    go = threading.Event()
    result = await ServerTool.of(lambda: go.wait(10), name="hang", timeout_s=0.02).run({})
    go.set()
    assert result.error is not None
    assert result.error.code == "tool.timeout"


async def test_cancellation_passes_through() -> None:
    started = asyncio.Event()

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        call = group.create_task(ServerTool.of(hang).run({}))
        await started.wait()
        call.cancel()
    assert call.cancelled()


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (Place("Paris"), {"city": "Paris", "country": "FR"}),
        ({1: date(2026, 1, 31), "set": {3}}, {"1": "2026-01-31", "set": [3]}),
        ((1, "é", None), [1, "é", None]),
        ("half \ud800", "half \ufffd"),
    ],
)
async def test_results_are_plain_json(output: Any, expected: Any) -> None:
    assert await ServerTool.of(lambda: output, name="give").run({}) == ToolResult(expected)


@pytest.mark.parametrize(
    "output",
    [object(), float("nan"), [float("inf")], 1 << 64],
    ids=["object", "nan", "inf", "huge"],
)
async def test_results_that_are_no_json_are_errors(output: Any) -> None:
    result = await ServerTool.of(lambda: output, name="give").run({})
    assert result.error is not None
    assert result.error.code == "tool.failed"


async def test_a_changeable_default_is_not_shared() -> None:
    def collect(item: str, into: list[str] = ["a"]) -> list[str]:  # noqa: B006 - the point
        into.append(item)
        return into

    tool = ServerTool.of(collect)
    assert await tool.run({"item": "b"}) == await tool.run({"item": "b"}) == ToolResult(["a", "b"])


def no_hint(city) -> None:  # type: ignore[no-untyped-def]  # the point
    ...


def many(*cities: str) -> None: ...


def by_position(city: str, /) -> None: ...


def unknown(city: "NoSuchType") -> None:  # type: ignore[name-defined]  # noqa: F821 - the point
    ...


def strange(city: threading.Lock) -> None: ...


@pytest.mark.parametrize(
    ("function", "remedy"),
    [
        (no_hint, "'city' of the tool no_hint has no type hint; add one"),
        (many, "'cities' of the tool many cannot be given by keyword"),
        (by_position, "'city' of the tool by_position cannot be given by keyword"),
        (unknown, "hint of the tool unknown cannot be resolved .*NoSuchType"),
        (strange, "tool strange has no JSON form"),
        (lambda: 1, "'<lambda>' cannot be the name of a tool; give one"),
    ],
)
def test_what_cannot_be_a_tool(function: Callable[..., Any], remedy: str) -> None:
    with pytest.raises(ConfigurationError, match=remedy):
        ServerTool.of(function)


async def test_whether_it_may_begin_is_asked_when_a_thread_is_free() -> None:
    """All threads are busy for longer than the caller may begin anything."""
    go = threading.Event()
    called: list[int] = []
    allowed = [True]
    tool = ServerTool.of(lambda: called.append(1), name="act")
    async with asyncio.TaskGroup() as group:
        for _ in range(40):  # the default executor has at most 32
            group.create_task(asyncio.to_thread(go.wait, 10))
        await asyncio.sleep(0)
        late = group.create_task(_refused(tool, lambda: allowed[0]))
        await asyncio.sleep(0)
        allowed[0] = False
        go.set()
    assert late.result()
    assert called == []
    assert await tool.run({}, may_begin=lambda: True) == ToolResult(None)
    assert called == [1]


async def test_an_async_function_is_asked_for_too() -> None:
    called: list[int] = []

    async def act() -> None:
        called.append(1)

    assert await _refused(ServerTool.of(act), lambda: False)
    assert called == []


async def _refused(tool: ServerTool, may_begin: Callable[[], bool]) -> bool:
    try:
        await tool.run({}, may_begin=may_begin)
    except NotBegunError:
        return True
    return False
