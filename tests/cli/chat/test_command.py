"""The command itself: its help, its variables, and a terminal without what the extra brings."""

from pathlib import Path

import pytest

from gateway.cli import main
from tests.cli.chat.screens import ChatTerminal


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "echo hi | agent-gateway chat --agent echo" in out
    assert all(f"--{name}" in out for name in ("url", "token", "session", "no-stream", "detail"))


def test_its_variables_are_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("URL", "TOKEN", "TOKEN_FILE"):
        monkeypatch.setenv(f"AGENT_GATEWAY_{name}", "x")
    assert main(["schema"]) == 0
    assert capsys.readouterr().err == ""


async def test_without_the_extra(tmp_path: Path) -> None:
    # the folder one works in is looked through first
    hidden = "raise ModuleNotFoundError('No module named prompt_toolkit', name='prompt_toolkit')"
    Path(tmp_path, "prompt_toolkit.py").write_text(hidden)
    async with ChatTerminal("--url", "ws://127.0.0.1:1", folder=tmp_path) as chat:
        assert await chat.ends() == 2
        assert "pip install 'agent-gateway[chat]'" in chat.words
