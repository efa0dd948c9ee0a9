"""A broker in Redis that waits for a slow server: for tests of what it does, not of how soon."""

from functools import partial

import pytest

from gateway.broker.redis import client, cluster, servers
from gateway.broker.redis.broker import RedisBroker
from gateway.broker.redis.listener import Rhythm
from gateway.broker.redis.wire import Wire
from tests.broker.redis.lines import PATIENT

RHYTHM = Rhythm(deaf_s=20, open_s=20, confirm_s=20)
OPTIONS = "socket_timeout=20&socket_connect_timeout=20"


def patient(url: str, monkeypatch: pytest.MonkeyPatch) -> RedisBroker:
    """Not yet started. Others that the same test opens are patient, too, but for the listener."""
    monkeypatch.setattr(servers, "Wire", partial(Wire, limits=PATIENT))
    for module in (client, cluster):
        monkeypatch.setattr(module, "CALL_S", PATIENT.call_s)
    return RedisBroker(f"{url}?{OPTIONS}", rhythm=RHYTHM)
