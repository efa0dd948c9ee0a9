"""An agent that nobody can have is refused at once, with what is near (B8)."""

import pytest

from gateway.auth import Grant
from gateway.sessions.offered import check_agent
from protocol.errors import ProtocolError
from protocol.values import Principal

OFFERED = ("echo", "scripted", "research")
ANYBODY = Grant(Principal("local", "dev"), "full")


def refused(name: str, grant: Grant = ANYBODY) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        check_agent(name, OFFERED, grant)
    assert caught.value.code == "agent.not_found"
    return caught.value


def test_B8_a_misspelt_agent_is_told_with_the_right_name() -> None:  # noqa: N802 - its number
    error = refused("echoo")
    assert error.message == 'There is no agent "echoo". Did you mean "echo"?'
    assert error.details == {"agent": "echoo", "did_you_mean": ["echo"]}


def test_an_agent_that_is_like_none_is_told_without_a_guess() -> None:
    assert refused("zzz").details == {"agent": "zzz"}


def test_a_guess_names_only_agents_of_the_grant() -> None:
    limited = Grant(Principal("local", "dev"), "full", agents=frozenset({"research", "echoo"}))
    assert refused("echoo", limited).details == {"agent": "echoo"}


@pytest.mark.parametrize("name", OFFERED)
def test_what_there_is_passes_and_where_nobody_knows_everything_does(name: str) -> None:
    check_agent(name, OFFERED, ANYBODY)
    check_agent("other", None, ANYBODY)
