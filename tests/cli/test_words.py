"""What a person types and reads: help with examples, one sentence for each mistake."""

import subprocess
import sys

import pytest

from gateway.cli import main
from tests.support.processes import ROOT


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["serve", "--prot", "1"], "--port"),
        (["serve", "--port", "x"], "--port"),
        (["serve", "--port", "70000"], "65535"),
        (["serve", "--processes", "2"], "--broker redis://"),
        (["serve", "--host", "0.0.0.0"], "--insecure"),
        (["serve", "--auth", "jwt"], "openssl rand -hex 32"),
        (["serve", "extra"], "extra"),
        (["worker", "--port", "1"], "--port"),
        (["worker"], "--broker redis://"),
        (["token", "--secret", "5" * 32], "--sub"),
        (["token", "--sub", "ann"], "AGENT_GATEWAY_AUTH_SECRET"),
        (["token", "--sub", "ann", "--secret", "short"], "openssl rand -hex 32"),
        (["token", "--sub", "ann", "--secret", "\udcff" * 40], "openssl rand -hex 32"),
        (["serve", "--auth", "jwt", "--auth-secret", "\udcff" * 40], "openssl rand -hex 32"),
        (["revoke", "--broker", "redis://[::1:6379/0", "--tenant", "acme"], "URL"),
        (["token", "--sub", "", "--secret", "5" * 32], "printable"),
        (["token", "--sub", "ann", "--secret", "5" * 32, "--ttl", "0"], "--ttl"),
        (["nonsense"], "serve"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_remedy(
    capsys: pytest.CaptureFixture[str], arguments: list[str], remedy: str
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("agent-gateway: ")
    assert len(err.splitlines()) == 1
    assert remedy in err


def test_kubernetes_variables_are_explained(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_GATEWAY_PORT", "tcp://10.0.0.1:8000")
    assert main(["serve"]) == 2
    assert "enableServiceLinks" in capsys.readouterr().err


def test_a_misspelt_variable_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_GATEWAY_PROT", "1")
    assert main(["schema"]) == 0
    assert "did you mean AGENT_GATEWAY_PORT?" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "demo", "worker", "token", "schema"])
def test_help_has_examples(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "Examples" in out
    assert f"agent-gateway {command}" in out


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_names_the_commands(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("serve", "demo", "worker", "token", "schema"))
    assert "AGENT_GATEWAY_PORT" in out


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]])
def test_what_starts_nothing_loads_nothing(arguments: list[str]) -> None:
    """By what is loaded, not by time; a gateway's own modules would bring the rest."""
    program = f"import sys; from gateway.cli import main; main({arguments}); print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.splitlines()[-1].split())
    assert "gateway.cli.words" in loaded
    assert not loaded & {"gateway.app", "gateway.auth", "starlette", "structlog", "uvicorn"}
    assert not loaded & {"joserfc", "prometheus_client", "uvloop", "redis", "httpx2"}


def test_version_as_a_process() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith("agent-gateway ")
    assert result.stderr == ""
