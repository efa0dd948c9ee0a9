"""Programs are ended, and what they say when they fail is told."""

import os
import sys

import pytest

from loadtest.errors import LoadError
from loadtest.programs import Program, free_port


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_ends_with_the_block_and_leaves_nothing() -> None:
    with Program("sleeper", [sys.executable, "-c", "import time; time.sleep(99)"]) as program:
        assert program.running
        folder = program.log.parent
        assert folder.exists()

    assert not alive(program.pid)
    assert not folder.exists()


def test_who_cannot_start_is_quoted() -> None:
    text = "import sys; sys.exit('no such option')"
    with (
        Program("gateway", [sys.executable, "-c", text]) as program,
        pytest.raises(LoadError, match=r"gateway has ended: no such option"),
    ):
        program.until(lambda: False)


def test_who_is_never_ready_is_given_up() -> None:
    with (
        Program("gateway", [sys.executable, "-c", "import time; time.sleep(99)"]) as program,
        pytest.raises(LoadError, match="was not ready in 0 s"),
    ):
        program.until(lambda: False, 0.1)


def test_who_talks_has_pipes() -> None:
    echo = "import sys; print(sys.stdin.readline().upper(), end='', flush=True)"
    with Program("echo", [sys.executable, "-c", echo], talks=True) as program:
        target, source = program.pipes
        os.write(target, b"hello\n")
        assert os.read(source, 100) == b"HELLO\n"


def test_settings_of_the_environment_are_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_GATEWAY_PORT", "1")
    text = "import os, sys; sys.exit(str([k for k in os.environ if 'AGENT_GATEWAY' in k]))"
    with (
        Program("gateway", [sys.executable, "-c", text]) as program,
        pytest.raises(LoadError, match=r"has ended: \[\]"),
    ):
        program.until(lambda: False)


def test_a_free_port_is_free() -> None:
    assert 20_000 <= free_port() < 32_000
