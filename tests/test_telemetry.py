"""Metrics are counted once per gateway; logs are one line an event, without secrets."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry import LINES_PER_SECOND, Metrics, Throttle, configure_logging

CANARY = "eyJ-canary"


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """(name, values of the labels in the order of their names) -> value"""
    body, content_type = metrics.render()
    assert content_type.startswith("text/plain")
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_what_is_counted_is_shown() -> None:
    metrics = Metrics()
    metrics.connections.inc()
    metrics.frames_down.inc(7)
    metrics.command("message.send")
    metrics.command("message.send")
    metrics.command("message.send", "session.busy")
    metrics.closed(4458)
    metrics.run("completed")
    metrics.tool("client", 0.004)
    metrics.broker_error(TimeoutError())
    shown = samples(metrics)
    assert shown["agent_gateway_connections",] == 1
    assert shown["agent_gateway_frames_total", "down"] == 7
    assert shown["agent_gateway_frames_total", "up"] == 0
    assert shown["agent_gateway_commands_total", "ok", "message.send"] == 2
    assert shown["agent_gateway_commands_total", "session.busy", "message.send"] == 1
    assert shown["agent_gateway_connections_closed_total", "4458"] == 1
    assert shown["agent_gateway_runs_total", "completed"] == 1
    assert shown["agent_gateway_tool_seconds_bucket", "0.002", "client"] == 0
    assert shown["agent_gateway_tool_seconds_bucket", "0.005", "client"] == 1
    assert shown["agent_gateway_broker_errors_total", "TimeoutError"] == 1


def test_two_gateways_in_one_process_count_for_themselves() -> None:
    one, other = Metrics(), Metrics()
    one.connections.inc()
    assert samples(one)["agent_gateway_connections",] == 1
    assert samples(other)["agent_gateway_connections",] == 0


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Logging as a process has it, put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    root.handlers.clear()
    configure_logging("info", "json", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_both_kinds_of_loggers_write_the_same_lines(log: io.StringIO) -> None:
    structlog.get_logger("a").info("run_started", run="r_1", count=2)
    logging.getLogger("b").warning("worker %s is late", "w_1")
    logging.getLogger("b").debug("quiet")
    first, second = lines(log)
    assert (first["event"], first["run"], first["count"]) == ("run_started", "r_1", 2)
    assert (first["level"], first["logger"]) == ("info", "a")
    assert (second["event"], second["level"]) == ("worker w_1 is late", "warning")
    assert first["timestamp"] <= second["timestamp"]


def test_no_secret_is_logged(log: io.StringIO) -> None:
    structlog.get_logger("a").info("hello", token=CANARY, url=f"redis://user:{CANARY}@host/0")
    path = f"/v1/ws?token={CANARY}"
    logging.getLogger("b").warning('"WebSocket %s" [accepted]', path)
    assert CANARY not in log.getvalue()
    assert lines(log)[1]["event"] == '"WebSocket /v1/ws?…" [accepted]'


def test_a_traceback_has_no_local_variables(log: io.StringIO) -> None:
    def fail(token: str) -> None:
        raise ValueError("no luck")

    try:
        fail(CANARY)
    except ValueError:
        structlog.get_logger("a").exception("broken")
    (line,) = lines(log)
    assert "ValueError: no luck" in line["exception"]
    assert CANARY not in log.getvalue()


def test_a_flood_is_throttled_and_counted() -> None:
    now = 5.0
    throttle = Throttle(lambda: now)

    def write(event: str) -> logging.LogRecord | None:
        record = logging.LogRecord("a", logging.INFO, "", 0, event, None, None)
        return record if throttle.filter(record) else None

    assert sum(write("bad frame") is not None for _ in range(500)) == LINES_PER_SECOND
    assert write("something else") is not None
    now = 6.0
    record = write("bad frame")
    assert record is not None
    assert record.getMessage() == f"bad frame ({500 - LINES_PER_SECOND} more of these were dropped)"


def test_a_terminal_gets_readable_lines() -> None:
    code = (
        "import structlog; from gateway.telemetry import configure_logging\n"
        "configure_logging('info', 'console')\n"
        "structlog.get_logger('a').info('run_started', run='r_1')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "run_started" in result.stderr
    assert "run=r_1" in result.stderr
    assert "\x1b" not in result.stderr


def test_one_of_several_processes_is_told_apart() -> None:
    metrics = Metrics(process="7")
    metrics.connections.inc()
    metrics.command("message.send")
    for _ in range(2):  # shown anew, not labelled twice
        shown = samples(metrics)
        assert shown["agent_gateway_connections", "7"] == 1
        assert shown["agent_gateway_commands_total", "ok", "7", "message.send"] == 1
