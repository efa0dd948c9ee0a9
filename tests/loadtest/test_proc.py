"""What Linux tells of a process."""

import os
import subprocess
import sys

from loadtest.proc import children, pin, split_cpus, usage


def spend(seconds: float) -> None:
    until = os.times().user + os.times().system + seconds
    while os.times().user + os.times().system < until:
        sum(range(1_000))


def test_cpu_time_counts_what_was_worked() -> None:
    before = usage(os.getpid())
    spend(0.05)
    after = usage(os.getpid())

    assert after.cpu_s - before.cpu_s >= 0.03
    assert after.rss_bytes > 2**20
    assert after.descriptors > 2


def test_who_has_ended_uses_nothing() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    assert usage(ended.pid).cpu_s == 0
    assert children(ended.pid) == []


def test_children_are_found_and_pinned() -> None:
    cpus = {min(os.sched_getaffinity(0))}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in children(os.getpid())
        pin(child.pid, cpus)
        assert os.sched_getaffinity(child.pid) == cpus
        child.communicate(b"\n")


def test_servers_and_clients_share_no_cpu() -> None:
    servers, clients = split_cpus(wanted=True)

    assert not servers & clients
    assert bool(servers) == bool(clients) == (len(os.sched_getaffinity(0)) > 1)
    assert split_cpus(wanted=False) == (set(), set())
