"""The rules of docs/protocol.md as a checker that reads a log append by append.

It keeps books of its own and shares no code with the fold or the decider, so that a mistake there
is not repeated here. Use it as `History().check(appends)`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import singledispatchmethod

from protocol import events as ev


@dataclass
class _Call:
    run: str
    message: str
    target: str
    status: str = "started"


@dataclass
class History:
    """What is known after the appends so far."""

    queued: dict[str, ev.RunQueued] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)  # run -> queued, live, ended
    attempts: dict[str, int] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)  # message -> its run, "" of users
    open: dict[str, str] = field(default_factory=dict)  # open message -> run
    calls: dict[str, _Call] = field(default_factory=dict)
    approvals: dict[str, tuple[str, str]] = field(default_factory=dict)  # open -> run, call
    approved: set[str] = field(default_factory=set)
    resolved: set[str] = field(default_factory=set)
    children: dict[str, str] = field(default_factory=dict)
    waiting: set[str] | None = None
    ended_now: str | None = None

    def check(self, appends: Iterable[Sequence[ev.Event]]) -> "History":
        for append in appends:
            for event in append:
                self.see(event)
            self._at_rest()
        return self

    @property
    def live(self) -> list[str]:
        return [run for run, status in self.runs.items() if status == "live"]

    @property
    def open_things(self) -> set[str]:
        calls = {
            k
            for k, c in self.calls.items()
            if c.target == "client" and c.status in ("requested", "claimed")
        }
        return calls | self.approvals.keys()

    def _alive(self, run: str) -> None:
        assert self.runs.get(run) == "live", f"{run} is {self.runs.get(run)}"

    def _at_rest(self) -> None:
        """What holds between appends."""
        assert len(self.live) <= 1
        for message, run in self.open.items():
            assert self.runs[run] == "live", f"{message} stayed open"
        for name, call in self.calls.items():
            if call.status != "completed":
                assert self.runs[call.run] == "live", f"{name} stayed open"
        for approval, (run, _) in self.approvals.items():
            assert self.runs[run] == "live", f"{approval} stayed open"
        if self.waiting is not None:
            assert self.waiting == self.open_things
            assert not self.open, "who writes a message does not wait"

    @singledispatchmethod
    def see(self, event: ev.Event) -> None:
        """Events without a rule."""

    @see.register
    def _(self, e: ev.RunQueued) -> None:
        assert e.run not in self.runs
        self.runs[e.run] = "queued"
        self.queued[e.run] = e
        if e.content is not None:
            assert e.trigger is not None
            assert e.trigger not in self.messages
        elif e.trigger is not None:
            assert e.trigger in self.messages

    @see.register
    def _(self, e: ev.RunStarted) -> None:
        assert not self.live
        assert self.runs[e.run] == "queued"
        assert next(r for r, s in self.runs.items() if s == "queued") == e.run, "first come"
        trigger = self.queued[e.run].trigger
        assert trigger is None or trigger in self.messages, "its message comes before it"
        self.runs[e.run], self.attempts[e.run] = "live", 1

    @see.register(ev.RunRetrying)
    @see.register(ev.RunResumed)
    def _(self, e: ev.RunRetrying | ev.RunResumed) -> None:
        self._alive(e.run)
        self.attempts[e.run] += 1
        assert e.attempt == self.attempts[e.run]
        self.waiting = None

    @see.register
    def _(self, e: ev.RunWaiting) -> None:
        self._alive(e.run)
        assert e.on
        assert set(e.on) == self.open_things
        assert len(set(e.on)) == len(e.on)
        busy = [c for c in self.calls.values() if c.target == "server" and c.status == "requested"]
        assert not busy
        assert not [r for r in self.children.values() if r == e.run]
        self.waiting = set(e.on)

    @see.register(ev.RunCompleted)
    @see.register(ev.RunFailed)
    @see.register(ev.RunCancelled)
    def _(self, e: ev.RunCompleted | ev.RunFailed | ev.RunCancelled) -> None:
        assert self.runs[e.run] in ("queued", "live")
        if self.runs[e.run] == "live":
            assert e.run not in self.open.values()
            assert not [
                c for c in self.calls.values() if c.run == e.run and c.status != "completed"
            ]
            assert not [a for a, (run, _) in self.approvals.items() if run == e.run]
            self.waiting = None
        self.children = {k: r for k, r in self.children.items() if r != e.run}
        self.runs[e.run] = "ended"

    @see.register
    def _(self, e: ev.RunChild) -> None:
        self._alive(e.run)
        if e.status == "started":
            self.children[e.child_run] = e.run
            self.waiting = None
        else:
            self.children.pop(e.child_run, None)

    @see.register
    def _(self, e: ev.MessageAdded) -> None:
        assert e.message not in self.messages
        self.messages[e.message] = ""

    @see.register
    def _(self, e: ev.MessageStarted) -> None:
        self._alive(e.run)
        assert e.message not in self.messages
        assert e.run not in self.open.values(), "one at a time"
        assert all(m in self.messages for m in e.read or ())
        self.messages[e.message] = self.open[e.message] = e.run
        self.waiting = None

    @see.register
    def _(self, e: ev.MessageCompleted) -> None:
        self._alive(self.open.pop(e.message))
        if e.status == "discarded":
            self.calls = {k: c for k, c in self.calls.items() if c.message != e.message}
            del self.messages[e.message]

    @see.register
    def _(self, e: ev.SessionRewound) -> None:
        assert not self.live
        assert "queued" not in self.runs.values()
        names = list(self.messages)
        for gone in names[names.index(e.after) + 1 :]:
            del self.messages[gone]

    @see.register
    def _(self, e: ev.ToolCallStarted) -> None:
        assert e.call not in self.calls
        self.calls[e.call] = _Call(self.open[e.message], e.message, e.target)

    @see.register
    def _(self, e: ev.ToolCallRequested) -> None:
        self._alive(e.run)
        call = self.calls[e.call]
        assert call.status == "started", "it comes once"
        assert call.message not in self.open
        assert (e.run, e.message, e.target) == (call.run, call.message, call.target)
        asked = {c for _, c in self.approvals.values()}
        assert e.call not in asked, "consent first"
        call.status = "requested"
        if e.target == "server":
            self.waiting = None

    @see.register
    def _(self, e: ev.ToolCallClaimed) -> None:
        call = self.calls[e.call]
        self._alive(call.run)
        assert call.status in ("requested", "claimed")
        call.status = "claimed"

    @see.register
    def _(self, e: ev.ToolCallReleased) -> None:
        call = self.calls[e.call]
        self._alive(call.run)
        assert call.status == ("claimed" if e.reason == "lease_expired" else "requested")
        call.status = "requested"

    @see.register
    def _(self, e: ev.ToolCallCompleted) -> None:
        call = self.calls[e.call]
        self._alive(call.run)
        assert call.status != "completed", "one result"
        call.status = "completed"
        self._less(e.call)

    @see.register
    def _(self, e: ev.ApprovalRequested) -> None:
        self._alive(e.run)
        assert e.approval not in self.approvals
        assert e.approval not in self.resolved
        self.approvals[e.approval] = (e.run, e.call or "")

    @see.register
    def _(self, e: ev.ApprovalResolved) -> None:
        self._alive(self.approvals.pop(e.approval)[0])
        self.resolved.add(e.approval)
        self._less(e.approval)

    def _less(self, thing: str) -> None:
        if self.waiting is not None:
            self.waiting -= {thing}
            self.waiting = self.waiting or None

    @see.register(ev.RunActivity)
    @see.register(ev.RunOutput)
    def _(self, e: ev.RunActivity | ev.RunOutput) -> None:
        assert self.runs[e.run] != "ended"

    @see.register
    def _(self, e: ev.MessageDelta) -> None:
        assert e.message in self.open

    @see.register
    def _(self, e: ev.ToolCallProgress) -> None:
        assert self.calls[e.call].status == "claimed"
