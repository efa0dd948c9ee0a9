import re

import pytest

from protocol.codes import CLOSES, ERRORS, close_is_final

RETRYABLE = {
    "broker.unavailable",
    "server.draining",
    "rate.limited",
    "internal",
    "auth.unavailable",
}


def test_only_these_may_be_sent_again() -> None:
    assert {code for code, row in ERRORS.items() if row.retryable} == RETRYABLE


@pytest.mark.parametrize("code", ERRORS)
def test_a_row_is_fit_to_be_shown(code: str) -> None:
    row = ERRORS[code]
    assert re.fullmatch(r"[a-z]+(\.[a-z_]+)?", code)
    assert 400 <= row.http_status <= 599
    assert row.text.endswith(".")
    assert row.retryable == (row.http_status == 429 or code in RETRYABLE)


def test_the_range_says_whether_a_close_is_final() -> None:
    assert all(close_is_final(code) is row.final for code, row in CLOSES.items())


@pytest.mark.parametrize(
    ("code", "final"),
    [(1000, False), (1006, False), (4399, False), (4400, True), (4449, True), (4450, False)],
)
def test_unknown_close_codes_follow_the_range(code: int, final: bool) -> None:
    assert close_is_final(code) is final
