"""What one address may use of a process: connections, requests, wrong tokens.

Counters only, in memory: who enforces them also answers the client. A limit that is set holds for
every address. A default holds for public ones alone, and only where there are tokens: behind a
private or loopback address is most likely a proxy, and behind that everybody (`trusted_proxies`).
Of IPv6 a /64 is one address: so much a single customer has.
"""

import ipaddress
import time
from collections import Counter

from gateway.auth import Grant
from gateway.limits import Buckets, Clock
from gateway.settings import Settings
from gateway.telemetry import Metrics
from protocol.values import Principal

CONNECTIONS = 1_000
STRANGERS, STRANGERS_IN_ALL = 100, 2_000
REQUESTS_PER_S, REQUESTS_BURST = 200, 1_000
FAILURES_PER_MIN = 60
SUBJECT_REQUESTS_PER_S, SUBJECT_REQUESTS_BURST = 200, 400


class Visit:
    """One connection or stream, while it is there; a stranger until it has said who it is."""

    __slots__ = ("_addresses", "_stranger", "address", "invited")

    def __init__(self, address: str = "", addresses: "Addresses | None" = None) -> None:
        self.address = address
        self.invited: Grant | None = None  # what its handshake brought; then hello needs no token
        self._addresses = addresses
        self._stranger = True
        if addresses is not None:
            addresses.connections[addresses.key(address)] += 1
            addresses.strangers[addresses.key(address)] += 1
            addresses.strangers_in_all += 1

    def known(self) -> None:
        """It has said who it is. Idempotent."""
        addresses = self._addresses
        if addresses is not None and self._stranger:
            _one_less(addresses.strangers, addresses.key(self.address))
            addresses.strangers_in_all -= 1
        self._stranger = False

    def end(self) -> None:
        """It is over. Idempotent."""
        self.known()
        if self._addresses is not None:
            _one_less(self._addresses.connections, self._addresses.key(self.address))
        self._addresses = None


class Addresses:
    """One per process."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        metrics: Metrics | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._settings = given = settings or Settings()
        self._metrics = metrics or Metrics()
        self._by_default = given.auth != "none"
        self.connections: Counter[str] = Counter()  # key of an address -> connections
        self.strangers: Counter[str] = Counter()  # those of them that are strangers
        self.strangers_in_all = 0
        self._requests = Buckets[str](
            given.address_requests_per_s or REQUESTS_PER_S,
            given.address_requests_burst or REQUESTS_BURST,
            clock=clock,
        )
        failures = given.address_failures_per_min or FAILURES_PER_MIN
        self._failures = Buckets[str](failures / 60, failures, clock=clock)
        self._of_subjects = Buckets[tuple[str, str]](
            given.requests_per_s or SUBJECT_REQUESTS_PER_S,
            given.requests_burst or SUBJECT_REQUESTS_BURST,
            clock=clock,
        )

    def key(self, address: str) -> str:
        """What is counted as one address."""
        if ":" not in address:
            return address
        return str(ipaddress.ip_network(f"{address}/64", strict=False))

    def visit(self, address: str) -> Visit:
        """Somebody has come; counted until `Visit.end`, let in or not."""
        return Visit(address, self)

    def crowded(self, address: str) -> bool:
        """Whether there are too many strangers, the last one included."""
        given = self._settings
        most = given.max_strangers or (STRANGERS_IN_ALL if self._by_default else None)
        reason = "strangers" if most is not None and self.strangers_in_all > most else None
        if self._counts(given.max_address_strangers, address) and self.strangers[
            self.key(address)
        ] > (given.max_address_strangers or STRANGERS):
            reason = "address_strangers"
        if reason is not None:
            self._metrics.refused(reason)
        return reason is not None

    def full(self, address: str) -> bool:
        """Whether it has more connections than it may, the last one included."""
        given = self._settings.max_address_connections
        many = self.connections[self.key(address)] > (given or CONNECTIONS)
        return many and self._counts(given, address)

    def request(self, address: str) -> bool:
        """An HTTP request, or a handshake, has come; False: one too many."""
        given = self._settings.address_requests_per_s or self._settings.address_requests_burst
        if not self._counts(given, address) or self._requests.take(self.key(address)):
            return True
        self._metrics.refused("address_rate")
        return False

    def request_of(self, principal: Principal) -> bool:
        """An HTTP request of this subject has come; False: one too many."""
        given = self._settings.requests_per_s or self._settings.requests_burst
        if given is None and not self._by_default:
            return True
        return self._of_subjects.take((principal.tenant, principal.subject))

    def may_try(self, address: str) -> bool:
        """Whether a token that comes from there is looked at."""
        given = self._settings.address_failures_per_min
        return not self._counts(given, address) or self._failures.has(self.key(address))

    def failed(self, address: str) -> None:
        """A token that came from there was no good."""
        if self._counts(self._settings.address_failures_per_min, address):
            self._failures.take(self.key(address))

    def _counts(self, given: int | None, address: str) -> bool:
        if not address:
            return False
        return given is not None or (self._by_default and _is_public(address))


def _is_public(address: str) -> bool:
    return ipaddress.ip_address(address).is_global


def _one_less(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
