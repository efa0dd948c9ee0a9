"""The sentences that a person reads when there is no answer: their only place on the Python side.

A kind is what a person can act on; many codes may be of one kind. The twin of web/src/words.js,
held to the same protocol/vectors/refusals.json. No I/O, and no remedies: those depend on where
the sentence is read, and stand there.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal[
    "not_signed_in", "not_allowed", "no_gateway", "session_ended", "no_agent", "no_worker"
]

SENTENCES: dict[Kind, str] = {
    "not_signed_in": "You are not signed in.",
    "not_allowed": "This page may not connect here.",
    "no_gateway": "There is no agent gateway at this address.",
    "session_ended": "This conversation has ended.",
    "no_agent": "There is no agent of this name.",
    "no_worker": "Nobody can answer just now. Your message waits and nothing is lost.",
}

WAITING_FOR_WORKER = "waiting_for_worker"
"""The activity of a run that no worker has taken for a while."""

_KINDS: dict[str, Kind] = {
    "auth.required": "not_signed_in",
    "auth.invalid": "not_signed_in",
    "auth.expired": "not_signed_in",
    "auth.forbidden": "not_allowed",
    "client.no_gateway": "no_gateway",
    "session.not_found": "session_ended",
    "agent.not_found": "no_agent",
    WAITING_FOR_WORKER: "no_worker",
}

_WRONG: dict[str, str] = {
    "audience": "It is meant for another audience.",
    "issuer": "Another issuer made it.",
    "claims": "It lacks what this gateway asks of a token.",
}
"""Why a token with a good signature is refused: `details.reason` of `auth.invalid`."""


def kind_of(code: str) -> Kind | None:
    """Of which kind an error code, or a run's activity, is; None: its own text says it best."""
    return _KINDS.get(code)


def token_fact(code: str, details: Mapping[str, Any], *, given: bool) -> str:
    """What was wrong with the token; `given`: whether there was one."""
    if not given:
        return "No token was given."
    if code == "auth.expired":
        return "The token has expired."
    reason = _WRONG.get(str(details.get("reason")), "")
    return f"The gateway did not accept the token. {reason}".rstrip()


def agent_fact(message: str, details: Mapping[str, Any]) -> str:
    """Which agent was asked for, and which may be meant; `message` where that is not known."""
    agent = details.get("agent")
    if not isinstance(agent, str):
        return message
    similar = details.get("did_you_mean")
    names = " or ".join(f'"{name}"' for name in similar) if isinstance(similar, list) else ""  # type: ignore[reportUnknownVariableType] - any JSON
    return f'You asked for "{agent}". {f"Did you mean {names}?" if names else ""}'.rstrip()
