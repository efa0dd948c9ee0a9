"""Who may do what with a session: the table of actions, and what a refusal looks like."""

import itertools
import typing

import pytest
from msgspec import structs

from gateway.auth import Grant
from gateway.broker.base import Asker, Broker, Loaded, Share
from gateway.broker.memory import MemoryBroker
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
from gateway.sessions.draft import Origin
from gateway.sessions.store import Store
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


# --- an authorizer of one's own, by the store


class Support(Ownership):
    """Subjects whose name begins with `support-` may read their whole tenant."""

    def allows(self, grant: Grant, action: Action, facts: Facts) -> bool:
        helps = grant.principal.subject.startswith("support-")
        return super().allows(grant, action, facts) or (helps and action == "read")


class Counting(MemoryBroker):
    loads = 0

    async def load(self, session: str, **options: typing.Any) -> Loaded:
        self.loads += 1
        return await super().load(session, **options)


async def made(broker: Broker, **options: typing.Any) -> Store:
    store = Store(broker, **options)
    create = cmd.SessionCreate(id="k", agent="scripted", session="s_1", metadata={"a": 1})
    await store.submit(create, Origin(Grant(ANN, "full"), ""))
    return store


async def test_an_authorizer_may_let_more_in() -> None:
    store = await made(MemoryBroker(), authorizer=Support())
    helper = Grant(Principal("acme", "support-1"), "full")
    assert (await store.load("s_1", helper)).state.metadata == {"a": 1}
    with pytest.raises(ProtocolError, match=r"auth\.forbidden"):
        await store.submit(cmd.MessageSend(id="k", session="s_1", content="x"), Origin(helper, ""))
    for stranger in (Grant(BOB, "full"), Grant(Principal("evil", "support-1"), "full")):
        with pytest.raises(ProtocolError, match=r"session\.not_found"):
            await store.load("s_1", stranger)


async def test_a_stranger_costs_one_load_and_gets_nothing() -> None:
    broker = Counting()
    store = await made(broker)
    loaded = await broker.load("s_1", asker=Asker(owner_key(BOB)))
    assert (loaded.withheld, loaded.snapshot, loaded.events) == (True, None, ())
    broker.loads = 0
    with pytest.raises(ProtocolError, match=r"session\.not_found"):
        await store.load("s_1", Grant(BOB, "full"))
    assert broker.loads == 1
