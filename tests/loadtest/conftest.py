"""What a load test starts has its ports from where all other tests have theirs."""

from collections.abc import Iterator

import pytest

from loadtest import redis_server, target
from loadtest.peers import stand
from tests.support.processes import free_port


@pytest.fixture(scope="session", autouse=True)
def ports() -> Iterator[None]:
    """No port is given to another test process as well."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (redis_server, target, stand):
            patch.setattr(module, "free_port", free_port)
        yield
