"""The native protocol, version 1, as values: no I/O, no clock, no logging.

Read `codes`, `errors`, `values`, `events`, `model`, `folds`, `state`, `commands`, `frames`,
`codec`, `detail`, `schema` in this order; each imports only from those before it.
The prose is in `docs/protocol.md`.
"""

SUBPROTOCOL = "agent-gateway.v1"
"""The WebSocket subprotocol; without one version 1 is assumed."""

MAX_SEQ = 2**53 - 1
"""Largest integer that every JSON reader keeps exact."""
