"""An audit line says who did what, and nothing of what was said."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from gateway import audit
from gateway.telemetry import configure_logging
from protocol.values import Principal


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    chatty = logging.getLogger("uvicorn")
    was = chatty.level
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    yield stream
    chatty.setLevel(was)
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_a_line_names_who_what_and_how_it_ended(lines: io.StringIO) -> None:
    audit.record("approve", "ok", Principal("acme", "ann"), session="s_1", code=None)
    line = json.loads(lines.getvalue())
    assert {k: line[k] for k in ("event", "action", "outcome", "tenant", "subject", "session")} == {
        "event": "audit",
        "action": "approve",
        "outcome": "ok",
        "tenant": "acme",
        "subject": "ann",
        "session": "s_1",
    }
    assert "code" not in line
    assert line["timestamp"]


def test_a_stranger_has_no_name(lines: io.StringIO) -> None:
    audit.record("authenticate", "refused", code="auth.invalid")
    assert "subject" not in json.loads(lines.getvalue())
