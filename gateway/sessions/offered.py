"""Which agents there are, where one process is all there is: any other is unknown at once.

Where processes share a broker nobody knows all agents: a worker that has one may start later, so
a run waits there (docs/protocol.md, "Features").
"""

from collections.abc import Collection
from difflib import get_close_matches

from gateway.auth import Grant
from protocol.errors import ProtocolError, excerpt

MAX_GUESSES = 3


def check_agent(name: str, offered: Collection[str] | None, grant: Grant) -> None:
    """Refuses an agent that nobody here can run; `offered` is None where that is not known.

    Raises:
        ProtocolError: `agent.not_found`, with the names that are near among those of the grant.
    """
    if offered is None or name in offered:
        return
    allowed = [one for one in offered if grant.agents is None or one in grant.agents]
    near = get_close_matches(name, sorted(allowed), MAX_GUESSES)
    shown = excerpt(name)
    guess = f' Did you mean "{near[0]}"?' if near else ""
    details = {"agent": shown, **({"did_you_mean": near} if near else {})}
    raise ProtocolError("agent.not_found", f'There is no agent "{shown}".{guess}', details=details)
