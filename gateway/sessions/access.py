"""Who may do what with a session: what an `Authorizer` is asked, and how a refusal looks.

The one place that decides it; the store asks here with what the broker has just said, so that
every decision sees the owner and the shares of its moment. No I/O.
"""

from collections.abc import Mapping
from typing import Literal, Protocol
from urllib.parse import quote, unquote

from msgspec import Struct

from gateway.auth import Grant
from gateway.broker.base import Loaded, Share
from gateway.sessions.ids import derived_id
from protocol import commands as cmd
from protocol.errors import ProtocolError
from protocol.values import Principal

Action = Literal["create", "read", "act", "delete", "share"]
"""`create` makes a session, `read` sees it, `act` takes part in it, `delete` ends it, and `share`
says who else may."""

_ACTIONS: Mapping[type, Action] = {
    cmd.SessionCreate: "create",
    cmd.SessionMessages: "read",
    cmd.SessionDelete: "delete",
}


class Facts(Struct, frozen=True):
    """What there is to know of a session to decide about it."""

    session: str
    agent: str
    owner: Principal
    share: Share | None = None
    """What its owner lets the asking principal do."""


class Authorizer(Protocol):
    """Decides what a grant may do. Sessions of another tenant are refused before it is asked.

    Pure and synchronous: it is asked in the turn of a session, where nobody may wait for another
    service, and again while a subscription lasts. What it needs to know from elsewhere, the
    `Authenticator` finds out before, and puts into the grant.
    """

    def allows(self, grant: Grant, action: Action, facts: Facts) -> bool:
        """Whether the grant may; who may not `read` a session never learns that it is there."""
        ...


class Ownership:
    """The default: the owner may all, others what is shared with them, within the token's claims.

    Of a session that is not there yet the asker is the owner.
    """

    def allows(self, grant: Grant, action: Action, facts: Facts) -> bool:
        """Whether the grant may."""
        if not in_claims(grant, facts):
            return False
        if facts.owner == grant.principal:
            return True
        if action == "read":
            return facts.share is not None
        return action == "act" and facts.share == "act"


def in_claims(grant: Grant, facts: Facts) -> bool:
    """Whether the token is for this session and its agent at all."""
    return (grant.sessions is None or facts.session in grant.sessions) and (
        grant.agents is None or facts.agent in grant.agents
    )


def action_of(command: type[cmd.DecidedCommand]) -> Action:
    """What a command of this kind needs."""
    return _ACTIONS.get(command, "act")


def check(authorizer: Authorizer, grant: Grant, action: Action, facts: Facts) -> None:
    """Raises `session.not_found`, or `auth.forbidden` to who may see the session."""
    if facts.owner.tenant == grant.principal.tenant:
        if authorizer.allows(grant, action, facts):
            return
        if action == "create" or (action != "read" and authorizer.allows(grant, "read", facts)):
            raise ProtocolError("auth.forbidden", session=facts.session)
    raise not_found(facts.session)


def not_found(session: str) -> ProtocolError:
    """The same for a session that is somebody else's, is deleted, or never existed."""
    return ProtocolError("session.not_found", f"There is no session {session}.", session=session)


def owner_key(principal: Principal) -> str:
    """A principal as the broker keeps it: `<tenant>:<subject>`, both percent-encoded."""
    return f"{quote(principal.tenant, safe='')}:{quote(principal.subject, safe='')}"


def principal_of(key: str) -> Principal:
    """The inverse of `owner_key`."""
    tenant, subject = key.split(":")
    return Principal(unquote(tenant), unquote(subject))


def subject_of(key: str) -> str:
    """The subject of a principal as the broker keeps it."""
    return unquote(key.rpartition(":")[2])


def grant_of(owner: str) -> Grant:
    """For what the gateway itself does on an owner's behalf: no token narrows it."""
    return Grant(principal_of(owner), "full")


def facts_of(session: str, loaded: Loaded) -> Facts:
    """What the broker says of a session."""
    return Facts(session, loaded.agent, principal_of(loaded.owner), loaded.share)


def others_command(owner: str, key: str) -> str:
    """The key of a command in a session of another: two may have chosen the same ids."""
    return f"{derived_id('p', owner)}:{key}"
