"""Records and offers in Redis: what time, a full server and strange entries do to them."""

from gateway.broker.base import OFFERED_S
from tests.broker.redis.opening import asking, opened
from tests.support.processes import KeyValueServer

PROCESSES, AGENTS = "agw:ops:processes", "agw:ops:agents"


async def test_d1_a_process_that_says_nothing_is_gone_at_15_s(server: KeyValueServer) -> None:
    async with opened(server.url) as broker, asking(server) as admin:
        await broker.announce("there", b"r")
        now = broker.now()
        await admin.hset(PROCESSES, "late", f"{now - 14:.3f} r")
        await admin.hset(PROCESSES, "gone", f"{now - 15.1:.3f} r")
        assert {a.process for a in await broker.announced()} == {"there", "late"}
        await broker.announce("there", b"r")
        assert not await admin.hexists(PROCESSES, "gone"), "whoever comes next clears away"
        assert 0 < await admin.ttl(PROCESSES) <= 15


async def test_d2_an_agent_is_known_for_a_day(server: KeyValueServer) -> None:
    async with opened(server.url) as broker, asking(server) as admin:
        await broker.offer({"cook": b"Cooks."})
        await admin.hset(AGENTS, "baker", f"{broker.now() - OFFERED_S + 60:.3f} Bakes.")
        await admin.hset(AGENTS, "butler", f"{broker.now() - OFFERED_S - 1:.3f} ")
        assert (await broker.offered()).agents == {"cook": b"Cooks.", "baker": b"Bakes."}
        await broker.offer({"cook": b"Cooks."})
        assert not await admin.hexists(AGENTS, "butler")
        assert 0 < await admin.ttl(AGENTS) <= OFFERED_S


async def test_d2_since_begins_anew_when_nothing_is_left(server: KeyValueServer) -> None:
    async with opened(server.url) as broker, asking(server) as admin:
        await broker.offer({"cook": b""})
        old = broker.now() - OFFERED_S - 60
        await admin.hset(AGENTS, mapping={"": f"{old:.3f}", "cook": f"{old:.3f} "})
        await broker.offer({"cook": b""})
        assert (await broker.offered()).since > old + OFFERED_S
        await admin.hset(AGENTS, "", f"{old:.3f}")
        await broker.offer({"cook": b""})
        assert abs((await broker.offered()).since - old) < 1, "there was one all the time"


async def test_nothing_was_offered_yet(server: KeyValueServer) -> None:
    async with opened(server.url) as broker:
        offered = await broker.offered()
        assert (offered.agents, offered.since) == ({}, float("inf"))


async def test_strange_entries_are_passed_over(server: KeyValueServer) -> None:
    async with opened(server.url) as broker, asking(server) as admin:
        await admin.hset(AGENTS, mapping={"odd": "of a version to come", b"\xff": "1 x"})
        await broker.offer({"cook": b""})
        assert (await broker.offered()).agents == {"cook": b""}


async def test_d1_announced_while_the_server_is_full(server: KeyValueServer) -> None:
    """Who cannot say that it is there would be taken for dead, just when people look."""
    async with opened(server.url) as broker, asking(server) as admin:
        await admin.config_set("maxmemory", 1)
        await broker.announce("there", b"r")
        await broker.offer({"cook": b""})
        assert [a.process for a in await broker.announced()] == ["there"]
        assert list((await broker.offered()).agents) == ["cook"]
