"""`agent-gateway revoke` reaches the gateways of a broker, or says why not."""

import pytest

from gateway.cli import main
from tests.support.processes import free_port


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--tenant", "acme"], "--broker"),
        (["--broker", "memory://"], "--tenant"),
        (["--broker", "memory://", "--tenant", "acme"], "POST /v1/revocations"),
        (["--broker", "redis://x", "--tenant", "a", "--sub", "b", "--token-id", "c"], "exclude"),
    ],
)
def test_what_it_cannot_do(
    options: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["revoke", *options]) == 2
    assert problem in capsys.readouterr().err


def test_a_broker_that_is_away_has_stored_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    assert main(["revoke", "--broker", url, "--tenant", "acme"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "nothing is revoked" in told.err
