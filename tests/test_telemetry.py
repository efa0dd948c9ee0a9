"""Metrics are counted once per gateway; logs are one line an event, without secrets."""

import io
import itertools
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from gateway import audit
from gateway.errors import ConfigurationError
from gateway.telemetry import (
    AUDIT,
    LINES_PER_SECOND,
    LOGGER_LINES_PER_SECOND,
    Metrics,
    Throttle,
    configure_logging,
)
from protocol.values import Principal

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
    chatty = logging.getLogger("uvicorn")
    was = chatty.level
    stream = io.StringIO()
    root.handlers.clear()
    configure_logging("info", "json", stream)
    yield stream
    chatty.setLevel(was)
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


class Flood:
    """Lines that go through a throttle, at a time that the test sets."""

    def __init__(self) -> None:
        self.now = 5.0
        self._throttle = Throttle(lambda: self.now)

    def write(self, event: str | dict[str, Any], logger: str = "a") -> bool:
        """Whether it is written."""
        record = logging.LogRecord(logger, logging.INFO, "", 0, event, None, None)
        return self._throttle.filter(record)


def test_values_in_a_text_do_not_make_it_another() -> None:
    flood = Flood()
    for text in ("session s_{} is late", "{}", "10.0.0.{}:80 came", "x-{}-y: lost"):
        written = sum(flood.write(text.format(n)) for n in range(1_000))
        assert written <= LINES_PER_SECOND, text
    assert sum(flood.write({"event": f"run r_{n} ended"}) for n in range(1_000)) <= LINES_PER_SECOND


def test_a_logger_has_so_many_lines_whatever_they_say() -> None:
    flood = Flood()
    words = ["".join(letters) for letters in itertools.product("abcdefgh", repeat=4)]
    assert sum(flood.write(word) for word in words) == LOGGER_LINES_PER_SECOND
    assert flood.write("of another", "b")
    flood.now += 1
    assert flood.write("again")


def test_in_the_audit_log_nobody_hides_another() -> None:
    flood = Flood()

    def line(action: str, **who: str) -> dict[str, Any]:
        return {"event": "audit", "action": action, "outcome": "refused", **who}

    for who in ({"tenant": "acme", "subject": "mallory"}, {"address": "6.6.6.6"}):
        written = sum(flood.write(line("refuse", **who), AUDIT) for _ in range(1_000))
        assert written == LINES_PER_SECOND
    assert sum(flood.write(f"noise {n}", "a") for n in range(1_000)) == LINES_PER_SECOND
    assert flood.write(line("refuse", tenant="acme", subject="ann"), AUDIT)
    assert flood.write(line("refuse", address="7.7.7.7"), AUDIT)
    assert flood.write(line("delete", tenant="acme", subject="mallory"), AUDIT)
    many = [line("authenticate", address=f"9.9.{n // 250}.{n % 250}") for n in range(1_000)]
    assert sum(flood.write(each, AUDIT) for each in many) == 1_000
    flood.now += 1
    told = line("refuse", address="6.6.6.6")
    assert flood.write(told, AUDIT)
    assert told["dropped"] == 1_000 - LINES_PER_SECOND


@pytest.mark.usefixtures("log")
def test_the_audit_log_may_have_a_file(tmp_path: Path) -> None:
    stream, file = io.StringIO(), tmp_path / "audit.jsonl"
    ann = Principal("acme", "ann")
    configure_logging("error", "console", stream, audit_log=str(file))
    audit.record("delete", "ok", ann, session="s_1")
    logging.getLogger("b").error("something else")
    file.rename(tmp_path / "old")
    audit.record("delete", "ok", ann, session="s_2")
    old, new = (json.loads(path.read_text()) for path in (tmp_path / "old", file))
    assert (old["session"], new["session"]) == ("s_1", "s_2")
    assert (old["action"], old["tenant"], old["subject"]) == ("delete", "acme", "ann")
    assert "s_1" not in stream.getvalue()
    assert "something else" in stream.getvalue()
    assert file.stat().st_mode & 0o077 == 0
    configure_logging("error", "json", stream)  # back among the others, whatever the level
    audit.record("delete", "ok", ann, session="s_3")
    assert "s_3" in stream.getvalue()


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--audit-log"):
        configure_logging(audit_log=str(tmp_path / "no" / "audit.jsonl"))


@pytest.mark.usefixtures("log")
def test_an_audit_log_that_cannot_be_opened_anew(tmp_path: Path) -> None:
    """Who did what is told goes on; the log has one line of it for each that is lost."""
    stream, folder = io.StringIO(), tmp_path / "logs"
    folder.mkdir()
    ann = Principal("acme", "ann")
    configure_logging("error", "json", stream, audit_log=str(folder / "audit.jsonl"))
    folder.rename(tmp_path / "away")
    for session in ("s_1", "s_2"):
        audit.record("delete", "ok", ann, session=session)
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["level"], "cannot be written" in line["event"]) for line in told] == [
        ("error", True)
    ] * 2
    (tmp_path / "away").rename(folder)
    audit.record("delete", "ok", ann, session="s_3")
    assert "s_3" in (folder / "audit.jsonl").read_text()


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
