"""Who may do what with a session: the table of actions, and what a refusal looks like."""

import itertools
import typing

import pytest
from msgspec import structs

from gateway.auth import Grant
from gateway.broker.base import Share
from gateway.sessions.access import (
    Action,
    Facts,
    Ownership,
    action_of,
    check,
    grant_of,
    owner_key,
    principal_of,
    subject_of,
)
from protocol import commands as cmd
from protocol.errors import ProtocolError
from protocol.values import Principal

ANN, BOB = Principal("acme", "ann"), Principal("acme", "bob")
ACTIONS: tuple[Action, ...] = typing.get_args(Action)
HERS = Facts("s_1", "scripted", ANN)


def outcome(grant: Grant, action: Action, facts: Facts) -> str:
    try:
        check(Ownership(), grant, action, facts)
    except ProtocolError as error:
        return f"{error.code} {error.session}"
    return "ok"


def outcomes(grant: Grant, facts: Facts) -> dict[str, str]:
    return {action: outcome(grant, action, facts) for action in ACTIONS}


NO, HIDDEN = "auth.forbidden s_1", "session.not_found s_1"
ALL = dict.fromkeys(ACTIONS, "ok")
NONE = {**dict.fromkeys(ACTIONS, HIDDEN), "create": NO}


@pytest.mark.parametrize(
    ("principal", "share", "expected"),
    [
        (ANN, None, ALL),
        (BOB, "act", {"create": NO, "read": "ok", "act": "ok", "delete": NO, "share": NO}),
        (BOB, "read", {"create": NO, "read": "ok", "act": NO, "delete": NO, "share": NO}),
        (BOB, None, NONE),
    ],
)
def test_the_table(principal: Principal, share: Share | None, expected: dict[str, str]) -> None:
    facts = structs.replace(HERS, share=share)
    assert outcomes(Grant(principal, "full"), facts) == expected


@pytest.mark.parametrize("share", ["act", "read", None])
def test_a_tenant_is_never_left(share: Share | None) -> None:
    other = Grant(Principal("evil", "ann"), "full")
    facts = structs.replace(HERS, share=share)
    assert outcomes(other, facts) == dict.fromkeys(ACTIONS, HIDDEN)


CLAIMS = [
    {"sessions": frozenset[str]()},
    {"sessions": frozenset({"s_2"})},
    {"agents": frozenset({"echo"})},
    {"sessions": frozenset({"s_1"}), "agents": frozenset[str]()},
]


@pytest.mark.parametrize("claims", CLAIMS)
@pytest.mark.parametrize("principal", [ANN, BOB])
def test_what_a_token_is_not_for_is_not_there(
    claims: dict[str, frozenset[str]], principal: Principal
) -> None:
    narrow = Grant(principal, "full", **claims)  # type: ignore[arg-type]
    assert outcomes(narrow, structs.replace(HERS, share="act")) == NONE


def test_a_token_that_names_them_is_for_them() -> None:
    grant = Grant(ANN, "full", agents=frozenset({"scripted"}), sessions=frozenset({"s_1"}))
    assert outcomes(grant, HERS) == ALL


def test_every_command_needs_something() -> None:
    needs = {
        kind.__struct_config__.tag: action_of(kind) for kind in typing.get_args(cmd.DecidedCommand)
    }
    apart = {name: action for name, action in needs.items() if action != "act"}
    assert apart == {"session.create": "create", "session.delete": "delete"}


def test_names_come_back() -> None:
    for pair in itertools.product(["a:b", "ä/ ", ""], ["c d/%", ":"]):
        principal = Principal(*pair)
        key = owner_key(principal)
        assert principal_of(key) == principal
        assert subject_of(key) == principal.subject
        assert grant_of(key).principal == principal
