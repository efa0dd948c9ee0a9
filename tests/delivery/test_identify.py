"""Bad tokens are refused, written down and counted; then none is looked at for a while."""

from pathlib import Path

import pytest

from gateway.auth import Grant
from gateway.delivery.addresses import Addresses
from gateway.delivery.identify import identify
from gateway.settings import Settings
from protocol.errors import ProtocolError
from protocol.values import Principal
from tests.support.audit import audit_log, lines_of
from tests.support.inprocess import ManualClock

GRANT = Grant(Principal("acme", "ann"), "full")


class Lock:
    """An authenticator that counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def authenticate(self, token: str | None) -> Grant:
        self.asked += 1
        if token is None:
            raise ProtocolError("auth.required")
        if token == "down":
            raise ProtocolError("broker.unavailable")
        if token != "good":
            raise ProtocolError("auth.invalid")
        return GRANT


def limited(clock: ManualClock) -> Addresses:
    return Addresses(Settings(address_failures_per_min=3), clock=clock)


async def refusal(lock: Lock, addresses: Addresses, token: str | None, address: str) -> str:
    with pytest.raises(ProtocolError) as caught:
        await identify(lock, addresses, token, address)
    return caught.value.code


async def test_after_too_many_bad_tokens_none_is_looked_at() -> None:
    lock, clock = Lock(), ManualClock()
    addresses = limited(clock)
    assert [await refusal(lock, addresses, "bad", "1.1.1.1") for _ in range(5)] == [
        *["auth.invalid"] * 3,
        *["rate.limited"] * 2,
    ]
    assert lock.asked == 3
    assert await refusal(lock, addresses, "good", "1.1.1.1") == "rate.limited"
    assert await identify(lock, addresses, "good", "2.2.2.2") == GRANT
    clock.now += 20
    assert await identify(lock, addresses, "good", "1.1.1.1") == GRANT


async def test_good_tokens_none_and_a_broken_broker_cost_nothing() -> None:
    lock, addresses = Lock(), limited(ManualClock())
    for _ in range(10):
        assert await identify(lock, addresses, "good", "1.1.1.1") == GRANT
        assert await refusal(lock, addresses, None, "1.1.1.1") == "auth.required"
        assert await refusal(lock, addresses, "down", "1.1.1.1") == "broker.unavailable"
    assert lock.asked == 30


async def test_a_refusal_is_written_down_without_the_token(tmp_path: Path) -> None:
    lock, addresses = Lock(), limited(ManualClock())
    with audit_log(tmp_path / "audit") as file:
        for token in ("canary", "canary", "canary", "canary", "down"):
            with pytest.raises(ProtocolError):
                await identify(lock, addresses, token, "1.1.1.1")
    lines = lines_of(file)
    assert len(lines) == 3
    for line in lines:
        names = (line["action"], line["outcome"], line["code"], line["address"])
        assert names == ("authenticate", "refused", "auth.invalid", "1.1.1.1")
    assert "canary" not in file.read_text()
