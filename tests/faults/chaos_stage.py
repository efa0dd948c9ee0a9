"""The processes of a chaos run, and what each kind of fault does to them.

Two replicas without runs, two workers, one Valkey with an append-only file; a fault proxy before
each replica and one before Valkey. No client and no judgement here.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from gateway.cli.processes import CANNOT_START
from tests.faults.chaos_schedule import REPLICAS, WORKERS, Fault
from tests.faults.proxy import FaultProxy, fault_proxy
from tests.support.processes import GatewayProcess, Process, Valkey

REDIS_DELAY_S = 0.05
CLIENT_DELAY_S = 0.2
STARTS = 15
REDIS_AWAY = f"ended with {CANNOT_START}"

SECRET = "chaos " * 8


async def http(port: int, method: str, path: str, token: str | None = None) -> bytes:
    """One request to this machine, headers and body of its answer as they came."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            headers = f"Host: 127.0.0.1:{port}\r\nConnection: close\r\n"
            if token is not None:
                headers += f"Authorization: Bearer {token}\r\n"
            writer.write(f"{method} {path} HTTP/1.1\r\n{headers}\r\n".encode())
            return await reader.read()
        finally:
            writer.close()


class Stage:
    """Who plays, and `strike`."""

    def __init__(self, valkey: Valkey, redis: FaultProxy) -> None:
        self.valkey = valkey
        self.redis = redis
        self.replicas: list[GatewayProcess] = []
        self.fronts: list[FaultProxy] = []
        self.workers: list[GatewayProcess] = []
        # One fault at a time for each party's member.
        self._busy: dict[tuple[str, int], asyncio.Lock] = {}

    @property
    def processes(self) -> list[GatewayProcess]:
        return [*self.replicas, *self.workers]

    def free(self, fault: Fault) -> asyncio.Lock:
        """To be held while a fault lasts."""
        return self._busy.setdefault((fault.party, fault.target), asyncio.Lock())

    async def strike(self, fault: Fault) -> None:
        """Does it, and returns when its cause is over."""
        strike: Callable[[Fault], Awaitable[None]] = {
            "killed": self._kill,
            "restarted": self._restart,
            "stopped": self._stop,
            "cut": self._cut,
            "delayed": self._delay,
            "swallowed": self._swallow,
            "deaf": self._deafen,
        }[fault.kind.split()[1]]
        await strike(fault)

    def _process(self, fault: Fault) -> GatewayProcess | Valkey:
        if fault.party == "redis":
            return self.valkey
        return (self.replicas if fault.party == "replica" else self.workers)[fault.target]

    def _proxy(self, fault: Fault) -> FaultProxy:
        return self.redis if fault.party == "redis" else self.fronts[fault.target]

    async def _kill(self, fault: Fault) -> None:
        process = self._process(fault)
        await process.kill()
        await asyncio.sleep(fault.lasts_s)
        await started(process)

    async def _restart(self, fault: Fault) -> None:
        process = self._process(fault)
        await process.terminate(within=40)
        await asyncio.sleep(fault.lasts_s)
        await started(process)

    async def _stop(self, fault: Fault) -> None:
        process = self._process(fault)
        process.pause()
        await asyncio.sleep(fault.lasts_s)
        process.resume()

    async def _cut(self, fault: Fault) -> None:
        self._proxy(fault).cut()

    async def _delay(self, fault: Fault) -> None:
        proxy = self._proxy(fault)
        proxy.delay(REDIS_DELAY_S if fault.party == "redis" else CLIENT_DELAY_S)
        await asyncio.sleep(fault.lasts_s)
        proxy.heal()

    async def _swallow(self, fault: Fault) -> None:
        """A black hole; connections that lost bytes in it are of no use afterwards."""
        proxy = self._proxy(fault)
        proxy.swallow()
        await asyncio.sleep(fault.lasts_s)
        proxy.heal()
        proxy.cut()

    async def _deafen(self, fault: Fault) -> None:
        with suppress(OSError):  # while another fault has it down
            await self.valkey.command("CLIENT KILL TYPE pubsub")


async def started(process: Process) -> None:
    """Starts it as its supervisor would: again after a second, if Redis was away just then."""
    for _ in range(STARTS):
        try:
            await process.start()
        except AssertionError as error:
            if REDIS_AWAY not in str(error):
                raise
            await asyncio.sleep(1)
        else:
            return
    raise AssertionError(f"{process.name} did not start {STARTS} times:\n{process.output()}")


@asynccontextmanager
async def stage(folder: Path, options: list[str], serving: list[str]) -> AsyncGenerator[Stage]:
    """Starts everything; `serving` are options of replicas alone. Kills what is left at the end."""
    async with AsyncExitStack() as stack:
        valkey = Valkey(folder / "valkey", append_only=True)
        stack.push_async_callback(valkey.kill)
        await valkey.start()
        made = Stage(valkey, await stack.enter_async_context(fault_proxy(valkey.port)))
        options = ["--broker", made.redis.redis_url, "--agents", "scripted", *options]
        for _ in range(REPLICAS):
            made.replicas.append(GatewayProcess(folder, *options, "--no-runs", *serving))
        for _ in range(WORKERS):
            made.workers.append(GatewayProcess(folder, *options, command="worker"))
        for process in made.processes:
            stack.push_async_callback(process.kill)
            await process.start()
        for replica in made.replicas:
            made.fronts.append(await stack.enter_async_context(fault_proxy(replica.port)))
        yield made
