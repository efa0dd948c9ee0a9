"""A real network of two namespaces, whose packets are lost and delayed on the way.

The kernel's TCP on both sides, so retransmissions, back-off and time-outs are real. Between the
two TUN devices this process carries the packets, and so decides, by a seed, what becomes of them:
`tc netem` does the same where the kernel has it; this needs /dev/net/tun, root and `ip` alone.
A second, good link is for Redis and for looking inside.
"""

import asyncio
import fcntl
import os
import random
import struct
import subprocess
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager

from tests.support.processes import find_program

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
PACKET_BYTES = 2048
HERE, FAR = "10.77.0.1", "10.77.0.2"
HERE_GOOD, FAR_GOOD = "10.77.1.1", "10.77.1.2"


class Link:
    """The bad link between here and the far namespace `name`; good until told otherwise."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.loss = 0.0
        """The share of packets that is lost, in each direction."""
        self.delay_s = 0.0
        """How long a packet takes, in each direction."""
        self.down = False
        """Nothing arrives, and nobody is told."""
        self.carried = self.lost = 0
        self._choices = random.Random(seed)

    def carry(self, source: int, target: int) -> None:
        """A packet has come; called by the loop."""
        packet = os.read(source, PACKET_BYTES)
        if self.down or self._choices.random() < self.loss:
            self.lost += 1
            return
        self.carried += 1
        loop = asyncio.get_running_loop()
        loop.call_later(self.delay_s, self._deliver, target, packet)

    def _deliver(self, target: int, packet: bytes) -> None:
        try:
            os.write(target, packet)
        except OSError:  # a full device drops packets, as routers do; a closed one has no use
            self.lost += 1


def ip(*arguments: str) -> None:
    """The `ip` command.

    Raises:
        AssertionError: it failed; quotes it, and says what it needs.
    """
    program = find_program("ip")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    text = f"ip {' '.join(arguments)}: {done.stderr.strip()} (network namespaces need root)"
    assert done.returncode == 0, text


@asynccontextmanager
async def linked(seed: int = 1) -> AsyncGenerator[Link]:
    """Two namespaces and their links; gone at the end, with whatever still runs there."""
    name = f"agw-{os.getpid()}"
    near, far, good, good_far = (f"{end}{os.getpid() % 100_000}" for end in "nfgh")
    link = Link(name, seed)
    with ExitStack() as stack:
        ip("netns", "add", name)
        stack.callback(ip, "netns", "delete", name)
        ip("link", "add", good, "type", "veth", "peer", "name", good_far, "netns", name)
        # a namespace goes some time after its deletion: until then a next one's address is taken
        stack.callback(ip, "link", "delete", good)
        here = stack.enter_context(_Tun(near)).descriptor
        there = stack.enter_context(_Tun(far)).descriptor
        ip("link", "set", far, "netns", name)
        for device, address in ((near, HERE), (good, HERE_GOOD)):
            ip("address", "add", f"{address}/30", "dev", device)
            ip("link", "set", device, "up")
        for device, address in ((far, FAR), (good_far, FAR_GOOD)):
            ip("-n", name, "address", "add", f"{address}/30", "dev", device)
            ip("-n", name, "link", "set", device, "up")
        ip("-n", name, "link", "set", "lo", "up")
        loop = asyncio.get_running_loop()
        loop.add_reader(here, link.carry, here, there)
        loop.add_reader(there, link.carry, there, here)
        try:
            yield link
        finally:
            loop.remove_reader(here)
            loop.remove_reader(there)


class _Tun:
    """A TUN device of this process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.descriptor = -1

    def __enter__(self) -> "_Tun":
        self.descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        request = struct.pack("16sH22x", self._name.encode(), IFF_TUN | IFF_NO_PI)
        fcntl.ioctl(self.descriptor, TUNSETIFF, request)
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self.descriptor)
