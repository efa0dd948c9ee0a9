"""The index by owner, where it and the sessions differ."""

from tests.broker.driving import make
from tests.broker.redis.opening import asking, opened
from tests.support.processes import KeyValueServer


async def test_dangling_ids_leave_the_list(server: KeyValueServer) -> None:
    async with opened(server.url) as broker, asking(server) as admin:
        session = await make(broker, owner="acme:ann")
        old, young = broker.now() - 3600, broker.now()
        await admin.zadd("agw:owner:acme:ann", {"gone": old, "in-the-making": young})
        found = await broker.sessions("acme:ann", limit=9, before=None)
        assert found == ([session.id], False)
        left = await admin.zrange("agw:owner:acme:ann", 0, -1)
        assert set(left) == {session.id.encode(), b"in-the-making"}


async def test_a_share_that_leads_nowhere_leaves_both_lists(server: KeyValueServer) -> None:
    async with opened(server.url) as broker, asking(server) as admin:
        session, old = await make(broker, owner="acme:ann"), broker.now() - 3600
        for key in ("agw:owner:acme:bob", "agw:shared:acme:bob"):
            await admin.zadd(key, {session.id: old, "gone": old})
        assert await broker.sessions("acme:bob", limit=9, before=None) == ([], False)
        for key in ("agw:owner:acme:bob", "agw:shared:acme:bob"):
            assert await admin.zcard(key) == 0
