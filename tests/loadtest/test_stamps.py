"""A time survives its six characters, within any text."""

from hypothesis import given
from hypothesis import strategies as st

from loadtest.stamps import PATTERN, SPAN_US, ages_us, now_us, stamp


@given(st.integers(0, 10**15), st.integers(0, SPAN_US - 200_000))
def test_the_age_is_what_has_passed(made: int, passed: int) -> None:
    text = f'{{"delta":"a{stamp(made)}{stamp(made)}b"}}'.encode()

    assert ages_us(PATTERN.findall(text), made + passed) == [passed, passed]


def test_a_stamp_is_as_long_as_a_token() -> None:
    assert len(stamp(now_us())) == 6


def test_what_is_from_the_future_has_no_age() -> None:
    assert ages_us(PATTERN.findall(stamp(1_000).encode()), 990) == [0]
