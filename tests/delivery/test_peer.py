"""Every transport keeps the contract of a peer, the tests' own one too."""

import inspect

import pytest

from gateway.delivery.peer import Peer
from gateway.transports.sockets import SocketPeer
from gateway.transports.websocket import AwaitingPeer
from tests.support.inprocess import MemoryPeer

VERBS = [name for name, _ in inspect.getmembers(Peer, inspect.isfunction) if name[0] != "_"]


@pytest.mark.parametrize("transport", [SocketPeer, AwaitingPeer, MemoryPeer])
def test_it_has_every_verb(transport: type) -> None:
    source = inspect.getsource(transport)
    assert VERBS == ["close", "listen", "receive", "when_writable", "write"]
    for verb in VERBS:
        assert f"def {verb}(" in source or f"self.{verb} = " in source
    assert inspect.iscoroutinefunction(transport.receive)
