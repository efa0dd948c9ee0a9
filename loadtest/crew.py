"""The load test's hold on its client processes and its pacer: commands down, answers up."""

import os
import select
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Self

import msgspec

from loadtest.client import Answer, Command, Job
from loadtest.errors import LoadError
from loadtest.programs import Program, module

ANSWER_S = 120.0


class Member:
    """One process that obeys commands."""

    def __init__(self, name: str, entry: str, job: msgspec.Struct, cpus: set[int]) -> None:
        self.program = Program(name, module(entry), cpus=cpus, talks=True)
        self._rest = b""
        self._write(job)

    def tell(self, command: msgspec.Struct) -> None:
        """Sends a command; `answer` must be taken before the next."""
        self._write(command)

    def answer(self, within_s: float = ANSWER_S) -> Answer:
        """The answer to the oldest command without one.

        Raises:
            LoadError: it could not be done, or the process has ended.
        """
        deadline = time.monotonic() + within_s
        _, source = self.program.pipes
        while b"\n" not in self._rest:
            ready, _, _ = select.select([source], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise LoadError(f"{self.program.name} gave no answer for {within_s:.0f} s.")
            data = os.read(source, 1 << 20)
            if not data:
                raise LoadError(f"{self.program.name} has ended: {self.program.said()}")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        answer = msgspec.json.decode(line, type=Answer)
        if answer.error is not None:
            raise LoadError(answer.error)
        return answer

    def ask(self, command: msgspec.Struct, within_s: float = ANSWER_S) -> Answer:
        """A command and its answer."""
        self.tell(command)
        return self.answer(within_s)

    def _write(self, value: msgspec.Struct) -> None:
        target, _ = self.program.pipes
        data = msgspec.json.encode(value) + b"\n"
        try:
            while data:
                data = data[os.write(target, data) :]
        except BrokenPipeError:
            self.answer()  # its last word says why it ended
            raise LoadError(f"{self.program.name} has ended: {self.program.said()}") from None


class Crew:
    """`with Crew(jobs, cpus) as crew:`; the processes end with the block."""

    def __init__(self, jobs: Sequence[Job], cpus: set[int]) -> None:
        self._stack = ExitStack()
        self.members: list[Member] = []
        try:
            for i, job in enumerate(jobs):
                member = Member(f"client {i + 1}", "loadtest.client", job, cpus)
                self._stack.enter_context(member.program)
                self.members.append(member)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def all(self, command: Command, within_s: float = ANSWER_S) -> list[Answer]:
        """Every process does it at the same time."""
        for member in self.members:
            member.tell(command)
        return [member.answer(within_s) for member in self.members]

    def first(self, command: Command, within_s: float = ANSWER_S) -> Answer:
        """The first one does it."""
        return self.members[0].ask(command, within_s)
