"""The sentences of refusals, as both clients say them."""

import json
from typing import Any

import pytest

from gateway.client.words import SENTENCES, agent_fact, kind_of, token_fact
from protocol.codes import ERRORS
from tests.support.processes import ROOT

VECTORS: dict[str, Any] = json.loads((ROOT / "protocol/vectors/refusals.json").read_text())


def test_the_sentences_are_those_of_the_vectors() -> None:
    assert VECTORS["sentences"] == SENTENCES


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["code"])
def test_the_kinds_are_those_of_the_vectors(case: dict[str, Any]) -> None:
    assert kind_of(case["code"]) == case["kind"]


def test_a_code_of_a_newer_gateway_is_of_no_kind() -> None:
    assert kind_of("auth.from_the_future") is None


def test_codes_with_a_kind_are_codes_of_the_protocol() -> None:
    known = {case["code"] for case in VECTORS["cases"]}
    assert known - set(ERRORS) == {"client.no_gateway", "waiting_for_worker"}


@pytest.mark.parametrize(
    ("code", "details", "given", "fact"),
    [
        ("auth.required", {}, False, "No token was given."),
        ("auth.invalid", {}, False, "No token was given."),
        ("auth.expired", {}, True, "The token has expired."),
        ("auth.invalid", {}, True, "The gateway did not accept the token."),
        ("auth.invalid", {"reason": "audience"}, True, "It is meant for another audience."),
        ("auth.invalid", {"reason": ["odd"]}, True, "The gateway did not accept the token."),
    ],
)
def test_what_was_wrong_with_a_token(
    code: str, details: dict[str, Any], given: bool, fact: str
) -> None:
    assert token_fact(code, details, given=given).endswith(fact)


@pytest.mark.parametrize(
    ("details", "fact"),
    [
        ({"agent": "echoo", "did_you_mean": ["echo"]}, 'for "echoo". Did you mean "echo"?'),
        ({"agent": "x", "did_you_mean": ["a", "b"]}, 'for "x". Did you mean "a" or "b"?'),
        ({"agent": "x", "did_you_mean": "odd"}, 'You asked for "x".'),
        ({}, "As the gateway said."),
    ],
)
def test_which_agent_was_meant(details: dict[str, Any], fact: str) -> None:
    assert agent_fact("As the gateway said.", details).endswith(fact)
