"""Tokens and refusals of HTTP requests."""

import json

import pytest
from starlette.requests import Request

from gateway.transports.answers import bearer, refused
from protocol.errors import ProtocolError


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic abc", None),
        ("abc", None),
        ("", None),
    ],
)
def test_the_token(header: str, token: str | None) -> None:
    headers = [(b"authorization", header.encode())]
    assert bearer(Request({"type": "http", "headers": headers})) == token
    assert bearer(Request({"type": "http", "headers": []})) is None


def test_a_refusal_has_the_status_of_its_code() -> None:
    answer = refused(ProtocolError("tool.held", "Held.", id="k_1", session="s_1"))
    assert answer.status_code == 409
    assert json.loads(bytes(answer.body)) == {
        "type": "error",
        "id": "k_1",
        "session": "s_1",
        "code": "tool.held",
        "message": "Held.",
        "retryable": False,
    }
    assert refused(ProtocolError("auth.expired")).headers["www-authenticate"] == "Bearer"
