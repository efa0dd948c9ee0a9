"""Faults, Shutdown: settings that change under a process that goes on, with real processes."""

import asyncio
import json
import os
import pty
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from gateway.auth.token import mint_token
from tests.conftest import StartGateway
from tests.support.processes import ROOT, GatewayProcess, Valkey
from tests.support.waiting import eventually
from tests.support.wire import Tab

OLD = "the secret of yesterday, 32 bytes"
NEW = "the secret of today, of 32 bytes."
PAGE = "https://app.example.com"


def configure(folder: Path, **settings: Any) -> None:
    """As an editor or a mounted volume does it: a whole new file in place of the old one."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    (folder / "new.toml").write_text("\n".join(lines))
    (folder / "new.toml").replace(folder / "agent-gateway.toml")


def signed(secret: str) -> str:
    return mint_token(secret, subject="ann", detail="full")


def told(served: GatewayProcess, event: str) -> list[dict[str, Any]]:
    """The lines of its log with this event."""
    lines = [line for line in served.output().splitlines() if line.startswith("{")]
    return [found for line in lines if (found := json.loads(line))["event"] == event]


async def reload(
    served: GatewayProcess, event: str = "configuration_reloaded", lines: int = 1
) -> None:
    before = len(told(served, event))
    served.send_signal(signal.SIGHUP)
    await eventually(lambda: len(told(served, event)) >= before + lines, within=30, what=event)


async def accepts(served: GatewayProcess, secret: str) -> bool:
    async with Tab(served.url, token=signed(secret)) as tab:
        if tab.find("welcome"):
            return True
        assert await tab.wait_closed() == 4401
        return False


async def answered(tab: Tab, session: str) -> None:
    since = tab.mark()
    await tab.message(session, "Hi")
    await tab.wait_for("run.completed", since=since)


async def test_S9_a_new_secret_and_origin_cost_nobody_the_connection(
    gateway: StartGateway, tmp_path: Path
) -> None:
    configure(tmp_path, auth="jwt", auth_secret=OLD, max_runs=50)
    served = await gateway("--log-format", "json")
    async with Tab(served.url, token=signed(OLD)) as tab:
        session = await tab.create("echo")
        await tab.subscribe(session)
        with pytest.raises(InvalidStatus):
            await Tab(served.url, token=signed(OLD), origin=PAGE).open()
        configure(
            tmp_path, auth="jwt", auth_secret=NEW, allowed_origins=[PAGE], port=1, max_runs=60
        )
        await reload(served)
        (line,) = told(served, "configuration_reloaded")
        assert sorted(line["changed"]) == ["allowed_origins", "auth_secret"]
        assert line["needs_restart"] == ["max_runs"]  # a flag names the port
        assert line["level"] == "warning"
        await answered(tab, session)
        assert await accepts(served, NEW)
        assert not await accepts(served, OLD)
        async with Tab(served.url, token=signed(NEW), origin=PAGE) as page:
            assert page.find("welcome")
        assert tab.close_code is None
        assert not tab.find("goaway")
    assert OLD not in served.output()
    assert NEW not in served.output()


@pytest.mark.parametrize(
    "text", ['auth_secret = "short"', "auth_secret = ", "secret = 1", "", 'max_runs = "many"']
)
async def test_S9_what_cannot_be_obeyed_changes_nothing(
    gateway: StartGateway, tmp_path: Path, text: str
) -> None:
    configure(tmp_path, auth_secret=OLD)
    served = await gateway("--auth", "jwt", "--log-format", "json")
    async with Tab(served.url, token=signed(OLD)) as tab:
        session = await tab.create("echo")
        await tab.subscribe(session)
        (tmp_path / "agent-gateway.toml").write_text(text)
        await reload(served, "configuration_not_reloaded")
        (line,) = told(served, "configuration_not_reloaded")
        assert line["level"] == "error"
        assert "agent-gateway.toml" in line["problem"] or "auth_secret" in line["problem"].lower()
        await answered(tab, session)
        assert await accepts(served, OLD)


async def test_S9_the_level_of_the_log(gateway: StartGateway, tmp_path: Path) -> None:
    configure(tmp_path, log_level="error")
    served = await gateway("--log-format", "json")
    assert not told(served, "gateway_started")
    configure(tmp_path, log_level="info")
    await reload(served)


async def test_S9_a_worker_reads_them_too(
    gateway: StartGateway, valkey: Valkey, tmp_path: Path
) -> None:
    worker = await gateway("--broker", valkey.url, "--log-format", "json", command="worker")
    await eventually(lambda: told(worker, "worker_started"), within=30, what="it works")
    configure(tmp_path, log_level="debug", port=1, max_runs=7)
    await reload(worker)
    (line,) = told(worker, "configuration_reloaded")
    assert (line["changed"], line["needs_restart"]) == (["log_level"], ["max_runs"])
    assert await worker.terminate() == 0


async def test_S9_every_process_of_several(
    gateway: StartGateway, valkey: Valkey, tmp_path: Path
) -> None:
    """The one that is started later, in place of one that died, as well."""
    configure(tmp_path, auth_secret=OLD)
    served = await gateway(
        *("--auth", "jwt", "--processes", "2", "--broker", valkey.url, "--log-format", "json")
    )
    await eventually(
        lambda: len(told(served, "gateway_started")) == 2, within=30, what="two processes"
    )
    async with Tab(served.url, token=signed(OLD)) as tab:
        session = await tab.create("echo")
        await tab.subscribe(session)
        configure(tmp_path, auth_secret=NEW)
        await reload(served, lines=3)  # the parent and its children
        for _ in range(10):  # whoever takes them
            assert await accepts(served, NEW)
            assert not await accepts(served, OLD)
        await answered(tab, session)
        (tmp_path / "agent-gateway.toml").write_text("nonsense")
        await reload(served, "configuration_not_reloaded")
        assert await accepts(served, NEW)
        children = Path(f"/proc/{served.pid}/task/{served.pid}/children").read_text().split()
        configure(tmp_path, auth_secret=NEW)
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        await eventually(
            lambda: len(told(served, "gateway_started")) == 4, within=30, what="two others"
        )
    assert await accepts(served, NEW)
    assert not await accepts(served, OLD)
    assert len(told(served, "configuration_not_reloaded")) == 1


async def test_S9_a_terminal_that_is_gone_ends_the_process(tmp_path: Path) -> None:
    """There the signal means what it always meant, but in order."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", "serve", "--port", "0", "--log-format", "json"),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=theirs,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(theirs)
    assert process.stderr is not None
    try:
        async with asyncio.timeout(30):
            assert json.loads(await process.stderr.readline())["event"] == "gateway_started"
            process.send_signal(signal.SIGHUP)
            assert json.loads(await process.stderr.readline())["event"] == "configuration_reloaded"
            os.close(ours)
            process.send_signal(signal.SIGHUP)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
