"""When to try again: a pure function of the attempt and the close code. No clock, no sleep.

Full jitter (a random moment below a doubling ceiling), so that the clients of a lost replica
don't come back together. Whether to try at all is said by `protocol.codes.close_is_final`.
"""

import math
from collections.abc import Callable

BASE_MS = 500
CAP_MS = 30_000
OVERLOADED_MS = 5_000

_OVERLOADED = (1013, 4479, 4480)
_CAPPED_AFTER = 16  # doublings; any more are above the cap, and far more overflow


def delay_ms(attempt: int, code: int, random: Callable[[], float]) -> int:
    """Milliseconds before attempt number `attempt` (1 is the first after a loss).

    `code` ended the last try: after an overload it takes `OVERLOADED_MS` more. `random` gives
    numbers in [0, 1).
    """
    ceiling = min(CAP_MS, BASE_MS * 2 ** min(attempt - 1, _CAPPED_AFTER))
    return (OVERLOADED_MS if code in _OVERLOADED else 0) + math.floor(random() * ceiling)
