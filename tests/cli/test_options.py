"""Flags win over the environment, the environment over the file; nothing misspelt is obeyed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cyclopts import App, CycloptsError
from cyclopts.config import Env

from gateway.cli.options import FILE, PREFIX, TomlFile, misspelt
from gateway.errors import ConfigurationError
from gateway.settings import Settings, WorkerSettings

Run = Callable[..., WorkerSettings]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run("serve", "--port", "1")`: the settings that a command is given."""

    def serve(settings: Settings | None = None) -> Settings:
        return settings or Settings()

    def worker(settings: WorkerSettings | None = None) -> WorkerSettings:
        return settings or WorkerSettings()

    sources = [Env(PREFIX, command=False), TomlFile(tmp_path / FILE)]
    app = App(name="x", print_error=False, exit_on_error=False, result_action="return_value")
    for command in (serve, worker):
        app.command(command, config=sources)
    return lambda *arguments: app(arguments)


def write(folder: Path, text: str) -> None:
    (folder / FILE).write_text(text)


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 'port = 1\nhost = "::1"\nmax-runs = 5\nlease_ms = 20_000\nruns = false')
    monkeypatch.setenv("AGENT_GATEWAY_PORT", "2")
    monkeypatch.setenv("AGENT_GATEWAY_HOST", "127.0.0.2")
    settings = run("serve", "--port", "3")
    assert isinstance(settings, Settings)
    assert (settings.port, settings.host, settings.max_runs) == (3, "127.0.0.2", 5)
    assert settings.lease_ms == 20_000
    assert not settings.runs


@pytest.mark.parametrize(
    ("variable", "file"),
    [
        ("echo,scripted", ""),
        ("", 'agents = ["echo", "scripted"]'),
        ("", 'agents = "echo,scripted"'),
    ],
)
def test_lists(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, file: str
) -> None:
    write(tmp_path, file)
    if variable:
        monkeypatch.setenv("AGENT_GATEWAY_AGENTS", variable)
    assert run("serve").agents == ("echo", "scripted")
    assert run("serve", "--agents", "a:b", "--agents=c:d").agents == ("a:b", "c:d")


@pytest.mark.parametrize(("value", "runs"), [("0", False), ("false", False), ("1", True)])
def test_a_switch_in_the_environment(
    run: Run, monkeypatch: pytest.MonkeyPatch, value: str, runs: bool
) -> None:
    monkeypatch.setenv("AGENT_GATEWAY_RUNS", value)
    settings = run("serve")
    assert isinstance(settings, Settings)
    assert settings.runs is runs


def test_a_worker_ignores_what_only_serve_knows(run: Run, tmp_path: Path) -> None:
    write(tmp_path, "port = 7\nmax_runs = 5")
    assert run("worker").max_runs == 5
    with pytest.raises(CycloptsError, match="--port"):
        run("worker", "--port", "7")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("prot = 7", "prot is no option; did you mean port"),
        ("zzz = 7", "zzz is no option"),
        ("port 7", "no TOML"),
        ("[port]\nx = 1", "port"),
    ],
)
def test_a_file_that_cannot_be_obeyed(run: Run, tmp_path: Path, text: str, problem: str) -> None:
    write(tmp_path, text)
    with pytest.raises((ConfigurationError, CycloptsError)) as caught:
        run("serve")
    assert problem in str(caught.value)
    assert FILE in str(caught.value)


def test_a_value_of_the_wrong_kind_names_where_it_is_from(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 'port = "x"')
    with pytest.raises(CycloptsError, match=FILE):
        run("serve")
    monkeypatch.setenv("AGENT_GATEWAY_PORT", "y")
    with pytest.raises(CycloptsError, match="AGENT_GATEWAY_PORT"):
        run("serve")


def test_misspelt_variables_are_told() -> None:
    environment = {
        "AGENT_GATEWAY_PROT": "1",
        "AGENT_GATEWAY_PORT": "1",
        "AGENT_GATEWAY_SERVICE_PORT": "1",
        "AGENT_GATEWAY_PORT_8000_TCP_ADDR": "1",
        "PATH": "",
    }
    assert misspelt(environment) == [
        "AGENT_GATEWAY_PROT is no option and is ignored; did you mean AGENT_GATEWAY_PORT?"
    ]
