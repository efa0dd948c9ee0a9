"""`agent-gateway revoke` reaches the gateways of a broker, or says why not."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from gateway.broker.open import open_broker
from gateway.cli import main
from gateway.delivery.revocations import BOARD
from tests.support.processes import Valkey, free_port

YEAR_S = 366 * 86_400


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--tenant", "acme"], "--broker"),
        (["--broker", "memory://"], "--tenant"),
        (["--broker", "memory://", "--tenant", "acme"], "POST /v1/revocations"),
        (["--broker", "redis://x", "--tenant", "a", "--sub", "b", "--token-id", "c"], "exclude"),
        (["--broker", "redis://x", "--tenant", ""], "empty"),
        (["--broker", "redis://x", "--tenant", "acme", "--sub", ""], "empty"),
        (["--broker", "redis://x", "--tenant", "acme", "--token-id", ""], "empty"),
        (["--broker", "redis://x", "--tenant", "a", "--auth-max-age-ms", "0"], "auth_max_age_ms"),
        (["--broker", "redis://x", "--tenant", "a", "--auth-max-age-ms", "-1"], "auth_max_age_ms"),
        (["--broker", "redis://x", "--tenant", "a", "--auth-leeway-ms", "-1"], "auth_leeway_ms"),
    ],
)
def test_what_it_cannot_do(
    options: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["revoke", *options]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert problem in told.err


def test_a_broker_that_is_away_has_stored_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    assert main(["revoke", "--broker", url, "--tenant", "acme"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "nothing is revoked" in told.err


async def test_it_is_kept_for_as_long_as_the_file_says(
    valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A year, where the default is a month; a variable wins over the file."""
    monkeypatch.chdir(tmp_path)
    options = f'broker = "{valkey.url}"\nauth_max_age_ms = {YEAR_S * 1000}\nauth_leeway_ms = 0'
    (tmp_path / "agent-gateway.toml").write_text(options)
    assert await asyncio.to_thread(main, ["revoke", "--tenant", "by-file"]) == 0
    monkeypatch.setenv("AGENT_GATEWAY_AUTH_MAX_AGE_MS", "60000")
    assert await asyncio.to_thread(main, ["revoke", "--tenant", "by-variable"]) == 0
    broker = open_broker(valkey.url)
    await broker.start()
    words = [msgspec.json.decode(notice) for notice in await broker.posted(BOARD)]
    await broker.close()
    kept = {word["tenant"]: word["until"] - word["at"] for word in words}
    assert kept["by-file"] == pytest.approx(YEAR_S)
    assert kept["by-variable"] == pytest.approx(60)
