"""Which agents there are, and the refusal of a name that nobody offered.

An agent is *known* if any process offered it within 24 h; it need not be there just now: then its
runs wait. Refused is only what this process can be sure of. It is sure of nothing while nobody has
offered anything (a fleet whose workers are yet to start), for `SETTLING_S` after the first offer
(others may be starting), and while the broker cannot be asked.
"""

import asyncio
import time
from collections.abc import Iterable, Set
from difflib import get_close_matches
from itertools import islice

from msgspec import Struct

from gateway.broker.base import Broker, Offered
from gateway.errors import BrokerError
from gateway.fleet.record import AgentOffer, records
from gateway.limits import Clock
from protocol.errors import ProtocolError

BELIEVED_S = 600.0
"""How long a name that was found is not looked up again."""

LOOK_AGAIN_S = 0.2
"""Between two looks for names that were not found, whoever asks."""

SETTLING_S = 60.0
"""Within so long after the first offer of all, workers of other agents may still be starting."""

MAX_COMPARED = 256
"""Names that a misspelt one is compared with."""


class KnownAgent(Struct, frozen=True, omit_defaults=True):
    """An agent in a list of them."""

    name: str
    available: bool
    """Whether a process that is there now has it; else its runs wait for one."""
    description: str | None = None


class Directory:
    """The agents of all processes of a broker, and of this one (`own`).

    What was found is kept, so that a command costs a look into a dictionary.
    """

    def __init__(
        self, broker: Broker, own: Iterable[AgentOffer] = (), *, clock: Clock = time.monotonic
    ) -> None:
        self._broker = broker
        self._own = {offer.name: offer for offer in own}
        self._clock = clock
        self._found = Offered({}, 0.0)
        self._found_at = float("-inf")
        # The last try, which may have failed
        self._looked_at = float("-inf")
        self._readable = False
        self._looking = asyncio.Lock()

    async def check(self, name: str, allowed: Set[str] | None = None) -> None:
        """Returns if there may be such an agent. `allowed` are the names that may be suggested.

        Raises:
            ProtocolError: `agent.not_found`, with names that are nearly the same.
        """
        if self._is_known(name):
            return
        await self._look()
        found = self._found
        if not self._readable or not found.agents or name in found.agents:
            return
        if found.since > self._broker.now() - SETTLING_S:
            return
        raise unknown(name, self._names(allowed))

    async def listed(self, allowed: Set[str] | None = None) -> list[KnownAgent]:
        """All that are known, by name; of these only the `allowed` ones.

        Raises `BrokerUnavailable`.
        """
        offered = (await self._broker.offered()).agents
        there = {
            offer.name: offer
            for record in records(await self._broker.announced())
            for offer in record.agents
        } | self._own
        said = {name: text.decode(errors="replace") or None for name, text in offered.items()}
        said |= {name: offer.description for name, offer in self._own.items()}
        names = sorted({*said, *there})
        return [
            KnownAgent(name, name in there, said.get(name))
            for name in names
            if allowed is None or name in allowed
        ]

    def _is_known(self, name: str) -> bool:
        if name in self._own:
            return True
        return name in self._found.agents and self._clock() - self._found_at < BELIEVED_S

    def _names(self, allowed: Set[str] | None) -> list[str]:
        names = {*self._found.agents, *self._own}
        return sorted(names if allowed is None else names & allowed)

    async def _look(self) -> None:
        """Looks them up, unless somebody did a moment ago."""
        async with self._looking:
            if self._clock() - self._looked_at < LOOK_AGAIN_S:
                return
            try:
                self._found = await self._broker.offered()
            except BrokerError:  # the command itself meets it next, and says so
                self._readable = False
            else:
                self._readable = True
                self._found_at = self._clock()
            self._looked_at = self._clock()


def unknown(name: str, names: Iterable[str]) -> ProtocolError:
    """The refusal, with the names that this one may be a slip of, the likeliest first."""
    close = _close(name, islice(names, MAX_COMPARED))
    text = f'There is no agent "{name}". '
    text += f'Did you mean "{close[0]}"?' if close else "GET /v1/agents lists those there are."
    return ProtocolError("agent.not_found", text, details={"agent": name, "did_you_mean": close})


def _close(name: str, names: Iterable[str]) -> list[str]:
    """Compared without regard to case, which is a slip as well."""
    by_folded: dict[str, str] = {}
    for one in names:
        by_folded.setdefault(one.casefold(), one)
    return [by_folded[folded] for folded in get_close_matches(name.casefold(), list(by_folded))]
