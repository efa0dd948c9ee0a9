"""Who did what, when: one line each of what an auditor asks for, apart from the log for debugging.

A line has the action, the outcome, the principal, and names (session, approval, client); never a
token, a text of a conversation or an argument. Each goes to the logger `gateway.audit`, at every
log level; the command throttles them by who did it alone (`telemetry.Throttle`), so that nobody's
flood hides another's line.
"""

import logging
from typing import Literal

import structlog

from protocol.values import Principal

# fmt: off
Action = Literal[
    "connect", "disconnect", "authenticate", "approve", "deny", "interrupt", "delete",
    "share", "unshare", "revoke", "refuse",
]
# fmt: on
Outcome = Literal["ok", "refused"]

_log = structlog.stdlib.get_logger("gateway.audit")


def record(
    action: Action, outcome: Outcome, principal: Principal | None = None, **names: object
) -> None:
    """Writes one line; `names` are ids and codes, those that are None are left out."""
    if not logging.getLogger("gateway.audit").isEnabledFor(logging.INFO):
        return
    who = {} if principal is None else {"tenant": principal.tenant, "subject": principal.subject}
    known = {name: value for name, value in names.items() if value is not None}
    _log.info("audit", action=action, outcome=outcome, **who, **known)
