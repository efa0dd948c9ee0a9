"""Names to agents: what `--agents echo,scripted,package.module:attribute` means.

The built-in agents, and whatever a module of the user's has: an agent, or a coroutine function,
which becomes one. Nothing is imported before it is asked for by name.
"""

import inspect
import os
import traceback
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from operator import attrgetter
from typing import TypeGuard, cast

import msgspec

from gateway.errors import ConfigurationError
from gateway.runtime.agent import Agent, AgentFunction, agent
from protocol.values import Name

MakeAgent = Callable[[Mapping[str, str]], Agent]

BUILT_IN = {
    "demo": "gateway.agents.demo:demo",
    "echo": "gateway.agents.echo:echo",
    "openai": "gateway.agents.openai:OpenAIAgent.from_environment",
    "scripted": "gateway.agents.scripted:scripted",
}
"""Each is an agent, or a function that makes one of the environment."""


def resolve_agents(
    entries: Iterable[str], environment: Mapping[str, str] | None = None
) -> dict[str, Agent]:
    """Agents by their names, for built-in names and `package.module:attribute`.

    Raises:
        ConfigurationError: there is no such agent, or two have one name; names the remedy.
    """
    environment = os.environ if environment is None else environment
    agents: dict[str, Agent] = {}
    for entry in entries:
        found = _load(entry) if ":" in entry else _built_in(entry, environment)
        if found.name in agents:
            raise ConfigurationError(
                f"{entry}: there is an agent {found.name!r} already; give this one a name of its "
                "own by @agent(name=…)."
            )
        agents[found.name] = found
    return agents


def _built_in(name: str, environment: Mapping[str, str]) -> Agent:
    if name not in BUILT_IN:
        raise ConfigurationError(
            f"{name} is no built-in agent: use {', '.join(BUILT_IN)}, "
            "or package.module:attribute for one of your own."
        )
    module_name, _, attribute = BUILT_IN[name].partition(":")
    found: object = attrgetter(attribute)(import_module(module_name))
    return found if _is_agent(found) else cast("MakeAgent", found)(environment)


def _load(entry: str) -> Agent:
    module_name, _, attribute = entry.partition(":")
    try:
        module = import_module(module_name)
    except Exception as error:  # whatever a module of the user's may raise when it is imported
        raise ConfigurationError(f"{entry}: {_why_not(module_name, error)}") from error
    try:
        found: object = getattr(module, attribute)
    except AttributeError:
        raise ConfigurationError(
            f"{entry}: module {module_name} has no {attribute!r}; check its spelling."
        ) from None
    if inspect.iscoroutinefunction(found):
        found = agent()(cast("AgentFunction", found))
    if not _is_agent(found):
        raise ConfigurationError(
            f"{entry} is no agent: write it as `async def {attribute}(run): …`, "
            "or as an object like those that @agent makes."
        )
    return found


def _is_agent(found: object) -> TypeGuard[Agent]:
    if isinstance(found, type) or not callable(found):
        return False
    if not all(hasattr(found, name) for name in ("name", "resume", "tools", "preamble")):
        return False
    try:
        msgspec.convert(cast("Agent", found).name, Name)
    except msgspec.ValidationError:
        return False
    return True


def _why_not(module: str, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name and module.startswith(error.name):
        return (
            f"there is no module {error.name}; run the command in the folder where it is, "
            "or install it."
        )
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.filename != __file__ and "importlib" not in f.filename]
    where = f" ({own[0].filename}, line {own[0].lineno})" if own else ""
    return f"module {module} failed to import: {type(error).__name__}: {error}{where}"
