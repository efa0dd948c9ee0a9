"""The names of what was added to the wire after version 1 was first published.

`welcome.features` carries them, so that a client can tell an older gateway from a newer one
before it uses an addition. Whoever adds to the wire adds one row here, and to
docs/protocol.md, "Features". A name is never taken back.
"""

FEATURES: dict[str, str] = {
    "agents": "`GET /v1/agents`; an unknown agent is refused with `agent.not_found`.",
}
"""The feature's name -> what it is, in one sentence."""

NAMES: list[str] = list(FEATURES)
"""As `welcome.features` carries them."""
