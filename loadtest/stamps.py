"""A time in six characters, short enough to be a model's token: `~` and five base-36 digits.

Microseconds of CLOCK_MONOTONIC, which all processes of one machine share, modulo 36^5 (60.4 s, the
longest latency a histogram holds). Found in any text by its `~`, whatever the format around it.
"""

import re
import time
from collections.abc import Iterable

SPAN_US = 36**5
EARLY_US = 100_000
"""What seems so much older than the span allows was written this moment; clocks do not agree
within one microsecond between two reads."""
MARK = b"~"
PATTERN = re.compile(rb"~([0-9a-z]{5})")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_TWO = [a + b for a in _DIGITS for b in _DIGITS]
_THREE = [a + two for a in _DIGITS for two in _TWO]


def now_us() -> int:
    """Microseconds by the clock that all processes of a machine share."""
    return time.monotonic_ns() // 1_000


def stamp(us: int) -> str:
    """The time as a token."""
    high, low = divmod(us % SPAN_US, 46_656)
    return "~" + _TWO[high] + _THREE[low]


def ages_us(digits: Iterable[bytes | bytearray], now: int) -> list[int]:
    """How long ago the stamps with these digits were made."""
    now %= SPAN_US
    return [_age((now - int(d, 36)) % SPAN_US) for d in digits]


def _age(us: int) -> int:
    return us if us < SPAN_US - EARLY_US else 0
