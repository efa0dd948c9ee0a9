"""What the client alone can take: events for each second of its CPU, in the shape of a scenario."""

import os
import time

import msgspec

from loadtest.blast import Blast
from loadtest.client import Command, Job
from loadtest.crew import Crew
from loadtest.errors import LoadError
from loadtest.proc import split_cpus, usage
from loadtest.programs import Program, module
from loadtest.scenarios import Load

WARM_UP_S, SECONDS = 0.3, 1.0
MOST_EVENTS = 64


def ceiling_per_s(tabs: list[list[str]], load: Load, *, pin: bool) -> float:
    """Events a second that all client processes together take when they do nothing else.

    By CPU time, not by the clock: who else uses the machine changes nothing.
    """
    server_cpus, client_cpus = split_cpus(pin)
    blast = Blast(tabs, events_a_message(load), load.event_bytes)
    with Program("blast", module("loadtest.blast"), cpus=server_cpus, talks=True) as program:
        target, source = program.pipes
        os.write(target, msgspec.json.encode(blast) + b"\n")
        told = os.read(source, 64)
        if not told:
            raise LoadError(f"The server for the client's ceiling has ended: {program.said()}")
        job = Job(
            host="127.0.0.1",
            port=int(told),
            client="ceiling",
            tabs=tabs,
            acks=load.acks,
            canned=True,
            sample=load.sample,
        )
        with Crew([job], client_cpus) as crew:
            crew.first(Command(do="open"))
            crew.first(Command(do="go"))
            time.sleep(min(WARM_UP_S, load.seconds))
            pid = crew.members[0].program.pid
            crew.first(Command(do="begin"))
            before = usage(pid)
            time.sleep(min(SECONDS, load.seconds))
            after = usage(pid)
            counted = crew.first(Command(do="end")).counted
    assert counted is not None, "a window was counted"
    return counted.events / max(1e-9, after.cpu_s - before.cpu_s) * load.clients


def events_a_message(load: Load) -> int:
    """How many the gateway will join: what is outstanding comes back together."""
    if not load.outstanding:
        return 1
    share = load.outstanding if load.everywhere else load.outstanding / load.tabs
    return max(1, min(MOST_EVENTS, round(share)))
