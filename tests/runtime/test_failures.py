"""Errors of agents carry a code for programs and a text for people."""

from gateway.runtime.failures import AgentError, DivergedError, NotJsonError, ToolError
from protocol.values import ErrorInfo


def test_an_agents_error() -> None:
    error = AgentError("model.failed", "HTTP 500")
    assert str(error) == "HTTP 500"
    assert error.info == ErrorInfo("model.failed", "HTTP 500")


def test_kinds_of_it() -> None:
    assert isinstance(ToolError("tool.denied", "No."), AgentError)
    assert DivergedError("elsewhere").info.code == "run.diverged"
    assert isinstance(NotJsonError("x is nan"), ValueError)
