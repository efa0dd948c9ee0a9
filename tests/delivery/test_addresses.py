"""What is counted of an address: whom a limit holds for, and that nothing of it stays behind."""

from typing import Any

import pytest

from gateway.delivery import addresses as defaults
from gateway.delivery.addresses import Addresses, Visit
from gateway.settings import Settings
from gateway.telemetry import Metrics
from protocol.values import Principal
from tests.support.inprocess import ManualClock

PUBLIC, OTHER = "8.8.8.8", "9.9.9.9"
PRIVATE = ("127.0.0.1", "10.1.2.3", "192.168.0.9", "::1", "fd00::1", "")
ANN, BOB = Principal("acme", "ann"), Principal("acme", "bob")


def counted(clock: ManualClock | None = None, **options: Any) -> Addresses:
    """Of a gateway with tokens."""
    given: dict[str, Any] = {"auth": "jwt", "auth_secret": "s" * 32, **options}
    settings = Settings(**given)
    return Addresses(settings, metrics=Metrics(), clock=clock or ManualClock())


def test_who_has_left_is_not_counted() -> None:
    addresses = counted()
    visits = [addresses.visit(PUBLIC) for _ in range(3)]
    assert addresses.connections[PUBLIC] == addresses.strangers_in_all == 3
    visits[0].known()
    visits[0].known()
    assert (addresses.strangers[PUBLIC], addresses.strangers_in_all) == (2, 2)
    for visit in [*visits, *visits]:
        visit.end()
    assert not addresses.connections
    assert not addresses.strangers
    assert addresses.strangers_in_all == 0
    Visit().end()  # of a connection that nobody counts


def test_a_default_is_of_public_addresses_with_tokens() -> None:
    addresses = counted()
    for address, full in [(PUBLIC, True), *((private, False) for private in PRIVATE)]:
        visits = [addresses.visit(address) for _ in range(defaults.CONNECTIONS)]
        assert not addresses.full(address), address
        visits.append(addresses.visit(address))
        assert addresses.full(address) is full, address
        for visit in visits:
            visit.end()
    everybody = Addresses()
    for _ in range(3 * defaults.STRANGERS_IN_ALL):
        everybody.visit(PUBLIC)
    assert not everybody.full(PUBLIC)
    assert not everybody.crowded(PUBLIC)
    assert all(everybody.request(PUBLIC) for _ in range(3 * defaults.REQUESTS_BURST))
    assert all(everybody.request_of(ANN) for _ in range(3 * defaults.SUBJECT_REQUESTS_BURST))


@pytest.mark.parametrize("auth", [{}, {"auth": "jwt", "auth_secret": "s" * 32}])
@pytest.mark.parametrize("address", [PUBLIC, "127.0.0.1", "10.1.2.3"])
def test_a_limit_that_is_set_is_of_every_address(auth: dict[str, Any], address: str) -> None:
    settings = Settings(
        max_address_connections=1, max_address_strangers=1, address_requests_burst=1, **auth
    )
    addresses = Addresses(settings, clock=ManualClock())
    addresses.visit(address)
    assert not addresses.full(address)
    assert not addresses.crowded(address)
    addresses.visit(address)
    assert addresses.full(address)
    assert addresses.crowded(address)
    assert not addresses.crowded(OTHER)
    assert addresses.request(address)
    assert not addresses.request(address)
    assert addresses.request(OTHER)


def test_strangers_in_all() -> None:
    addresses = counted(max_strangers=2, max_address_strangers=100)
    visits = [addresses.visit(f"8.8.8.{n}") for n in range(2)]
    assert not addresses.crowded("8.8.8.1")
    addresses.visit("")
    assert addresses.crowded("")
    visits[0].known()
    assert not addresses.crowded("")


def test_a_network_of_ipv6_is_one_address() -> None:
    addresses = counted(max_address_connections=2)
    for last in range(3):
        addresses.visit(f"2001:db8:1:2::{last}")
    assert addresses.full("2001:db8:1:2:ffff::9")
    assert not addresses.full("2001:db8:1:3::1")


def test_requests_come_at_a_rate() -> None:
    clock = ManualClock()
    addresses = counted(clock, address_requests_per_s=5, requests_per_s=5, requests_burst=7)
    burst = defaults.REQUESTS_BURST
    assert sum(addresses.request(PUBLIC) for _ in range(2 * burst)) == burst
    assert sum(addresses.request_of(ANN) for _ in range(20)) == 7
    assert addresses.request_of(BOB)
    clock.now += 1
    assert sum(addresses.request(PUBLIC) for _ in range(20)) == 5
    assert sum(addresses.request_of(ANN) for _ in range(20)) == 5


def test_bad_tokens_are_forgiven_after_a_while() -> None:
    clock = ManualClock()
    addresses = counted(clock, address_failures_per_min=6)
    for _ in range(6):
        assert addresses.may_try("127.0.0.1")
        addresses.failed("127.0.0.1")
    assert not addresses.may_try("127.0.0.1")
    assert addresses.may_try(OTHER)
    clock.now += 10
    assert addresses.may_try("127.0.0.1")


def test_what_is_refused_is_counted() -> None:
    metrics = Metrics()
    settings = Settings(max_address_strangers=1, address_requests_burst=1, max_strangers=2)
    addresses = Addresses(settings, metrics=metrics, clock=ManualClock())
    for _ in range(2):
        addresses.visit(PUBLIC)
        addresses.request(PUBLIC)
    assert addresses.crowded(PUBLIC)
    shown = metrics.render()[0]
    for reason in (b"address_strangers", b"address_rate"):
        assert b'handshakes_refused_total{reason="%b"} 1.0' % reason in shown
    assert PUBLIC.encode() not in shown
