"""What an agent is to the gateway: a name, how it resumes, its tools, and a coroutine.

How runs are claimed and kept alive does not belong here.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

from msgspec import Struct

from gateway.errors import ConfigurationError
from gateway.fleet.record import AgentOffer
from gateway.runtime.context import RunContext
from gateway.runtime.gate import Preamble
from gateway.runtime.tools import ServerTool
from gateway.sessions.inputs import Resume

AgentFunction = Callable[[RunContext], Awaitable[Any]]


class Agent(Protocol):
    """Does a run. What it returns is the run's output; None leaves the last `output()`.

    It may also have a `description`, a text for people, which `GET /v1/agents` shows.

    Raising `AgentError` fails the run with its code, anything else with `agent.failed`. Called
    once per attempt, for many runs at a time: it keeps nothing of a run in itself.
    """

    @property
    def name(self) -> str:
        """What clients ask for."""
        ...

    @property
    def resume(self) -> Resume:
        """How it goes on after a park or a lost worker."""
        ...

    @property
    def tools(self) -> Sequence[ServerTool]:
        """Functions of the server that it may call."""
        ...

    @property
    def preamble(self) -> Preamble:
        """What becomes of text before a call in the same step."""
        ...

    async def __call__(self, run: RunContext) -> Any:
        """Does the run."""
        ...


class FunctionAgent(Struct, frozen=True, kw_only=True):
    """An agent made of a coroutine function."""

    name: str
    function: AgentFunction
    resume: Resume = "none"
    tools: Sequence[ServerTool] = ()
    preamble: Preamble = "show"
    description: str | None = None
    """For people who choose an agent, in a sentence."""

    async def __call__(self, run: RunContext) -> Any:
        return await self.function(run)


def offers_of(agents: Iterable[Agent]) -> list[AgentOffer]:
    """The agents as a process announces them, by name."""
    offers = (AgentOffer.of(a.name, getattr(a, "description", None)) for a in agents)
    return sorted(offers, key=lambda offer: offer.name)


def agent(
    *,
    name: str | None = None,
    resume: Resume = "none",
    tools: Sequence[ServerTool | Callable[..., Any]] = (),
    preamble: Preamble = "show",
    description: str | None = None,
) -> Callable[[AgentFunction], FunctionAgent]:
    """Makes a coroutine function an agent; its name is the agent's unless given.

    `resume`: `none` (a lost worker fails the run), `history` (starts again from `run.messages`) or
    `replay` (deterministic: starts from the beginning, and what is stored is returned again).

    `description` says to people what it does; `GET /v1/agents` shows it.

    Raises:
        ConfigurationError: it is not a coroutine function, or a tool cannot be one.
    """

    own = [t if isinstance(t, ServerTool) else ServerTool.of(t) for t in tools]

    def decorate(function: AgentFunction) -> FunctionAgent:
        called = getattr(function, "__qualname__", repr(function))
        if inspect.isasyncgenfunction(function):
            raise ConfigurationError(
                f"{called} is no agent: it has a `yield`. An agent says what it has to say with"
                " `await run.say(…)`, or piece by piece within `async with run.message()`."
            )
        if not inspect.iscoroutinefunction(function):
            raise ConfigurationError(f"{called} is no agent; write it as `async def`.")
        return FunctionAgent(
            name=name or function.__name__,
            function=function,
            resume=resume,
            tools=own,
            preamble=preamble,
            description=description,
        )

    return decorate
