"""What a client is told of what went wrong inside."""

import logging

import pytest

from gateway.delivery.refusal import refusal
from gateway.errors import BrokerUnavailable, Conflict, SessionMissing
from protocol.errors import ProtocolError


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (ProtocolError("tool.held"), "tool.held", False),
        (BrokerUnavailable("redis://secret@host"), "broker.unavailable", True),
        (SessionMissing(), "session.not_found", False),
        (Conflict(), "internal", True),
        (KeyError("secret"), "internal", True),
    ],
)
def test_codes(error: Exception, code: str, retryable: bool) -> None:
    refused = refusal(error, "k_1", "s_1")
    assert (refused.code, refused.retryable) == (code, retryable)
    assert (refused.id, refused.session) == ("k_1", "s_1")
    assert "secret" not in refused.message


def test_an_echo_that_is_there_stays() -> None:
    refused = refusal(ProtocolError("tool.held", id="k_0"), "k_1", None)
    assert (refused.id, refused.session) == ("k_0", None)


def test_what_is_not_known_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        refusal(KeyError("x"), None, None)
        refusal(BrokerUnavailable(), None, None)
    assert sum("a command failed" in record.getMessage() for record in caplog.records) == 1
