"""Children serve side by side, come back when they die, and end with their parent."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import ROOT, Process
from tests.support.waiting import eventually

PROGRAM = """
import os, select, signal, sys
from gateway.cli.processes import Supervisor

def child(parent_gone):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("up", os.getpid(), flush=True)
    try:
        {body}
    except SystemExit as end:
        return end.code

def ending():
    print("ending", flush=True)

sys.exit(Supervisor(child, 2, ending=ending).run())
"""
WAIT = "select.select([parent_gone], [], []); print('orphan', flush=True); return 0"

HANG = "[select.select([], [], [], 1) for _ in range(60)]; return 0"


def supervised(folder: Path, body: str = WAIT) -> Process:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = PROGRAM.format(body=body)
    return Process([sys.executable, "-c", code], folder, name="parent", environment=environment)


def pids(process: Process) -> list[int]:
    lines = process.output().splitlines()
    return [int(line.split()[1]) for line in lines if line.startswith("up ")]


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and ") Z " not in stat.read_text()


async def test_children_end_with_a_signal_to_the_parent(tmp_path: Path) -> None:
    process = await supervised(tmp_path).start()
    try:
        await eventually(lambda: len(pids(process)) >= 2, within=30, what="two children")
        assert await process.terminate() == 0
        assert not any(map(alive, pids(process)))
        assert process.output().count("ending") == 1
    finally:
        await process.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, None), (signal.SIGINT, 130)])
async def test_a_second_ctrl_c_ends_children_that_hang(
    tmp_path: Path, number: signal.Signals, code: int | None
) -> None:
    """SIGTERM is only ever asked again."""
    body = "signal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True)); " + HANG
    process = await supervised(tmp_path, body).start()
    children: list[int] = []
    try:
        await eventually(lambda: len(pids(process)) >= 2, within=30, what="two children")
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
        for pid in children:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


async def test_a_dead_child_is_replaced_but_not_at_once(tmp_path: Path) -> None:
    process = await supervised(tmp_path).start()
    try:
        await eventually(lambda: len(pids(process)) >= 2, within=30, what="two children")
        started = time.monotonic()
        os.kill(pids(process)[0], signal.SIGKILL)
        await eventually(lambda: len(pids(process)) == 3, what="a third child")
        assert time.monotonic() - started > 0.3
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
    program = PROGRAM.format(body="return 2")
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, cwd=ROOT)
    async with asyncio.timeout(20):
        assert await process.wait() == 2
