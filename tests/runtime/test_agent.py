"""What makes a coroutine an agent."""

from typing import Any, cast

import pytest

from gateway.errors import ConfigurationError
from gateway.runtime.agent import Agent, FunctionAgent, agent
from gateway.runtime.context import RunContext
from gateway.runtime.tools import server_tool


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


def test_a_coroutine_function_becomes_an_agent() -> None:
    @agent(resume="replay", tools=[add, server_tool(name="plus")(add)], preamble="hold")
    async def helper(run: RunContext) -> None: ...

    made: Agent = helper
    assert (made.name, made.resume, made.preamble) == ("helper", "replay", "hold")
    assert [t.name for t in made.tools] == ["add", "plus"]


def test_by_default_it_cannot_resume() -> None:
    @agent(name="other")
    async def helper(run: RunContext) -> None: ...

    assert (helper.name, helper.resume, helper.tools) == ("other", "none", [])


async def test_it_is_called_with_its_run() -> None:
    async def function(run: Any) -> Any:
        return run

    made = FunctionAgent(name="a", function=function)
    assert await made(cast("RunContext", "the run")) == "the run"


def test_anything_else_is_refused() -> None:
    def plain(run: RunContext) -> None: ...

    with pytest.raises(ConfigurationError, match="async def"):
        agent()(cast("Any", plain))

    async def yields(run: RunContext) -> Any:
        yield "a"

    with pytest.raises(ConfigurationError, match=r"yields is no agent: it has a `yield`"):
        agent()(cast("Any", yields))

    def untyped(a) -> None: ...  # pyright: ignore[reportMissingParameterType] - that is what is wrong

    with pytest.raises(ConfigurationError, match="no type hint"):
        agent(tools=[untyped])
