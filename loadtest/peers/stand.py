"""A peer that serves: its server process, its Redis, and what it needs beside to publish."""

import socket
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

import msgspec

from loadtest.peers.install import Kit
from loadtest.peers.products import PRODUCTS, Name, Place, Product
from loadtest.proc import children, split_cpus
from loadtest.programs import Program, free_port
from loadtest.redis_server import RedisServer, one
from loadtest.result import Role
from loadtest.target import Watched


class Stand(msgspec.Struct, frozen=True):
    """What of it the measurement needs; the rest ends with the block of `standing`."""

    name: Name
    product: Product
    place: Place
    publish_port: int
    cpus: set[int]  # of Redis, publishers and receivers
    server: Program
    redis: RedisServer
    watched: list[Watched]


@contextmanager
def standing(kit: Kit, name: Name, *, publishes: bool, pin: bool) -> Generator[Stand]:
    """Starts one product: its server alone on the first CPU, all else on the second.

    Raises:
        LoadError: a program did not start; says what it wrote.
    """
    server_cpus, other_cpus = split_cpus(pin)
    product = PRODUCTS[name]
    with ExitStack() as stack:
        (redis,) = one(stack, append_only=False, cpus=other_cpus)

        def serve(role: str, cpus: set[int]) -> tuple[Program, Place]:
            place = Place(kit, redis.port, free_port())
            program = Program(role, [str(part) for part in product.serve(place)], cpus=cpus)
            stack.enter_context(program).until(lambda: _listens(place.port))
            program.until(lambda: len(children(program.pid)) == product.children)
            return program, place

        server, place = serve("server", server_cpus)
        watched = _watched(server, "peer") + _watched(redis.program, "redis")
        publish_port = redis.port
        if publishes and product.publish is None:  # messages enter through a server, not Redis
            second, second_place = serve("publishing server", other_cpus)
            watched += _watched(second, "client")
            publish_port = second_place.port
        yield Stand(name, product, place, publish_port, other_cpus, server, redis, watched)


def _watched(program: Program, role: Role) -> list[Watched]:
    pids = [program.pid, *children(program.pid)]
    return [Watched(f"{program.name}{i or ''}", role, pid) for i, pid in enumerate(pids)]


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
