"""When to try again."""

import pytest

from gateway.client.backoff import BASE_MS, CAP_MS, OVERLOADED_MS, delay_ms


def test_the_ceiling_doubles_up_to_the_cap() -> None:
    ceilings = [delay_ms(attempt, 1006, lambda: 0.999999) + 1 for attempt in range(1, 9)]
    assert ceilings == [min(CAP_MS, BASE_MS * 2**n) for n in range(8)]
    assert delay_ms(10_000, 1006, lambda: 0.5) == CAP_MS // 2


def test_full_jitter_reaches_down_to_nothing() -> None:
    assert delay_ms(5, 1006, lambda: 0.0) == 0


@pytest.mark.parametrize("code", [1013, 4479, 4480])
def test_an_overloaded_gateway_gets_more_time(code: int) -> None:
    assert delay_ms(1, code, lambda: 0.0) == OVERLOADED_MS
