"""A connection that was reset, under the loop that the command uses."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import uvloop

from gateway.broker.redis.client import RedisClient
from gateway.errors import BrokerUnavailable, GatewayError
from tests.faults.proxy import fault_proxy
from tests.support.processes import Valkey

CONNECTIONS = 10
TURNS = 12


async def cut_and_asked_again(port: int) -> list[BaseException]:
    """What failed, right after all connections of a pool were reset."""
    async with fault_proxy(port) as proxy:
        client = RedisClient(proxy.redis_url)
        failed: list[BaseException] = []

        async def ask() -> None:
            try:
                await client.commands([("PING",), ("PING",)])
            except (GatewayError, RuntimeError) as error:
                failed.append(error)

        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(ask())
        assert failed == []
        for turns in range(TURNS):
            proxy.cut()
            for _ in range(turns):  # the reset is noticed at another moment of the sending
                await asyncio.sleep(0)
            async with asyncio.TaskGroup() as group:
                for _ in range(CONNECTIONS):
                    group.create_task(ask())
        await client.close()
        return failed


def test_a_write_after_a_reset_is_unavailability(valkey: Valkey) -> None:
    """uvloop raises RuntimeError where asyncio's own loop says that the connection is lost."""

    def run() -> list[BaseException]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(cut_and_asked_again(valkey.port))

    with ThreadPoolExecutor(1) as thread:
        failed = thread.submit(run).result(30)
    assert failed
    assert {type(error) for error in failed} == {BrokerUnavailable}
