"""The questions that wait for a person: calls to be executed, and approvals.

Which one is next, and what the prompt asks. Answers are delivered elsewhere.
"""

import asyncio
from typing import Any, TypeAlias

from gateway.cli.chat.items import Asked, Item
from gateway.client import Session, ToolRun
from protocol.model import Approval


class ToolQuestion:
    """A call that the person executes."""

    def __init__(self, run: ToolRun) -> None:
        self.call = run.call
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    @property
    def asked(self) -> Item:
        """What is seen of it."""
        return Asked(self.call.name, self.call.arguments, tool=True)


Question: TypeAlias = ToolQuestion | Approval


class Questions:
    """Calls come before approvals, the oldest first."""

    def __init__(self) -> None:
        self.editing: str | None = None  # the approval whose arguments are in the prompt
        self._calls: list[ToolQuestion] = []  # begun here and not answered
        self._asked: set[str] = set()  # approvals that were shown
        self._answered: set[str] = set()  # approvals whose answer is under way

    def add(self, question: ToolQuestion) -> None:
        """A call waits from now on."""
        self._calls.append(question)

    def remove(self, question: ToolQuestion) -> None:
        """It waits no more; harmless if it does not."""
        if question in self._calls:
            self._calls.remove(question)

    def answering(self, approval: str) -> None:
        """Its answer is under way: ask no more."""
        self._answered.add(approval)
        self.editing = None

    def refused(self, approval: str) -> None:
        """Its answer was not taken: ask again."""
        self._answered.discard(approval)

    def next(self, session: Session | None) -> Question | None:
        """The one that a typed line answers."""
        if self._calls:
            return self._calls[0]
        if session is None or session.closed:
            return None
        return next((a for a in session.approvals if a.id not in self._answered), None)

    def calls(self) -> set[str]:
        """The ids of the calls that wait here."""
        return {question.call.id for question in self._calls}

    def unseen(self, session: Session) -> list[Item]:
        """The approvals that were not shown yet."""
        new = [a for a in session.approvals if a.id not in self._asked]
        self._asked |= {approval.id for approval in new}
        return [Asked(approval.title, approval.arguments, tool=False) for approval in new]

    def prompt(self, session: Session | None) -> str:
        """What is asked for; empty: nothing."""
        question = self.next(session)
        if question is None:
            return ""
        if isinstance(question, ToolQuestion):
            return f"result of {question.call.name} (JSON or text, or /error MESSAGE)"
        if self.editing == question.id:
            return f"arguments of {question.title}"
        # only the consent to a tool can be remembered
        always = "/always" if question.call is not None else ""
        edit = "/edit" if question.arguments is not None else ""
        return f"{question.title} [y/n{always}{edit}]"
