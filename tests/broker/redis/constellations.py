"""Servers that belong together, on loopback: a master watched by Sentinels, and a Cluster."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.support.processes import (
    KeyValueServer,
    Process,
    RedisServer,
    Valkey,
    find_program,
    free_port,
)
from tests.support.waiting import eventually

SERVICE = "main"
SLOTS = 16_384
MASTERS = 3
DOWN_AFTER_MS = 500
NODE_TIMEOUT_MS = 1_000


async def ask(server: "KeyValueServer | Sentinel", *command: Any) -> Any:
    """One command on a connection of its own."""
    async with Redis.from_url(server.url, socket_timeout=10) as admin:
        return await admin.execute_command(*command)


async def replicated(master: KeyValueServer) -> None:
    """Until one replica has what is stored now; WAIT knows only what its own connection wrote."""
    async with Redis.from_url(master.url, single_connection_client=True) as admin:
        await admin.set("written", "before")
        assert await admin.wait(1, 20_000) == 1


class Sentinel(Process):
    """Debian's redis-server as a Sentinel of one master."""

    def __init__(self, folder: Path, master: KeyValueServer, quorum: int) -> None:
        self.port = free_port()
        folder.mkdir(parents=True)
        config = folder / "sentinel.conf"
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {folder}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} {quorum}",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {SERVICE} 3000",
        ]
        config.write_text("\n".join(lines))
        arguments = [find_program("redis-server"), str(config), "--sentinel"]
        super().__init__(arguments, folder, name="sentinel")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def ready(self) -> bool:
        try:
            return bool(await ask(self, "PING"))
        except RedisError:
            return False

    async def knows_all(self) -> bool:
        """The master, its replica and the two other Sentinels."""
        known = (await ask(self, "SENTINEL MASTERS"))[SERVICE]
        return known["num-slaves"] == 1 and known["num-other-sentinels"] == 2


@dataclass
class Watched:
    """A master with a replica, and three Sentinels; `url` names the service."""

    servers: list[RedisServer]
    sentinels: list[Sentinel]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}"

    async def master(self) -> RedisServer:
        """Who it is by the Sentinels."""
        for sentinel in self.sentinels:
            _, port = await ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
            return next(server for server in self.servers if server.port == int(port))
        raise AssertionError("no Sentinel")


async def attached(replica: KeyValueServer) -> bool:
    try:
        info = await ask(replica, "INFO", "replication")
    except RedisError:  # who is made a replica drops its connections
        return False
    return info["role"] == "slave" and info["master_link_status"] == "up"


@asynccontextmanager
async def watched(folder: Path) -> AsyncGenerator[Watched]:
    async with AsyncExitStack() as stack:
        options = {"repl-diskless-sync-delay": "0"}
        master, replica = (RedisServer(folder / name, options=options) for name in ("one", "two"))
        for server in (master, replica):
            await server.start()
            stack.push_async_callback(server.kill)
        await ask(replica, "REPLICAOF", "127.0.0.1", master.port)
        await eventually(lambda: attached(replica), what="the replica is there")
        sentinels = [Sentinel(folder / f"s{i}", master, quorum=2) for i in range(3)]
        for sentinel in sentinels:
            await sentinel.start()
            stack.push_async_callback(sentinel.kill)
        for sentinel in sentinels:
            await eventually(sentinel.knows_all, within=20, what="the Sentinels know each other")
        yield Watched([master, replica], sentinels)


class Node(Valkey):
    """One node of a Cluster."""

    def __init__(self, folder: Path) -> None:
        options = {
            "cluster-enabled": "yes",
            "cluster-port": str(free_port()),
            "cluster-node-timeout": str(NODE_TIMEOUT_MS),
            "repl-diskless-sync-delay": "0",
        }
        super().__init__(folder, options=options)
        self.bus = options["cluster-port"]

    async def id(self) -> str:
        return (await ask(self, "CLUSTER", "MYID")).decode()


@dataclass
class Ring:
    """The nodes of a Cluster; the first three are masters at first, a third of the slots each."""

    nodes: list[Node]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    async def flush(self) -> None:
        for node in self.nodes[:MASTERS]:
            await ask(node, "FLUSHALL")

    async def keys(self, pattern: str) -> list[str]:
        found = [await ask(node, "KEYS", pattern) for node in self.nodes[:MASTERS]]
        return sorted(key.decode() for keys in found for key in keys)

    async def settled(self, masters: int = MASTERS, others: int = 0) -> bool:
        """Every living node says that all is well, and that so many are there."""
        for node in self.nodes:
            if not node.running:
                continue
            info = await ask(node, "CLUSTER INFO")
            known = int(info["cluster_known_nodes"])
            if info["cluster_state"] != "ok" or known < masters + others:
                return False
        return True


@asynccontextmanager
async def ring(folder: Path, *, replicas: int = 0) -> AsyncGenerator[Ring]:
    """Three masters; each of the `replicas` is one of the first master."""
    async with AsyncExitStack() as stack:
        made = Ring([Node(folder / f"node{i}") for i in range(MASTERS + replicas)])
        for node in made.nodes:
            await node.start()
            stack.push_async_callback(node.kill)
        first = made.nodes[0]
        for i, node in enumerate(made.nodes[:MASTERS]):
            start, end = SLOTS * i // MASTERS, SLOTS * (i + 1) // MASTERS - 1
            await ask(node, "CLUSTER", "ADDSLOTSRANGE", start, end)
            await ask(node, "CLUSTER", "SET-CONFIG-EPOCH", i + 1)
        for node in made.nodes[1:]:
            await ask(node, "CLUSTER", "MEET", "127.0.0.1", first.port, first.bus)
        await eventually(lambda: made.settled(others=replicas), within=20, what="all know all")
        for node in made.nodes[MASTERS:]:
            await ask(node, "CLUSTER", "REPLICATE", await first.id())
            await eventually(lambda n=node: attached(n), within=20, what="the replica is there")
        yield made
