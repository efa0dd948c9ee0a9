"""The cache is bounded by bytes, and who takes a session out owns it."""

from gateway.sessions.cache import SessionCache
from gateway.sessions.session import Session, new_session


def session(name: str) -> Session:
    return new_session(name, "e_1", "local:dev")


def test_what_is_taken_is_gone() -> None:
    cache = SessionCache()
    one = session("s_1")
    cache.put(one, 10)
    found, size = cache.take("s_1")
    assert found is one
    assert size == 10
    assert cache.take("s_1") == (None, 0)


def test_the_ones_not_used_for_longest_go() -> None:
    cache = SessionCache(max_bytes=100)
    for name in ("s_1", "s_2", "s_3"):
        cache.put(session(name), 30)
    used, size = cache.take("s_1")
    assert used is not None
    cache.put(used, size)
    cache.put(session("s_4"), 30)
    assert cache.take("s_2") == (None, 0)
    assert all(cache.take(name)[0] is not None for name in ("s_1", "s_3", "s_4"))


def test_putting_again_counts_once() -> None:
    cache = SessionCache(max_bytes=100)
    cache.put(session("s_2"), 40)
    for _ in range(10):
        cache.put(session("s_1"), 60)
    assert cache.take("s_2")[0] is not None


def test_one_larger_than_all_is_kept_alone() -> None:
    cache = SessionCache(max_bytes=100)
    cache.put(session("s_1"), 10)
    cache.put(session("s_2"), 1000)
    assert cache.take("s_1") == (None, 0)
    assert cache.take("s_2")[0] is not None
