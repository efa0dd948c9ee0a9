"""A ticket is good once, soon, from the same origin, for what its token granted."""

import pytest

from gateway.auth import Grant
from gateway.broker.memory import MemoryBroker
from gateway.delivery.tickets import LATE_S, TTL_S, Tickets
from protocol.errors import ProtocolError
from protocol.values import Principal
from tests.support.inprocess import ManualClock

PAGE = "https://app.example"
ANN = Grant(
    Principal("acme", "ann"),
    "answer",
    1_000_100.0,
    issued_at=1_000_000.0,
    token_id="t1",
    agents=frozenset({"echo"}),
    sessions=frozenset({"s_1"}),
    scopes=frozenset({"admin", "other"}),
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def tickets(clock: ManualClock) -> Tickets:
    return Tickets(MemoryBroker(clock), clock)


async def refusal(tickets: Tickets, ticket: str, origin: str | None) -> str:
    with pytest.raises(ProtocolError) as refused:
        await tickets.redeem(ticket, origin)
    return refused.value.code


@pytest.mark.parametrize("origin", [PAGE, None])
async def test_it_stands_for_the_whole_grant_once(tickets: Tickets, origin: str | None) -> None:
    ticket = await tickets.sell(ANN, origin)
    assert await tickets.redeem(ticket, origin) == ANN
    assert await refusal(tickets, ticket, origin) == "auth.invalid"


async def test_a_grant_without_bounds(tickets: Tickets) -> None:
    free = Grant(Principal("local", "dev"), "full")
    assert await tickets.redeem(await tickets.sell(free, PAGE), PAGE) == free


@pytest.mark.parametrize("other", [None, "https://evil.example", "null", PAGE + "/", ""])
async def test_another_origin_uses_it_up(tickets: Tickets, other: str | None) -> None:
    ticket = await tickets.sell(ANN, PAGE)
    assert await refusal(tickets, ticket, other) == "auth.invalid"
    assert await refusal(tickets, ticket, PAGE) == "auth.invalid"


async def test_one_that_was_bought_without_an_origin_is_for_no_page(tickets: Tickets) -> None:
    assert await refusal(tickets, await tickets.sell(ANN, None), PAGE) == "auth.invalid"


async def test_it_ends_soon(tickets: Tickets, clock: ManualClock) -> None:
    late, early = await tickets.sell(ANN, PAGE), await tickets.sell(ANN, PAGE)
    clock.now += TTL_S - 1
    assert await tickets.redeem(early, PAGE) == ANN
    clock.now += 1
    assert await refusal(tickets, late, PAGE) == "auth.invalid"


async def test_it_outlives_its_token_no_longer_than_a_connection(
    tickets: Tickets, clock: ManualClock
) -> None:
    clock.now = 1_000_100.0 + LATE_S - 10
    ticket, late = await tickets.sell(ANN, PAGE), await tickets.sell(ANN, PAGE)
    assert await tickets.redeem(ticket, PAGE) == ANN
    clock.now += 10
    assert await refusal(tickets, late, PAGE) == "auth.expired"


@pytest.mark.parametrize("text", ["", "x", "x" * 43, "x" * 44, "\n" * 43, "ä" * 43, "../" * 20])
async def test_what_is_no_ticket(tickets: Tickets, text: str) -> None:
    assert await refusal(tickets, text, None) == "auth.invalid"


async def test_they_differ_and_the_broker_holds_none() -> None:
    broker = MemoryBroker()
    tickets = Tickets(broker)
    sold = [await tickets.sell(ANN, PAGE) for _ in range(50)]
    assert len(set(sold)) == 50
    kept = str(broker._shelf._kept)
    assert not [ticket for ticket in sold if ticket in kept]


async def test_an_answer_that_was_somebody_elses_is_no_grant() -> None:
    class Mixed(MemoryBroker):
        async def take(self, key: str) -> bytes | None:
            (other,) = (k for k in self._shelf._kept if k != key)
            return self._shelf._kept[other][0]

    tickets = Tickets(Mixed())
    mine, _ = await tickets.sell(ANN, PAGE), await tickets.sell(ANN, PAGE)
    assert await refusal(tickets, mine, PAGE) == "auth.invalid"
