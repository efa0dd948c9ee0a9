"""Who the client is: by token or handshake, refreshed, and told when it ends."""

from collections.abc import AsyncIterator

import pytest

from gateway.auth import Grant
from gateway.delivery.addresses import Visit
from gateway.delivery.identity import Identity
from protocol.errors import ProtocolError
from protocol.frames import AuthExpiring
from tests.delivery.doors import ANN_ANSWER, ANN_FULL, BOB, Doors
from tests.sessions.bench import ManualClock
from tests.support.inprocess import InProcess, in_process


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def inside(clock: ManualClock) -> AsyncIterator[InProcess]:
    async with in_process(auth=Doors(), clock=clock, wall=clock) as inside:
        yield inside


def invited(grant: Grant) -> Visit:
    visit = Visit()
    visit.invited = grant
    return visit


async def test_a_token_or_the_handshake_says_who(inside: InProcess) -> None:
    ann = await Identity(inside.delivery, Visit()).shown(ANN_FULL)
    assert ann.principal.subject == "ann"
    guest = Identity(inside.delivery, invited(ann))
    assert await guest.shown(None) == ann
    assert (await guest.shown(ANN_ANSWER)).detail == "answer"
    with pytest.raises(ProtocolError, match=r"auth\.forbidden"):
        await guest.shown(BOB)
    with pytest.raises(ProtocolError, match=r"auth\."):
        await Identity(inside.delivery, Visit()).shown(None)


async def test_a_newer_token_is_of_the_same_principal(inside: InProcess) -> None:
    identity = Identity(inside.delivery, Visit())
    identity.grant = await identity.shown(ANN_FULL)
    assert await identity.refreshed(BOB) is None
    assert identity.grant.principal.subject == "ann"
    lower = await identity.refreshed(ANN_ANSWER)
    assert lower is not None
    assert identity.grant == lower


async def test_the_end_is_told_once_for_each_token(inside: InProcess, clock: ManualClock) -> None:
    identity = Identity(inside.delivery, Visit())
    assert identity.expiring() is None
    identity.grant = await identity.shown(f"{ANN_FULL}{clock.now + 100}")
    clock.now += 39
    assert identity.expiring() is None
    clock.now += 1
    assert [identity.expiring(), identity.expiring()] == [AuthExpiring(in_ms=60_000), None]
    await identity.refreshed(f"{ANN_FULL}{clock.now + 30}")
    assert identity.expiring() == AuthExpiring(in_ms=30_000)
    clock.now += 54
    assert identity.expiring() is None
    clock.now += 1
    with pytest.raises(ProtocolError, match=r"auth\.expired"):
        identity.expiring()
