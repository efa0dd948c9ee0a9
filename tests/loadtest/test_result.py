"""Results as values: what is derived, what identifies them, and the round trip through a file."""

from pathlib import Path

import msgspec
import pytest

from loadtest.result import Cost, Result, read, write
from tests.loadtest.measured import result, run, through_redis


def test_a_run_survives_its_file(tmp_path: Path) -> None:
    whole = run(result(), through_redis(client_bound=True, notes=("one",)))
    write(whole, tmp_path / "run.json")
    assert read(tmp_path / "run.json") == whole


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"scenario": "broadcast"}')
    with pytest.raises(msgspec.ValidationError):
        read(tmp_path / "run.json")


def test_server_cpu_leaves_out_redis_and_the_load_generator() -> None:
    found = through_redis(6.0)
    assert found.server_us_per_event == pytest.approx(3.0 + 12.0)
    assert found.all_us_per_event == pytest.approx(3.0 + 12.0 + 2.0)
    assert found.all_us_per_token == pytest.approx(17.0 / 3)
    assert found.role_us_per_event("client") == pytest.approx(0.2)


def test_a_peer_counts_as_the_server() -> None:
    node = Cost(name="node", role="peer", cpu_s=1.0, cpu_us_per_event=5.0, rss_after_bytes=9)
    found = result(costs=(node,))
    assert (found.server_us_per_event, found.server_rss_bytes) == (5.0, 9)


def test_rates_of_an_empty_result_are_zero() -> None:
    empty = Result(scenario="idle", target="memory", began="", seconds=0.0, events=0, bytes=0)
    assert (empty.events_per_s, empty.server_us_per_event, empty.all_us_per_token) == (0, 0, None)


def test_an_idle_gateway_has_no_cost_per_event() -> None:
    idle = result(events=0)
    assert (idle.server_us_per_event, idle.all_us_per_event) == (0, 0)
    assert idle.role_us_per_event("gateway") == 0


def test_repetitions_share_a_key_and_nothing_else_does() -> None:
    assert result(us=0.8).key == result(us=0.9, seconds=7.0).key
    others = [
        result(target="redis"),
        result("multiplex"),
        result(processes=2),
        result(workers=1),
        result(load=1.0),
        result(options={"subscribers": 100, "outstanding": 1}),
    ]
    assert len({each.key for each in (result(), *others)}) == 7


def test_the_order_of_options_does_not_matter() -> None:
    turned = result(options={"outstanding": 16, "subscribers": 100})
    assert turned.key == result().key
