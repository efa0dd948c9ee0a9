"""What time does to records and offers; what both brokers promise is in the contract suite."""

import math

from gateway.broker.announcements import Announcements
from gateway.broker.base import GONE_S, OFFERED_S, Announced


def test_d1_a_process_is_gone_at_15_s() -> None:
    heard = Announcements()
    heard.announce("p", b"r", now=0.0)
    assert heard.announced(now=14.9) == [Announced("p", b"r", 14.9)]
    assert GONE_S == 15.0
    assert heard.announced(now=15.0) == []
    heard.announce("p", b"r", now=20.0)
    assert heard.announced(now=21.0) == [Announced("p", b"r", 1.0)]


def test_what_is_gone_is_forgotten() -> None:
    heard = Announcements()
    for number in range(100):
        heard.announce(f"p{number}", b"r", now=float(number))
    assert len(heard._processes) == 15


def test_d2_an_agent_is_known_for_a_day() -> None:
    heard = Announcements()
    heard.offer({"cook": b"Cooks."}, now=0.0)
    heard.offer({"baker": b""}, now=100.0)
    assert heard.offered(now=OFFERED_S - 1).agents == {"cook": b"Cooks.", "baker": b""}
    assert heard.offered(now=OFFERED_S).agents == {"baker": b""}
    assert heard.offered(now=OFFERED_S + 100).agents == {}


def test_d2_nothing_was_offered_unheard() -> None:
    assert Announcements().offered(now=0.0).since == -math.inf


def test_a_clock_that_was_set_back_makes_nobody_younger_than_now() -> None:
    heard = Announcements()
    heard.announce("p", b"r", now=100.0)
    assert heard.announced(now=90.0) == [Announced("p", b"r", 0.0)]
