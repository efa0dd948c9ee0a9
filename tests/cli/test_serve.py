"""The command as a person runs it: real processes, what they print, and how they end."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import httpx2
import pytest

from tests.conftest import StartGateway
from tests.support.inprocess import raw_socket
from tests.support.processes import ROOT, GatewayProcess, Valkey, free_port
from tests.support.waiting import eventually
from tests.support.wire import Tab
from tests.test_server import handshake


async def run(
    *arguments: str, folder: Path = ROOT, environment: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command that ends by itself."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("AGENT_GATEWAY_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", *arguments),
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT), **(environment or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


AGENT = """
import asyncio

async def greeter(run):
    await run.say("Hello from the folder.")

async def endless(run):
    await run.say("Here I am.")
    await asyncio.sleep(3600)

not_one = 7
"""


@pytest.mark.parametrize(
    ("options", "warned"), [(["--insecure", "--host=0.0.0.0"], True), ([], False)]
)
async def test_a_loud_warning_when_everybody_is_let_in(
    gateway: StartGateway, options: list[str], warned: bool
) -> None:
    served = await gateway(*options, "--log-level=error")
    assert await served.terminate() == 0
    assert ("WARNING: --auth none --insecure on 0.0.0.0" in served.output()) is warned
    served = await gateway(*options, "--log-format=json")
    assert await served.terminate() == 0
    lines = [json.loads(line) for line in served.output().splitlines() if line[0] == "{"]
    levels = {line["level"] for line in lines if line["event"] == "everybody_is_let_in"}
    assert levels == ({"warning"} if warned else set())


async def test_serve_lives_is_ready_counts_and_ends(gateway: StartGateway) -> None:
    served = await gateway()
    async with httpx2.AsyncClient(base_url=served.http_url, trust_env=False) as client:
        assert (await client.get("/healthz")).json() == {"status": "alive"}
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        assert (await client.get("/")).status_code == 404
        async with Tab(served.url):
            metrics = (await client.get("/metrics")).text
    assert "agent_gateway_connections 1.0" in metrics
    assert await served.terminate() == 0


async def test_a_refused_handshake_is_no_error(gateway: StartGateway) -> None:
    """Whoever knocks would fill the log."""
    served = await gateway("--log-format=json", "--handshakes-per-s=1", "--handshakes-burst=1")
    refused = 0
    for number in range(6):
        origin = () if number % 2 else ("Origin: https://evil.example",)
        async with raw_socket(served.port) as (reader, writer):
            writer.write(handshake(*origin))
            status = (await reader.readline()).split()[1]
            refused += status in (b"403", b"503")
    assert refused >= 3
    await served.terminate()
    levels = {json.loads(line)["level"] for line in served.output().splitlines()}
    assert levels <= {"info", "warning"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_in_time_while_an_agent_runs(
    gateway: StartGateway, tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "folder_agents.py").write_text(AGENT)
    served = await gateway("--agents", "folder_agents:endless", "--drain-ms", "1000")
    async with Tab(served.url) as tab:
        session = await tab.create("endless")
        await tab.subscribe(session)
        await tab.message(session, "Hi")
        await tab.wait_for("message.completed")
        served.send_signal(number)
        await tab.wait_for("goaway")
        assert await served.wait(within=10) == 0
        assert await tab.wait_closed() in (1001, 1012)


@pytest.mark.parametrize("command", ["serve", "worker"])
async def test_a_second_ctrl_c_ends_at_once(
    gateway: StartGateway, valkey: Valkey, tmp_path: Path, command: Literal["serve", "worker"]
) -> None:
    """SIGTERM, SIGTERM and one Ctrl-C only ask; the run would keep it for the whole drain."""
    (tmp_path / "folder_agents.py").write_text(AGENT)
    agents = ("--agents", "folder_agents:endless", "--broker", valkey.url)
    served = await gateway(*agents, command=command)
    asking = served if command == "serve" else await gateway("--no-runs", *agents)
    async with Tab(asking.url) as tab:
        session = await tab.create("endless")
        await tab.subscribe(session)
        await tab.message(session, "Hi")
        await tab.wait_for("message.completed")
        for _ in range(2):
            served.send_signal(signal.SIGTERM)
            if command == "serve":
                await tab.wait_for("goaway")
            else:
                await eventually(lambda: "worker_ending" in served.output(), what="it is ending")
        assert served.running

        def forced() -> bool:  # two signals of one kind may arrive as one
            served.send_signal(signal.SIGINT)
            return not served.running

        await eventually(forced, within=12, what="it ends at once")
        assert await served.wait() == 130


async def test_an_agent_of_ones_own(gateway: StartGateway, tmp_path: Path) -> None:
    (tmp_path / "folder_agents.py").write_text(AGENT)
    served = await gateway("--agents", "echo,folder_agents:greeter")
    async with Tab(served.url) as tab:
        session = await tab.create("greeter")
        await tab.subscribe(session)
        ok = await tab.message(session, "Hi")
        await tab.run_end(session, ok["run"])
        assert tab.text(session) == "Hello from the folder."


async def test_demo_names_the_agents_that_are_not_its_own(gateway: StartGateway) -> None:
    own = "tests.browser.reference_agents:unnamed"
    demo = await gateway("--agents", f"scripted,{own}", command="demo")
    address = f"http://127.0.0.1:{demo.port}/?agent=default&agent=scripted"
    assert address in demo.output().splitlines()


async def test_demo_prints_its_url_and_serves_its_page(gateway: StartGateway) -> None:
    demo = await gateway(command="demo")
    assert f"http://127.0.0.1:{demo.port}/" in demo.output().splitlines()
    async with httpx2.AsyncClient(base_url=demo.http_url, trust_env=False) as client:
        page = await client.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
    async with Tab(demo.url) as tab:
        for agent in ("demo", "echo", "scripted"):
            await tab.create(agent)


async def test_processes_share_a_port(gateway: StartGateway, valkey: Valkey) -> None:
    served = await gateway("--broker", valkey.url, "--processes", "2", "--agents", "echo")
    tabs = [Tab(served.url) for _ in range(8)]
    try:
        for tab in tabs:
            await tab.open()
        session = await tabs[0].create("echo")
        for tab in tabs:
            await tab.subscribe(session)
        ok = await tabs[0].message(session, "Hi")
        for tab in tabs:
            await tab.run_end(session, ok["run"])
            assert tab.text(session, ok["run"]) == "Hi"
    finally:
        for tab in tabs:
            await tab.close()
    # one that was slower than eight tabs
    await eventually(
        lambda: served.output().count("gateway_started") == 2, what="both processes started"
    )
    assert await served.terminate() == 0


async def test_a_worker_says_what_it_runs_and_ends(gateway: StartGateway, valkey: Valkey) -> None:
    worker = await gateway("--broker", valkey.url, "--agents", "echo", command="worker")
    await eventually(lambda: "worker_started" in worker.output(), within=30, what="worker_started")
    assert await worker.terminate() == 0


async def test_tokens_let_in_and_are_not_logged(gateway: StartGateway) -> None:
    secret = {"AGENT_GATEWAY_AUTH_SECRET": "5" * 32}
    code, token, _ = await run("token", "--sub", "ann", "--tenant", "acme", environment=secret)
    assert code == 0
    token = token.strip()
    served = await gateway("--auth", "jwt", environment=secret)
    async with Tab(served.url, token=token) as tab:
        (welcome,) = tab.find("welcome")
        assert welcome["principal"] == {"tenant": "acme", "subject": "ann"}
    async with Tab(served.url, token=token[:-2]) as tab:
        assert tab.find("error")[0]["code"] == "auth.invalid"
        assert await tab.wait_closed() == 4401
    async with httpx2.AsyncClient(base_url=served.http_url, trust_env=False) as client:
        await client.get(f"/v1/sessions?token={token}")
    await served.terminate()
    assert token[:20] not in served.output()
    assert token.rpartition(".")[2] not in served.output()


@pytest.mark.parametrize(
    ("agents", "remedy"),
    [
        ("nobody", "echo"),
        ("no_such_module:agent", "no_such_module"),
        ("folder_agents:nobody", "folder_agents"),
        ("folder_agents:not_one", "async def"),
    ],
)
async def test_an_agent_that_is_none(tmp_path: Path, agents: str, remedy: str) -> None:
    (tmp_path / "folder_agents.py").write_text(AGENT)
    code, out, err = await run("serve", "--port", "0", "--agents", agents, folder=tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith("agent-gateway: ")
    assert remedy in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        (["--broker", "redis://[::1:6379/0"], "URL"),
        (["--host", "127.0.0..1", "--insecure"], "by --host"),
        (["--admin-port", "0", "--admin-host", "127.0.0..1"], "by --admin-host"),
    ],
)
async def test_an_address_that_is_none(options: list[str], remedy: str) -> None:
    code, _, err = await run("serve", "--port", "0", *options)
    assert code == 2
    assert remedy in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["serve", "demo"])
async def test_a_port_in_use(taken: int, command: str) -> None:
    code, _, err = await run(command, "--port", str(taken))
    assert code == 2
    assert f"port {taken}" in err
    assert "--port" in err
    assert len(err.splitlines()) == 1


async def test_options_come_from_the_file_of_the_folder(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "agent-gateway.toml").write_text(f'port = {port}\nlog-format = "json"\n')
    served = GatewayProcess(tmp_path)
    at = served.arguments.index("--port")
    del served.arguments[at : at + 2]
    served.port = port
    try:
        await served.start()
        assert '"event":"gateway_started"' in served.output()
    finally:
        await served.terminate()
