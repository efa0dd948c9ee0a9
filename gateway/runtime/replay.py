"""What a run committed in earlier attempts, handed out again in order (docs/agents.md).

A replayed agent starts from the beginning; each of its messages, calls, approvals and children has
an ordinal, and as long as that one is committed nothing is emitted and what is stored is returned.
Pure, but for reading the log of children, which the caller does.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from gateway.runtime.failures import DivergedError
from gateway.runtime.history import parsed
from gateway.sessions.session import digest
from protocol import events as ev
from protocol.model import Approval, Call, Message, StateData
from protocol.values import ToolCallPart


class CommittedChild(Struct):
    """A child run that this run has started before."""

    session: str
    run: str
    agent: str
    status: str = "started"


class Replay:
    """A cursor over the committed things of one run. Diverged once, it stays so."""

    def __init__(
        self,
        state: StateData | None = None,
        children: Sequence[CommittedChild] = (),
        shown: Mapping[str, str] | None = None,
    ) -> None:
        run = state.run if state is not None else None
        messages: list[Message] = []
        approvals: list[Approval] = []
        self._calls: dict[str, Call] = {}
        if state is not None and run is not None:
            committed = ("complete", "failed")
            messages = [m for m in state.messages if m.run == run.id and m.status in committed]
            approvals = [a for a in state.approvals.values() if a.run == run.id]
            self._calls = state.calls
        self._messages = messages[::-1]
        self._approvals = [a for a in reversed(approvals) if a.call is None]
        self._children = {child.session: child for child in children}
        # approval -> digest of the arguments that a person was shown
        self._shown = shown or {}
        # call that a person was asked about -> the approval
        self._asked = {a.call: a.id for a in approvals}
        self.diverged: DivergedError | None = None

    @property
    def ahead(self) -> bool:
        """Whether something committed is still to come."""
        return bool(self._messages or self._approvals or self._children)

    def message(self) -> Message | None:
        """The next message that the agent writes part by part."""
        self._check()
        return self._messages.pop() if self._messages else None

    def calls(self, wanted: Sequence[tuple[str, Any]]) -> list[Call] | None:
        """The next message, if it is made of these calls: names and arguments."""
        self._check()
        if not self._messages:
            return None
        message = self._messages.pop()
        found = self.calls_of(message)
        if len(message.parts) != len(found):
            raise self._diverge("calls", f"message {message.id}")
        self.compare(found, wanted)
        return found

    def calls_of(self, message: Message) -> list[Call]:
        """The calls of a committed message, in order."""
        return [self._calls[p.call] for p in message.parts if isinstance(p, ToolCallPart)]

    def compare(self, found: Sequence[Call], wanted: Sequence[tuple[str, Any]]) -> None:
        """Raises `DivergedError` unless they are the same calls.

        Arguments that a person edited before they approved are not the agent's any more, and those
        of a denied call were never requested: both are compared with what was shown. Of a call that
        could not be offered there are none.
        """
        same = len(found) == len(wanted) and all(
            call.name == name and self._same_arguments(call, arguments)
            for call, (name, arguments) in zip(found, wanted, strict=False)
        )
        if not same:
            raise self._diverge(_names(n for n, _ in wanted), _names(c.name for c in found))

    def _same_arguments(self, call: Call, arguments: Any) -> bool:
        approval = self._asked.get(call.id)
        if approval is not None:
            return self._was_shown(approval, arguments)
        return call.arguments == "" or parsed(call.arguments) == arguments

    def _was_shown(self, approval: str, arguments: Any) -> bool:
        """Consent is to the arguments that were shown; True where that is not known any more."""
        return self._shown.get(approval) in (None, digest(arguments))

    def approval(self, title: str, arguments: Any) -> Approval | None:
        """The next approval that stands for itself."""
        self._check()
        if not self._approvals:
            return None
        approval = self._approvals.pop()
        if approval.decision == "approve":  # the person may have edited them
            same = self._was_shown(approval.id, arguments)
        else:
            same = approval.arguments == arguments
        if approval.title != title or not same:
            raise self._diverge(f"approval {title!r}", f"approval {approval.title!r}")
        return approval

    def child(self, agent: str, session: str) -> CommittedChild | None:
        """The child in this session; several at once are logged in any order."""
        self._check()
        child = self._children.pop(session, None)
        if child is not None and child.agent != agent:
            raise self._diverge(f"child of {agent}", f"child of {child.agent}")
        return child

    def _check(self) -> None:
        if self.diverged is not None:
            raise self.diverged

    def _diverge(self, wanted: str, found: str) -> DivergedError:
        self.diverged = DivergedError(
            f"The agent asked for {wanted} where its earlier attempt had {found}."
        )
        return self.diverged


def children_of(run: str, events: Iterable[ev.Event]) -> list[CommittedChild]:
    """The children that a run has started, in order."""
    children: dict[str, CommittedChild] = {}
    for event in events:
        if not isinstance(event, ev.RunChild) or event.run != run:
            continue
        if event.status == "started":
            started = CommittedChild(event.child_session, event.child_run, event.agent)
            children[event.child_run] = started
        elif event.child_run in children:
            children[event.child_run].status = event.status
    return list(children.values())


def _names(names: Iterable[str]) -> str:
    return "calls of " + ", ".join(names)
