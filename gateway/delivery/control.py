"""Words between processes: a client came to another replica, a share or a token was taken back.

They are lossy (the broker's control channel); nothing stored depends on one. A word that is lost
leaves a dead connection to its pings and a subscription to its next look; what is revoked is also
read from the broker (`revocations`).
"""

import logging

import msgspec

from gateway.broker.base import Broker
from gateway.delivery.revocations import Revocations, Revoke
from gateway.delivery.roster import Place, Roster
from gateway.errors import BrokerError
from gateway.telemetry import Metrics
from protocol.values import Principal

log = logging.getLogger("gateway.delivery")


class Supersede(msgspec.Struct, frozen=True, tag="supersede"):
    """A client has connected at `at`, by the broker's clock."""

    principal: Principal
    client: str
    at: float
    connection: str


class LookAgain(msgspec.Struct, frozen=True, tag="look_again"):
    """Who is subscribed to a session may not be allowed to any more."""

    session: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Supersede | LookAgain | Revoke).decode


class Control:
    """One per process; hears from when it is made."""

    def __init__(
        self,
        broker: Broker,
        roster: Roster,
        metrics: Metrics | None = None,
        revocations: Revocations | None = None,
    ) -> None:
        self._broker = broker
        self._roster = roster
        self._revocations = revocations
        self._metrics = metrics or Metrics()
        broker.on_control(self._heard)

    def place(self, connection: str) -> Place:
        """Where a connection that joins now stands among all of its client."""
        return Place(self._broker.now(), connection)

    async def supersede(self, principal: Principal, client: str, place: Place) -> None:
        """Tells everybody that the client is here now. Never raises: it is lossy anyhow."""
        await self._tell(Supersede(principal, client, place.at, place.connection))

    async def look_again(self, session: str) -> None:
        """Tells everybody that a permission was taken away. Never raises, as above."""
        await self._tell(LookAgain(session))

    async def _tell(self, word: Supersede | LookAgain) -> None:
        try:
            await self._broker.publish_control(_encode(word))
        except BrokerError as error:
            self._metrics.broker_error(error)

    def _heard(self, message: bytes) -> None:
        try:
            word = _decode(message)
        except (msgspec.DecodeError, UnicodeError):  # of a newer version, perhaps
            log.debug("an unknown word on the control channel")
            return
        if isinstance(word, LookAgain):
            self._roster.look_again(word.session)
            return
        if isinstance(word, Revoke):
            if self._revocations is not None:
                self._revocations.learn(word)
            return
        place = Place(word.at, word.connection)
        self._roster.supersede(word.principal, word.client, place)
