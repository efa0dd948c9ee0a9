"""Exceptions of the gateway's own machinery; refusals of the protocol are in `protocol.errors`."""


class GatewayError(Exception):
    """Base of what the gateway raises to those who embed it."""


class ConfigurationError(GatewayError):
    """A setting cannot work; the text names the remedy."""


class BrokerError(GatewayError):
    """Base of what a broker's verbs raise."""


class BrokerUnavailable(BrokerError):
    """The broker did not answer in time or refused; nothing is known about the effect."""


class SessionMissing(BrokerError):
    """There is no such session."""


class Conflict(BrokerError):
    """The session's version is not the expected one; load and decide again."""


class Fenced(BrokerError):
    """A newer fence exists: the attempt is over and must not write any more."""


class EpochChanged(BrokerError):
    """The session's log is another incarnation; `epoch` is the new one."""

    def __init__(self, epoch: str = "") -> None:
        self.epoch = epoch
        super().__init__(epoch)


class Trimmed(BrokerError):
    """The log no longer reaches back to the asked seq; take the state instead."""


class Exists(BrokerError):
    """The session exists; whose it is, with which agent, and whether it is deleted."""

    def __init__(self, owner: str, agent: str, deleted: bool) -> None:
        self.owner = owner
        self.agent = agent
        self.deleted = deleted
        super().__init__(owner, agent, deleted)


class Duplicate(BrokerError):
    """The command was stored before: its body's digest, its answer, its append's last seq."""

    def __init__(self, digest: str, answer: bytes, seq: int) -> None:
        self.digest = digest
        self.answer = answer
        self.seq = seq
        super().__init__(digest, seq)
