"""Sharing a session: by its owner alone, with others of the tenant, a bounded number of them."""

import pytest

from gateway.auth import Grant
from gateway.broker.base import Share
from gateway.sessions.draft import Origin
from gateway.sessions.quotas import Quotas
from gateway.sessions.store import Store
from protocol import commands as cmd
from protocol.errors import ProtocolError
from protocol.values import Principal
from tests.sessions.conftest import Replicas

ANN, BOB = (Grant(Principal("acme", name), "full") for name in ("ann", "bob"))


@pytest.fixture
async def store(replicas: Replicas) -> Store:
    """On either broker, with a session of hers; two others may be let in."""
    store = Store(replicas.a.broker, quotas=Quotas(shares=2))
    create = cmd.SessionCreate(id="k", agent="scripted", session="s_shared")
    await store.submit(create, Origin(ANN, ""))
    return store


async def refusal(store: Store, grant: Grant, subject: str, access: Share | None) -> str:
    with pytest.raises(ProtocolError) as caught:
        await store.sharing.set("s_shared", grant, subject, access)
    return caught.value.code


async def test_whom_she_lets_in_may_and_then_no_more(store: Store) -> None:
    await store.sharing.set("s_shared", ANN, "bob", "read")
    await store.sharing.set("s_shared", ANN, "team/eve@x.org", "act")
    await store.sharing.set("s_shared", ANN, "bob", "act")
    assert await store.sharing.of("s_shared", ANN) == {"bob": "act", "team/eve@x.org": "act"}
    await store.load("s_shared", BOB)
    for _ in range(2):
        await store.sharing.set("s_shared", ANN, "bob", None)
    assert await store.sharing.of("s_shared", ANN) == {"team/eve@x.org": "act"}
    with pytest.raises(ProtocolError, match=r"session\.not_found"):
        await store.load("s_shared", BOB)


async def test_who_may_not_share(store: Store) -> None:
    assert await refusal(store, BOB, "eve", "read") == "session.not_found"
    await store.sharing.set("s_shared", ANN, "bob", "act")
    assert await refusal(store, BOB, "eve", "read") == "auth.forbidden"
    with pytest.raises(ProtocolError, match=r"auth\.forbidden"):
        await store.sharing.of("s_shared", BOB)
    other = Grant(Principal("evil", "ann"), "full")
    assert await refusal(store, other, "bob", None) == "session.not_found"


async def test_what_cannot_be_shared(store: Store) -> None:
    assert await refusal(store, ANN, "ann", "read") == "frame.malformed"
    for subject in ("bob", "eve"):
        await store.sharing.set("s_shared", ANN, subject, "read")
    assert await refusal(store, ANN, "mallory", "read") == "limit.exceeded"
    await store.sharing.set("s_shared", ANN, "eve", "act")  # is in already
    delete = cmd.SessionDelete(id="k_d", session="s_shared")
    await store.submit(delete, Origin(ANN, ""))
    assert await refusal(store, ANN, "bob", None) == "session.not_found"
