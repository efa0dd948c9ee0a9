"""What all connections of a process share."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.auth import Authenticator
from gateway.delivery.addresses import Addresses
from gateway.delivery.admission import Admission
from gateway.delivery.control import Control
from gateway.delivery.hub import Hub
from gateway.delivery.revocations import Revocations
from gateway.delivery.roster import Roster
from gateway.delivery.tickets import Tickets
from gateway.limits import Clock
from gateway.sessions.ids import random_id
from gateway.sessions.store import Store
from gateway.settings import Settings
from gateway.telemetry import Metrics


@dataclass(eq=False, kw_only=True)
class Delivery:
    """Made once by the gateway; `settings` are read at each use."""

    store: Store
    hub: Hub
    roster: Roster
    admission: Admission
    control: Control
    revocations: Revocations
    tickets: Tickets
    auth: Authenticator
    addresses: Addresses = field(default_factory=Addresses)
    settings: Settings = field(default_factory=Settings)
    metrics: Metrics = field(default_factory=Metrics)
    clock: Clock = time.monotonic
    wall: Clock = time.time
    new_id: Callable[[str], str] = random_id
