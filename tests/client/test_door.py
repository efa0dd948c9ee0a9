"""What a refusal at the door means: codes, sentences, and which of them are final."""

import json
from typing import Any

import pytest

from gateway.client.door import (
    LOST,
    NO_GATEWAY,
    NOT_ALLOWED,
    NOT_SIGNED_IN,
    Door,
    explained,
    handshake_refused,
    shown,
)
from gateway.client.errors import GatewayError
from protocol.codes import close_is_final

URL = "wss://ann:secret@host/agents/v1/ws?token=secret"


def body(code: str, message: str = "So it is.", **fields: Any) -> bytes:
    """An `error` frame, as the gateway answers a handshake."""
    frame = {"type": "error", "code": code, "message": message, "retryable": False, **fields}
    return json.dumps(frame).encode()


@pytest.mark.parametrize(
    ("status", "said", "close", "code"),
    [
        (403, body("auth.forbidden", details={"reason": "origin"}), NOT_ALLOWED, "auth.forbidden"),
        (401, body("auth.required"), NOT_SIGNED_IN, "auth.required"),
        (401, body("auth.expired"), NOT_SIGNED_IN, "auth.expired"),
        (401, b"Who are you?", NOT_SIGNED_IN, "auth.required"),
        (503, body("server.draining", retryable=True), LOST, "server.draining"),
        (429, body("rate.limited", retryable=True), LOST, "rate.limited"),
        (500, body("internal"), LOST, "internal"),
        (400, body("code.of_tomorrow"), NOT_ALLOWED, "code.of_tomorrow"),
        (502, b"<html>Bad gateway</html>", LOST, "client.unreachable"),
        (429, b"", LOST, "client.unreachable"),
        (404, b"Not Found", NO_GATEWAY, "client.no_gateway"),
        (403, b"", NO_GATEWAY, "client.no_gateway"),
        (403, b'{"detail":"Forbidden"}', NO_GATEWAY, "client.no_gateway"),
        (200, b"<html></html>", NO_GATEWAY, "client.no_gateway"),
        (404, b'{"type":"ok","id":"k_1"}', NO_GATEWAY, "client.no_gateway"),
        (599, b"", LOST, "client.unreachable"),
    ],
)
def test_handshakes(status: int, said: bytes, close: int, code: str) -> None:
    refusal = handshake_refused(URL, status, said, first=True)
    assert (refusal.code, refusal.error.code) == (close, code)


def test_a_proxy_without_its_gateway_is_tried_again_once_it_was_open() -> None:
    refusal = handshake_refused(URL, 404, b"no such service", first=False)
    assert not close_is_final(refusal.code)


def test_n35_the_url_that_was_tried_is_named_without_its_secrets() -> None:
    error = handshake_refused(URL, 404, b"", first=True).error
    assert error.message.startswith("There is no agent gateway at this address.")
    assert "wss://host/agents/v1/ws answered HTTP 404 (Not Found)." in error.message
    assert "secret" not in str(error)
    assert shown(URL) == "wss://host/agents/v1/ws"


@pytest.mark.parametrize(
    ("code", "given", "told"),
    [
        ("auth.required", False, "No token was given. Pass token=… (or api_key=…) to the client."),
        ("auth.expired", True, "The token has expired. Pass a new token"),
        ("auth.invalid", True, "The gateway did not accept the token. Pass another token=…"),
    ],
)
def test_n36_tokens_that_are_refused_read_differently(code: str, given: bool, told: str) -> None:
    error = explained(GatewayError(code, ""), given=given)
    assert error.message.startswith(f"You are not signed in. {told}")
    assert (error.code, error.kind) == (code, "not_signed_in")


def test_n36_an_authenticator_s_own_words_are_kept() -> None:
    error = explained(GatewayError("auth.invalid", "This account is locked."), given=True)
    assert "You are not signed in. This account is locked." in error.message
    assert error.cause == "This account is locked."


def test_what_is_no_refusal_at_the_door_stays() -> None:
    error = GatewayError("rate.limited", "Slow down.", retryable=True)
    assert explained(error, given=True) is error


@pytest.mark.parametrize(
    ("token", "said", "close", "code"),
    [
        (None, None, 4401, "auth.required"),
        ("t", None, 4401, "auth.invalid"),
        ("t", GatewayError("auth.expired", "It has ended."), 4401, "auth.expired"),
        ("t", GatewayError("rate.limited", "Slow down."), 4401, "auth.invalid"),
        ("t", None, 4403, "auth.forbidden"),
        ("t", GatewayError("frame.malformed", "What?"), 4400, "frame.malformed"),
        ("t", None, 4409, "client.closed"),
        ("t", GatewayError("auth.expired", "It has ended."), 4409, "client.closed"),
    ],
)
def test_closes(token: str | None, said: GatewayError | None, close: int, code: str) -> None:
    door = Door()
    door.opened(token)
    if said is not None:
        door.heard(said)
    door.lost(close, "as it is", None)
    why = door.why()
    assert why is not None
    assert why.code == code
    door.forget()
    assert door.why() is None


def test_a_loss_is_no_refusal() -> None:
    door = Door()
    door.lost(1006, "", None)
    assert (door.why(), door.delay) == (None, None)


def test_the_gateway_s_word_for_a_delay() -> None:
    door = Door()
    said = body("broker.unavailable", "The broker is full.", retryable=True)
    refusal = handshake_refused(URL, 503, said, first=True)
    door.lost(refusal.code, refusal.reason, refusal)
    assert door.delay is not None
    assert (door.delay.code, door.delay.retryable) == ("broker.unavailable", True)
    assert door.why() is None
