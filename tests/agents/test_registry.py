"""Names and `module:attribute` become agents; what does not says why."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.agents.registry import BUILT_IN, resolve_agents
from gateway.errors import ConfigurationError
from gateway.runtime.agent import FunctionAgent

MODULE = """
from gateway.runtime.agent import agent

async def plain(run):
    pass

@agent(name="fancy-name", resume="history")
async def fancy(run):
    pass

def not_async(run):
    pass

class NotYetMade:
    name, resume, tools, preamble = "x", "none", (), "show"
    async def __call__(self, run):
        pass

made = NotYetMade()
nameless = NotYetMade()
nameless.name = "two words"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to import from, forgotten afterwards."""
    known = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "registry_agents.py").write_text(MODULE)
    (tmp_path / "registry_broken.py").write_text("import json\njson.loads('{')\n")
    (tmp_path / "registry_needy.py").write_text("import no_such_package\n")
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def test_built_in_agents() -> None:
    agents = resolve_agents(["echo", "scripted", "demo", "openai"], {"OPENAI_MODEL": "m"})
    assert list(agents) == ["echo", "scripted", "demo", "openai"]
    assert set(agents) == set(BUILT_IN)
    assert all(agent.name == name for name, agent in agents.items())


def test_a_coroutine_function_is_an_agent() -> None:
    (agent,) = resolve_agents(["registry_agents:plain"]).values()
    assert isinstance(agent, FunctionAgent)
    assert (agent.name, agent.resume) == ("plain", "none")


def test_an_agent_has_its_own_name() -> None:
    agents = resolve_agents(["registry_agents:fancy", "registry_agents:made"])
    assert list(agents) == ["fancy-name", "x"]
    assert agents["fancy-name"].resume == "history"


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        (["nobody"], "no built-in agent: use demo, echo, openai, scripted, or package"),
        (["no_such.module:agent"], "no module no_such; run the command in the folder"),
        (["registry_agents:nobody"], "has no 'nobody'"),
        (["registry_agents:not_async"], "async def not_async"),
        (["registry_agents:NotYetMade"], "is no agent"),
        (["registry_agents:nameless"], "is no agent"),
        (["registry_agents:"], "has no ''"),
        (["registry_broken:agent"], r"JSONDecodeError: .*registry_broken\.py, line 2"),
        (["registry_needy:agent"], "failed to import: ModuleNotFoundError: .*no_such_package"),
        (["echo", "registry_agents:fancy", "registry_agents:fancy"], "already; give this one"),
        (["openai"], "OPENAI_MODEL"),
    ],
)
def test_what_is_no_agent(entries: list[str], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        resolve_agents(entries, {})
