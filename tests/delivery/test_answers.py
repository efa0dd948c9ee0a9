"""Answers to what a connection asks, without the connection."""

import pytest

from gateway.auth import Grant
from gateway.delivery.answers import answer
from gateway.delivery.subscriptions import Subscriptions
from protocol import commands as cmd
from protocol.errors import ProtocolError
from protocol.frames import Ok
from protocol.values import Principal
from tests.delivery.test_hub import Watcher
from tests.support.inprocess import DEV, InProcess


def subscriptions(inside: InProcess, principal: Principal = DEV) -> Subscriptions:
    parts, grant = inside.delivery, Grant(principal, "answer")
    return Subscriptions(parts.hub, parts.store, Watcher(), lambda _session, _job: None, grant)


async def test_each_is_answered_for_its_principal(inside: InProcess) -> None:
    mine, store = subscriptions(inside), inside.delivery.store
    create = cmd.SessionCreate(id="k_1", agent="echo", session="s_1")
    assert await answer(create, store, mine, "tab_A") == Ok(id="k_1", session="s_1")
    subscribe = cmd.SessionSubscribe(id="k_2", session="s_1")
    assert await answer(subscribe, store, mine, "tab_A") is None
    message, frames = mine.outbox.take()
    assert (b'"id":"k_2"' in message, frames) == (True, 1)
    assert len(mine) == 1
    listed = await answer(cmd.SessionList(id="k_3"), store, mine, "tab_A")
    assert listed is not None
    assert [row.session for row in listed.sessions or []] == ["s_1"]
    messages = await answer(cmd.SessionMessages(id="k_4", session="s_1"), store, mine, "tab_A")
    assert messages == Ok(id="k_4", messages=[], more=False)
    assert await answer(
        cmd.SessionUnsubscribe(id="k_5", session="s_1"), store, mine, "tab_A"
    ) == Ok(id="k_5")
    assert len(mine) == 0
    theirs = subscriptions(inside, Principal("acme", "bob"))
    with pytest.raises(ProtocolError, match=r"session\.not_found|no session"):
        await answer(subscribe, store, theirs, "tab_B")
