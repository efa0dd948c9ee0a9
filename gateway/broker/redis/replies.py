"""What the scripts answer, as values and exceptions. No I/O."""

from collections.abc import Sequence
from typing import Any

from gateway.broker.base import Asker, Head, Loaded, News, Share, StoredCommand
from gateway.errors import (
    BrokerError,
    BrokerUnavailable,
    Conflict,
    Duplicate,
    EpochChanged,
    Exists,
    Fenced,
    SessionMissing,
    Trimmed,
)


def stored_command(key: str, value: bytes) -> StoredCommand:
    digest, seq, answer = value.split(b"\n", 2)
    return StoredCommand(key, digest.decode(), answer, int(seq))


def refusal(reply: Sequence[Any]) -> BrokerError:
    """The exception that a reply other than `ok` stands for."""
    match reply[0], reply[1:]:
        case b"missing", _:
            return SessionMissing()
        case b"epoch", [epoch]:
            return EpochChanged(epoch.decode())
        case b"duplicate", [value]:
            stored = stored_command("", value)
            return Duplicate(stored.digest, stored.answer, stored.seq)
        case b"fenced", _:
            return Fenced()
        case b"conflict", _:
            return Conflict()
        case b"trimmed", _:
            return Trimmed()
        case b"exists", [owner, agent, deleted]:
            return Exists(owner.decode(), agent.decode(), bool(deleted))
        case other, _:
            raise AssertionError(f"no script answers {other!r}")


def accepted(reply: Sequence[Any]) -> Sequence[Any]:
    """What follows `ok`. Raises what the reply says otherwise."""
    if reply[0] != b"ok":
        raise refusal(reply)
    return reply[1:]


def same_session(session: str, echoed: bytes) -> None:
    """A connection that gives one caller another's answer must not leak a session."""
    if echoed.decode() != session:
        raise BrokerUnavailable(f"an answer for {session} was another session's")


def head(epoch: bytes, seq: int, version: int, fence: int) -> Head:
    return Head(epoch.decode(), int(seq), int(version), int(fence))


def events(entries: Sequence[Any], after: int) -> list[tuple[int, bytes]]:
    """The events of log entries that come after `after`. Raises `BrokerUnavailable`: damaged."""
    found: list[tuple[int, bytes]] = []
    for _, fields in entries:
        try:
            _, first, _, count, _, text, *_ = fields
            bodies: list[bytes] = text.split(b"\n")
            numbered = list(enumerate(bodies, int(first)))
            last = int(first) + int(count) - 1
        except ValueError:
            raise BrokerUnavailable("a log entry is damaged") from None
        if last != numbered[-1][0]:
            raise BrokerUnavailable(f"a log entry up to {last} is damaged")
        found += (event for event in numbered if event[0] > after)
    return found


def loaded(session: str, reply: Sequence[Any], command: str, asker: Asker | None = None) -> Loaded:
    """Checks that it is this session's, and whole."""
    echoed, epoch, seq, version, fence, owner, agent, deleted, stored, *rest = accepted(reply)
    same_session(session, echoed)
    share, withheld, log_bytes, start, snapshot, entries = rest
    if asker is not None and asker.owner != owner.decode():
        command = asker.command
    return Loaded(
        head=head(epoch, seq, version, fence),
        owner=owner.decode(),
        agent=agent.decode(),
        snapshot=snapshot,
        snapshot_seq=0 if snapshot is None else start,
        events=events(entries, start),
        command=None if stored is None else stored_command(command, stored),
        deleted=bool(deleted),
        share=None if share is None else share_of(share),
        withheld=bool(withheld),
        log_bytes=int(log_bytes),
    )


def share_of(value: bytes) -> Share:
    """What another may do; anything that this version does not know is the least."""
    return "act" if value == b"act" else "read"


def shares(session: str, reply: Sequence[Any]) -> dict[str, Share]:
    """With whom it is shared."""
    echoed, found = accepted(reply)
    same_session(session, echoed)
    pairs = zip(found[::2], found[1::2], strict=True)
    return {principal.decode(): share_of(access) for principal, access in pairs}


def news(session: str, message: bytes) -> News:
    """A message of a session's channel; header only: without bodies. Raises `ValueError`."""
    header, _, text = message.partition(b"\n")
    epoch, at, count, version = header.decode().split(" ")
    first = int(at)
    if count == "1" and text:
        return News(session, epoch, first, first, int(version), (text,))
    bodies = tuple(text.split(b"\n")) if text else ()
    return News(session, epoch, first, first + int(count) - 1, int(version), bodies)
