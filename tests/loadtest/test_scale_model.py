"""The capacity model: what a number of sockets needs."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.scale_model import (
    GIB,
    Plan,
    Site,
    Workload,
    events_per_s,
    masters,
    plan,
    worker_us,
)
from tests.loadtest.scale_values import ROUND

NEVER = 1e12
QUIET = Workload(
    sockets=1_000_000, active=0.0, commands_per_s=0.0, kept_events=0, run_s=NEVER, stays_s=NEVER
)
BUSY = msgspec.structs.replace(QUIET, active=0.1, tokens_per_s=30.0)


def changed(workload: Workload, **fields: object) -> Plan:
    return plan(ROUND, msgspec.structs.replace(workload, **fields))


def test_one_of_each_is_the_least() -> None:
    found = plan(ROUND, Workload(sockets=1))

    assert [found.gateways.count, found.workers.count, found.redis.count] == [1, 1, 1]


def test_events_of_live_sessions_are_what_costs() -> None:
    found = plan(ROUND, BUSY)

    assert found.tokens_per_s == pytest.approx(3_000_000)
    assert found.appends_per_s == found.delivered_per_s == pytest.approx(3_000_000)
    # 3 M/s at 10 µs and 1 M silent sockets at 5 µs/s
    assert found.gateways.cpu == pytest.approx(30 + 5)
    assert found.gateways.count == 59  # 35 / 0.6, rounded up
    assert found.workers.cpu == pytest.approx(60)
    # an append, published to the gateway and to the worker; heads; processes
    processes = found.gateways.count + found.workers.count
    assert found.redis.cpu == pytest.approx(45 + 1 + processes / 1_000)
    assert found.redis.count == 77
    assert not found.shards_enough


def test_merging_spares_events_but_no_tokens() -> None:
    found = changed(BUSY, coalesce_ms=100.0)

    assert found.tokens_per_s == pytest.approx(3_000_000)
    assert found.appends_per_s == pytest.approx(1_000_000)


@pytest.mark.parametrize(
    ("fill", "count"),
    [(0.1, 1), (1.0, 1), (1.01, 2), (2.9, 3), (2.95, 4), (31.0, 32), (33.0, 64), (65.0, 65)],
)
def test_a_hash_tag_is_not_divided(fill: float, count: int) -> None:
    assert masters(fill) == count


@pytest.mark.parametrize(
    ("tokens", "coalesce_ms", "events"),
    [(30, 20, 30), (50, 20, 50), (100, 20, 50), (30, 100, 10), (30, 0, 30)],
)
def test_merging_makes_at_most_one_event_in_its_time(
    tokens: float, coalesce_ms: float, events: float
) -> None:
    assert events_per_s(tokens, coalesce_ms) == pytest.approx(events)


def test_a_token_costs_a_worker_what_was_measured() -> None:
    assert worker_us(ROUND, 1.0) == pytest.approx(20)
    assert worker_us(ROUND, 0.5) == pytest.approx(12)
    assert worker_us(ROUND, 0.25) == pytest.approx(8)


def test_a_shared_session_is_appended_once_and_sent_to_all() -> None:
    alone = plan(ROUND, BUSY)
    shared = changed(BUSY, sockets_per_session=10.0)

    assert shared.delivered_per_s == pytest.approx(alone.delivered_per_s)
    assert shared.appends_per_s == pytest.approx(alone.appends_per_s / 10)
    assert shared.workers.cpu == pytest.approx(alone.workers.cpu / 10)
    # Each append is published to ten gateways and a worker: 10 + 10 · 5 µs in place of 10 + 5.
    assert shared.redis.cpu < alone.redis.cpu


def test_a_session_is_never_at_more_gateways_than_there_are() -> None:
    found = plan(ROUND, Workload(sockets=1_000, sockets_per_session=1_000.0, active=1.0))

    assert found.gateways.count == 1
    # one gateway and one worker hear it
    assert found.published_bytes_per_s == pytest.approx(2 * 200 * found.appends_per_s)


def test_memory_is_a_limit_as_well() -> None:
    found = changed(QUIET, kept_events=2_000)

    assert found.gateways.limit == found.redis.limit == "memory"
    # 20 kB, 1 kB, 2 kB, and 2,000 events of 250 bytes
    assert found.gateways.memory_bytes == pytest.approx(
        1_000_000 * 523_000 + found.gateways.count * ROUND.gateway_bytes
    )
    # 601 kB each are 34.98 masters full; of 35 some would have two of the 64 tags
    assert round(601_000 * 1_000_000 / (16 * GIB), 2) == 34.98
    assert found.redis.count == 64


def test_a_gateway_keeps_no_more_events_than_its_feed_holds() -> None:
    many, more = changed(QUIET, kept_events=2_048), changed(QUIET, kept_events=10_000)

    assert many.gateways == more.gateways
    assert many.redis.memory_bytes < more.redis.memory_bytes


def test_one_server_has_one_listener_of_a_process_and_a_cluster_one_for_each_tag() -> None:
    small = changed(QUIET, sockets=10_000)
    large = plan(ROUND, BUSY)

    assert small.redis.count == 1
    assert small.connections_per_master == (small.gateways.count + small.workers.count) * 3
    processes = large.gateways.count + large.workers.count
    assert large.connections_per_master == pytest.approx(processes * (2 + 65 / large.redis.count))


def test_all_come_back_no_faster_than_they_are_let_in() -> None:
    found = changed(QUIET, sockets=10_000)

    assert found.back_s == pytest.approx(20)  # 500 a second; their CPU would be 10 s


def test_who_connects_is_told_to_all_processes_so_that_grows_with_the_square() -> None:
    few, many = (changed(BUSY, sockets=n, stays_s=1_000.0) for n in (1_000_000, 10_000_000))

    processes = few.gateways.count + few.workers.count
    assert few.control_cpu == pytest.approx(1_000 * processes * 5 / 1e6)
    assert many.control_cpu > 90 * few.control_cpu
    assert many.back_s == pytest.approx(many.control_cpu * 1_000)


def test_a_run_that_waits_is_told_to_all_workers() -> None:
    silent, told = plan(ROUND, BUSY), changed(BUSY, run_s=10.0)

    assert told.redis.cpu - silent.redis.cpu == pytest.approx(
        10_000 * told.workers.count * 5 / 1e6 + (told.workers.count - silent.workers.count) / 1_000
    )


def test_a_process_that_hears_too_much_has_a_little_left() -> None:
    found = changed(QUIET, sockets=10_000_000, stays_s=1.0)

    assert found.gateways.count > 100_000
    assert found.control_cpu > 1


sizes = st.integers(min_value=1, max_value=10_000_000)


@given(sockets=sizes, more=sizes, share=st.floats(0, 1), watchers=st.floats(1, 1_000))
def test_more_sockets_never_need_less(
    sockets: int, more: int, share: float, watchers: float
) -> None:
    few = Workload(sockets=sockets, active=share, sockets_per_session=watchers)
    many = msgspec.structs.replace(few, sockets=sockets + more)
    a, b = plan(ROUND, few), plan(ROUND, many)

    assert a.gateways.count <= b.gateways.count
    assert a.workers.count <= b.workers.count
    assert a.redis.count <= b.redis.count


@given(sockets=sizes, full=st.floats(0.1, 1.0), active=st.floats(0, 1))
def test_no_process_is_fuller_than_it_may_be(sockets: int, full: float, active: float) -> None:
    site = Site(full=full)
    # what all processes hear is a test of its own
    found = plan(ROUND, Workload(sockets=sockets, active=active, run_s=NEVER, stays_s=NEVER), site)

    most = (site.gateway_bytes, site.worker_bytes, site.redis_bytes)
    for need, memory in zip((found.gateways, found.workers, found.redis), most, strict=True):
        assert need.cpu / need.count <= full * (1 + 1e-9)
        assert need.memory_bytes / need.count <= memory * (1 + 1e-9)
