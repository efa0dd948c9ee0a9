"""An audit line says who did what, and nothing of what was said."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from gateway import audit
from gateway.auth.token import mint_token
from gateway.settings import Settings
from gateway.telemetry import configure_logging
from protocol.values import Principal
from tests.support.audit import audit_log, lines_of
from tests.support.composed import composed
from tests.support.http import http_client
from tests.support.waiting import eventually
from tests.support.wire import Tab

SECRET = "at least thirty-two bytes, and random"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


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


async def test_a_file_that_cannot_be_opened_anew_disturbs_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its folder is gone: lines are lost, which the log tells, and nothing else is."""
    folder, away = tmp_path / "logs", tmp_path / "away"
    folder.mkdir()
    settings = Settings(agents=("scripted",), auth="jwt", auth_secret=SECRET, drain_ms=1_000)
    token = mint_token(SECRET, subject="ann")
    with audit_log(folder / "audit") as file:
        async with composed(settings) as (gateway, place), http_client(f"http://{place}") as http:
            roster, registry = gateway.roster, gateway.metrics.registry
            folder.rename(away)
            async with Tab(f"ws://{place}/v1/ws", token=token) as tab:
                session = await tab.create()
                await tab.subscribe(session)
                run = (await tab.script(session, {"approve": {"title": "Pay?"}}))["run"]
                asked = await tab.wait_for("approval.requested")
                await tab.must(
                    {"type": "approval.respond", "session": session, "decision": "approve",
                     "approval": asked["approval"]}
                )  # fmt: skip
                await tab.run_end(session, run)
                missing = await tab.ask({"type": "session.subscribe", "session": "nobodys"})
                assert missing["code"] == "session.not_found"
                events = f"/v1/sessions/{session}/events"
                async with http.stream("GET", events, headers=bearer(token)) as stream:
                    assert stream.status_code == 200
            bad = await http.get("/v1/sessions", headers=bearer("bad"))
            assert bad.json()["code"] == "auth.invalid"
            await eventually(lambda: len(roster) == 0, what="nobody is left")
            assert registry.get_sample_value("agent_gateway_subscriptions") == 0
            away.rename(folder)
            async with Tab(f"ws://{place}/v1/ws", token=token):
                pass
            await eventually(lambda: len(lines_of(file)) == 2, what="both lines are there")
    assert f"the audit log {file} cannot be written" in caplog.text
    assert [line["action"] for line in lines_of(file)] == ["connect", "disconnect"]
