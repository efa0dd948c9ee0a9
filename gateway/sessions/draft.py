"""A decision in the making: events that are folded in as they are added.

So every rule sees what the rules before it did. The session is changed: whoever decides throws it
away unless the events are stored.
"""

import math
from collections.abc import Callable

from msgspec import Struct

from gateway.auth import Grant
from gateway.errors import GatewayError
from gateway.sessions.access import owner_key
from gateway.sessions.session import Session
from gateway.sessions.sizes import Sizes
from protocol import events as ev
from protocol.state import Run
from protocol.values import Principal, time_text

NewId = Callable[[str], str]
"""Prefix -> a fresh id."""


class RuleBrokenError(GatewayError):
    """A producer tried what docs/protocol.md forbids; a bug of the runtime or an agent."""


class Rules(Struct, frozen=True):
    """The times that decisions know, in seconds, and how large a session may become."""

    run_ttl_s: float = 86_400.0
    session_ttl_s: float = math.inf
    """A session without a run and without a control event for so long is deleted."""
    unclaimed_notice_s: float = 5.0
    max_losses: int = 3
    sizes: Sizes = Sizes()


class Origin(Struct, frozen=True):
    """Who asks: a grant's principal, in a tab; over HTTP `client` may be empty."""

    grant: Grant
    client: str

    @property
    def principal(self) -> Principal:
        """Who acts."""
        return self.grant.principal

    @property
    def tab(self) -> str:
        """The client id that holds calls and scopes command ids."""
        return self.client or "http"


class Decision(Struct, kw_only=True):
    """Events to append together, and what the append does besides."""

    events: list[ev.Event]
    ok: dict[str, str | int | bool]
    """The answer's fields, but `id` and `seq`."""
    raise_fence: bool
    claimable_at: float | None
    delete: bool


class Draft:
    """One decision about one session at one time."""

    def __init__(self, session: Session, now: float, new_id: NewId, rules: Rules) -> None:
        self.session = session
        self.state = session.state
        self.ledger = session.ledger
        self.now = now
        self.time = time_text(now)
        self.new_id = new_id
        self.rules = rules
        self._decision = Decision(
            events=[], ok={}, raise_fence=False, claimable_at=None, delete=False
        )

    def add(self, event: ev.Event) -> None:
        """One more event of this append."""
        self._decision.events.append(event)
        self.session.apply(event, self.state.seq + 1)

    def after(self, milliseconds: float) -> str:
        """A deadline."""
        return time_text(self.now + milliseconds / 1000)

    def done(self, **ok: str | int | bool) -> Decision:
        """The decision, with the answer's fields."""
        self._decision.ok = ok
        return self._decision

    def wake(self) -> None:
        """A parked run may be claimed again."""
        self._decision.claimable_at = self.now

    def end_attempt(self, *, next_at: float | None) -> None:
        """Nobody may write to the run any more; what is next is claimable at `next_at`."""
        self._decision.raise_fence = True
        self._decision.claimable_at = next_at

    def delete(self) -> None:
        """These are the session's last events."""
        self._decision.delete = True

    def guest(self, origin: Origin) -> str | None:
        """The subject that acts, if it is not the session's owner."""
        mine = self.session.owner == owner_key(origin.principal)
        return None if mine else origin.principal.subject

    @property
    def live(self) -> Run | None:
        """The run that is running or waiting."""
        return self.state.live_run
