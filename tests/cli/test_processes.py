"""Children serve side by side, come back when they die, and end with their parent."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.cli.processes import RESTART_S
from tests.support.processes import ROOT, Process
from tests.support.waiting import eventually

PROGRAM = """
import os, select, signal, sys
from gateway.cli.processes import Supervisor

def say(line):
    os.write(1, line.encode() + b"\\n")  # one write: print's pieces would mix with other children's

def child(parent_gone, number):
    try:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        say("up %d %d" % (os.getpid(), number))
        {body}
    except SystemExit as end:
        return end.code

def ending():
    say("ending")

{before}
sys.exit(Supervisor(child, 2, ending=ending).run())
"""
WAIT = "select.select([parent_gone], [], []); say('orphan'); return 0"

HANG = "[select.select([], [], [], 1) for _ in range(60)]; return 0"


# The parent is told to end right after its first fork.
TOLD_AT_ONCE = """
told = []

def tell():
    if not told:
        told.append(os.kill(os.getpid(), signal.SIGTERM))

os.register_at_fork(after_in_parent=tell)
"""


def supervised(folder: Path, body: str = WAIT, before: str = "") -> Process:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = PROGRAM.format(body=body, before=before)
    return Process([sys.executable, "-c", code], folder, name="parent", environment=environment)


def pids(process: Process) -> list[int]:
    lines = process.output().splitlines()
    return [int(line.split()[1]) for line in lines if line.startswith("up ")]


def numbers(process: Process) -> list[int]:
    """Which of the children each of `pids` is."""
    lines = process.output().splitlines()
    return [int(line.split()[2]) for line in lines if line.startswith("up ")]


def started_at(pid: int) -> float:
    """When it was forked, in seconds since the machine was started."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_children_end_with_a_signal_to_the_parent(tmp_path: Path) -> None:
    process = await supervised(tmp_path).start()
    try:
        await eventually(lambda: len(pids(process)) >= 2, within=30, what="two children")
        assert await process.terminate() == 0
        assert not any(map(alive, pids(process)))
        assert process.output().count("ending") == 1
    finally:
        await process.kill()


async def test_told_to_end_before_all_children_are_started(tmp_path: Path) -> None:
    process = await supervised(tmp_path, before=TOLD_AT_ONCE).start()
    try:
        assert await process.wait() == 0
        assert len(pids(process)) <= 1
    finally:
        await process.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, None), (signal.SIGINT, 130)])
async def test_a_second_ctrl_c_ends_children_that_hang(
    tmp_path: Path, number: signal.Signals, code: int | None
) -> None:
    """SIGTERM is only ever asked again."""
    body = f"signal.signal(signal.SIGTERM, lambda *_: say('asked')); say('ready'); {HANG}"
    process = await supervised(tmp_path, body).start()
    children: list[int] = []
    try:
        await eventually(
            lambda: process.output().count("ready") == 2, within=30, what="two children"
        )
        children += pids(process)
        process.send_signal(number)
        await eventually(lambda: process.output().count("asked") == 2, what="both are asked")
        process.send_signal(number)
        if code is None:
            await eventually(lambda: process.output().count("asked") == 4, what="asked again")
            assert all(map(alive, children))
        else:
            assert await process.wait() == code
            assert not any(map(alive, children))
    finally:
        await process.kill()
        for pid in filter(alive, children):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def test_a_dead_child_is_replaced_but_not_at_once(tmp_path: Path) -> None:
    process = await supervised(tmp_path).start()
    try:
        await eventually(lambda: len(pids(process)) >= 2, within=30, what="two children")
        first = pids(process)[0]
        number = numbers(process)[0]
        assert sorted(numbers(process)) == [0, 1]
        began = started_at(first)
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: len(pids(process)) == 3, what="a third child")
        assert numbers(process)[2] == number  # the place of the one that died
        assert started_at(pids(process)[2]) - began > RESTART_S - 0.05  # it counts in ticks
        assert "process_ended" in process.output()
        assert await process.terminate() == 0
    finally:
        await process.kill()


async def test_children_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    process = await supervised(tmp_path).start()
    try:
        await eventually(lambda: len(pids(process)) >= 2, within=30, what="two children")
        children = pids(process)
        os.kill(process.pid, signal.SIGKILL)
        await eventually(lambda: not any(map(alive, children)), what="the children end")
        assert process.output().count("orphan") == 2
    finally:
        await process.kill()


async def test_a_child_that_cannot_start_ends_all() -> None:
    program = PROGRAM.format(body="return 2", before="")
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, cwd=ROOT)
    async with asyncio.timeout(20):
        assert await process.wait() == 2
