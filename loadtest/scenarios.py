"""What is measured, as data: each scenario is a driver with a load."""

from typing import Literal

import msgspec

from loadtest.credits import Verb

Driver = Literal["stream", "slow", "soak", "tools", "commands", "idle", "storm"]
MOST_PLACES = 64
"""Subscriptions of one connection, by the protocol."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what; what a driver does not need it ignores."""

    sessions: int = 1
    sockets: int = 1
    """Each session is subscribed by one of them, or (`everywhere`) by all."""
    everywhere: bool = False
    outstanding: int = 0
    """Closed loop: so many events (or commands) are on their way. 0: open loop, by `rate`."""
    rate: float = 0.0
    """Open loop: events a second of each session."""
    verb: Verb = "emit"
    seconds: float = 5.0
    """Of the measured window."""
    warm_up_s: float = 1.0
    count: int = 0
    """Ends the window when so many events have come, if that is before `seconds` are over."""
    event_bytes: int = 200
    coalesce_ms: int | None = None
    acks: bool = True
    sample: int = 1
    clients: int = 1
    stalled: int = 0
    missed: int = 100
    churn: int = 0

    @property
    def tabs(self) -> int:
        """How many connections there are: none without a session."""
        return self.sockets if self.everywhere else min(self.sockets, self.sessions)


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table."""

    name: str
    shows: str
    driver: Driver
    load: Load
    axis: str
    """The field of the load that cost is drawn against."""

    @property
    def short(self) -> Load:
        """For a round of all: a few seconds."""
        load = msgspec.structs.replace(
            self.load, seconds=5.0 if self.driver == "soak" else 2.0, warm_up_s=0.5
        )
        if self.driver in ("idle", "storm"):
            fifth = {"sessions": load.sessions // 5, "sockets": load.sockets // 5}
            load = msgspec.structs.replace(load, **fifth)
        return load


_MANY = Load(sessions=1_000, sockets=100)

SCENARIOS: dict[str, Scenario] = {
    row.name: row
    for row in (
        Scenario(
            name="broadcast",
            shows="one session, many subscribers; the next event when all have the last",
            driver="stream",
            load=Load(sockets=100, everywhere=True, outstanding=16, coalesce_ms=0, sample=16),
            axis="sockets",
        ),
        Scenario(
            name="multiplex",
            shows="many sessions over fewer sockets, as fast as the gateway can",
            driver="stream",
            load=msgspec.structs.replace(_MANY, outstanding=256, coalesce_ms=0),
            axis="sessions",
        ),
        Scenario(
            name="tokens",
            shows="many sessions at a model's rate: the whole way of a token",
            driver="stream",
            load=msgspec.structs.replace(_MANY, rate=50.0, verb="write"),
            axis="sessions",
        ),
        Scenario(
            name="latency",
            shows="single tokens, 5,000 a second over many sessions, none merged",
            driver="stream",
            load=msgspec.structs.replace(_MANY, rate=5.0, verb="write", coalesce_ms=0),
            axis="sessions",
        ),
        Scenario(
            name="tools",
            shows="a result up, and the same agent's next call down",
            driver="tools",
            load=Load(verb="call"),
            axis="sessions",
        ),
        Scenario(
            name="fan-in",
            shows="commands up: messages that start no run",
            driver="commands",
            load=Load(sessions=100, sockets=20, outstanding=4),
            axis="sockets",
        ),
        Scenario(
            name="idle",
            shows="memory of a connection, and of a subscribed session",
            driver="idle",
            load=Load(sessions=5_000, sockets=1_000),
            axis="sockets",
        ),
        Scenario(
            name="storm",
            shows="all clients are cut at once and come back, each with missed events",
            driver="storm",
            load=Load(sessions=2_000, sockets=2_000, missed=100, coalesce_ms=0),
            axis="sockets",
        ),
        Scenario(
            name="slow",
            shows="some readers stand still: what the others notice",
            driver="slow",
            load=Load(sockets=100, everywhere=True, rate=200.0, coalesce_ms=0, stalled=10),
            axis="sockets",
        ),
        Scenario(
            name="soak",
            shows="many sessions for a long time while connections come and go",
            driver="soak",
            load=msgspec.structs.replace(_MANY, rate=10.0, verb="write", seconds=60.0, churn=5),
            axis="sessions",
        ),
    )
}
