from zlib import crc32

from gateway.broker.redis import layout


def test_everything_of_a_session_is_in_its_shards_slot() -> None:
    shard = crc32(b"session-1") % 64
    assert layout.shard_of("session-1") == shard
    tag = f"agw:{{{shard}}}:"
    assert layout.session_keys("session-1", "tab:7") == [
        f"{tag}s:session-1:meta",
        f"{tag}s:session-1:log",
        f"{tag}s:session-1:snap",
        f"{tag}timers",
        f"{tag}cmd:session-1:tab:7",
    ]
    assert len(layout.session_keys("session-1")) == 4
    assert layout.meta("session-1") == layout.session_keys("session-1")[0]
    assert layout.channel("session-1") == f"{tag}s:session-1".encode()
    assert layout.session_of(layout.channel("session-1")) == "session-1"


def test_queues_are_the_shards() -> None:
    assert layout.runs(7, "echo") == "agw:{7}:runs:echo"
    assert layout.timers(7) == "agw:{7}:timers"
    assert layout.wake(7) == b"agw:{7}:wake"


def test_owners_have_a_slot_of_their_own() -> None:
    assert layout.owner("acme:ann") == "agw:owner:acme:ann"


def test_what_is_beside_sessions_has_names_of_its_own() -> None:
    assert layout.kept("ticket:ab") == "agw:kept:ticket:ab"
    assert layout.board("revoked") == "agw:board:revoked"


def test_shards_are_used_evenly() -> None:
    used = {layout.shard_of(f"session-{i}") for i in range(1000)}
    assert used == set(range(layout.SHARDS))
