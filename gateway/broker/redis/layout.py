"""Names of keys and channels (docs/operations.md). The scripts make the same ones; no I/O here.

Everything of a session, and the queues of its shard, is in one slot: all carry the tag `{k}`.
"""

from zlib import crc32

SHARDS = 64


def shard_of(session: str) -> int:
    return crc32(session.encode()) % SHARDS


def base(shard: int) -> str:
    return f"agw:{{{shard}}}:"


def session_keys(session: str, *commands: str) -> list[str]:
    """KEYS of a script about a session: meta, log, snapshot, timers, perhaps commands."""
    shard = base(shard_of(session))
    own = f"{shard}s:{session}"
    keys = [f"{own}:meta", f"{own}:log", f"{own}:snap", f"{shard}timers"]
    keys += [f"{shard}cmd:{session}:{command}" for command in commands if command]
    return keys


def meta(session: str) -> str:
    return f"{base(shard_of(session))}s:{session}:meta"


def channel(session: str) -> bytes:
    return f"{base(shard_of(session))}s:{session}".encode()


def session_of(name: bytes) -> str:
    """The session of a channel; ids hold no colon."""
    return name.rpartition(b":")[2].decode()


def runs(shard: int, agent: str) -> str:
    return f"{base(shard)}runs:{agent}"


def timers(shard: int) -> str:
    return f"{base(shard)}timers"


def wake(shard: int) -> bytes:
    return f"{base(shard)}wake".encode()


CONTROL = b"agw:control"
"""The channel of words from process to process."""


def canary(shard: int | None, nonce: str) -> str:
    """A channel of one's own in the slot of a shard, or (None) in that of `CONTROL`."""
    return (
        f"{{{CONTROL.decode()}}}:canary:{nonce}"
        if shard is None
        else f"{base(shard)}canary:{nonce}"
    )


def shard_in(channel: bytes) -> int | None:
    """The shard that a channel belongs to, None if it is of all processes."""
    tag = channel.partition(b"{")[2].partition(b"}")[0]
    return int(tag) if tag.isdigit() else None


def owner(principal: str) -> str:
    return f"agw:owner:{principal}"


def shared(principal: str) -> str:
    """Those of its list that are not its own."""
    return f"agw:shared:{principal}"


def busy_keys(owner: str) -> list[str]:
    """Its busy sessions, and that somebody looked through them lately; in one slot."""
    return [f"agw:busy:{{{owner}}}", f"agw:busy:{{{owner}}}:looked"]


def kept(key: str) -> str:
    """A value that is taken once."""
    return f"agw:kept:{key}"


def board(name: str) -> str:
    return f"agw:board:{name}"


PROCESSES = "agw:ops:processes"
"""Which processes there are."""

AGENTS = "agw:ops:agents"
"""Which agents they offered."""
