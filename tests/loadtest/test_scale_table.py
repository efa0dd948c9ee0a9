"""What is printed of constants, plans and predictions; docs/scaling.md shows the same text."""

from pathlib import Path

import msgspec

from loadtest.scale import Asked, read_measured
from loadtest.scale_model import Constants, Measured, Workload, plan
from loadtest.scale_table import (
    NAMES,
    constants_table,
    limit,
    plans_table,
    predictions,
    predictions_table,
)
from tests.loadtest.measured import through_redis
from tests.loadtest.scale_values import ROUND

DOC = Path(__file__).parents[2] / "docs" / "scaling.md"
SHOWN = (10_000, 1_000_000, 10_000_000)


def test_every_constant_has_a_row() -> None:
    assert [name for name, _ in NAMES] == list(Constants.__struct_fields__)


def test_constants_say_where_they_come_from() -> None:
    table = constants_table(
        Measured(machine="Model X", date="2026-01-02", command="measure it", constants=ROUND)
    )

    assert table.startswith("Model X, 2026-01-02, `measure it`")
    assert "| gateway: a command up | 100 µs |" in table
    assert "| gateway: a connection | 19.5 KiB |" in table


def test_a_plan_names_its_limit() -> None:
    small = plan(ROUND, Workload(sockets=10_000, kept_events=0))
    quiet = Workload(sockets=1_000_000, active=0.0, kept_events=2_000, stays_s=1e6)
    full = plan(ROUND, quiet)
    beyond = plan(ROUND, Workload(sockets=10_000_000, stays_s=1e6))
    told = plan(ROUND, Workload(sockets=10_000_000, stays_s=60.0))

    assert limit(small) in ("gateways' CPU", "workers' CPU")
    assert limit(full) == "gateways' memory"
    assert limit(beyond) == "Redis: more than 64 masters"
    assert limit(told) == "Redis: the control channel"
    assert "**too many**" in plans_table([small, beyond])


def test_a_prediction_stands_beside_what_was_measured() -> None:
    # 1 M events of 3 M tokens: 4 µs an event, of them half the gateway, double the worker
    result = through_redis()
    gateway, worker, redis = predictions(ROUND, result)

    assert (gateway.predicted_us, gateway.measured_us) == (10, 2.0)
    assert (redis.predicted_us, redis.measured_us) == (15, 4.0 / 3)
    assert worker.measured_us == 8.0
    table = predictions_table(ROUND, [result])
    assert "| gateway | 10.0 µs | 2.00 µs | 0.20 |" in table


def test_the_page_shows_what_the_command_prints() -> None:
    text = DOC.read_text()
    measured = read_measured()
    asked = Asked()
    plans = [plan(measured.constants, asked.workload(n), asked.site()) for n in SHOWN]
    slower = msgspec.structs.replace(plans[0].workload, sockets=SHOWN[-1], coalesce_ms=100.0)

    assert constants_table(measured) in text
    assert plans_table(plans) in text
    assert plans_table([plan(measured.constants, slower)]) in text
