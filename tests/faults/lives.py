"""I6, as far as a log shows it: runs, messages, calls and approvals live once and end once.

The fence itself is not stored with the events; what an old fence would let through is: an event
of a run after its end, a delta into a message that is closed, an attempt that is not a later one,
two holders of one call.
"""

from dataclasses import dataclass, field

from tests.faults.record import Frame, Log, Violation

RUN_ENDS = frozenset({"run.completed", "run.failed", "run.cancelled"})
# The parent is told of a child's end whenever that comes.
AFTER_THE_END = frozenset({"run.child"})


@dataclass
class Lives:
    """What has begun and ended in one session so far."""

    log: Log
    found: list[Violation] = field(default_factory=list[Violation])
    # run -> its attempt; absent before run.started
    attempts: dict[str, int] = field(default_factory=dict[str, int])
    ended: dict[str, str] = field(default_factory=dict[str, str])  # run -> the event
    queued: set[str] = field(default_factory=set[str])
    messages: dict[str, str] = field(default_factory=dict[str, str])  # message -> run
    closed: dict[str, str] = field(default_factory=dict[str, str])  # message -> status
    calls: dict[str, str] = field(default_factory=dict[str, str])  # call -> run
    completed: set[str] = field(default_factory=set[str])  # calls
    holders: dict[str, str] = field(default_factory=dict[str, str])  # call -> client
    resolved: set[str] = field(default_factory=set[str])  # approvals

    def judge(self) -> list[Violation]:
        """Every violation in this log."""
        for seq, event in self.log.events():
            run = self._run_of(event)
            kind = event["type"]
            if run in self.ended and kind not in AFTER_THE_END:
                self._broken(seq, f"{kind} of {run} after its {self.ended[run]}")
            if kind.startswith("run."):
                self._run(seq, kind, event)
            elif kind.startswith("message."):
                self._message(seq, kind, event)
            elif kind.startswith("tool_call."):
                self._call(seq, kind, event)
            elif kind == "approval.resolved":
                if event["approval"] in self.resolved:
                    self._broken(seq, f"{event['approval']} is resolved twice")
                self.resolved.add(event["approval"])
        return self.found

    def _broken(self, seq: int, text: str) -> None:
        where = f"in {self.log.session} at seq {seq}"
        self.found.append(Violation("I6", where, text))

    def _run_of(self, event: Frame) -> str | None:
        """The run an event belongs to, by its own word or its message's or call's."""
        run = event.get("run")
        if run is None and event["type"] != "message.added":
            run = self.messages.get(event.get("message", "")) or self.calls.get(
                event.get("call", "")
            )
        return run

    def _run(self, seq: int, kind: str, event: Frame) -> None:
        run = event["run"]
        if kind == "run.queued":
            if run in self.queued:
                self._broken(seq, f"{run} is queued twice")
            self.queued.add(run)
        elif kind == "run.started":
            if run in self.attempts:
                self._broken(seq, f"{run} is started twice")
            self.attempts[run] = 1
        elif kind in ("run.retrying", "run.resumed"):
            before = self.attempts.get(run, 0)
            if event["attempt"] != before + 1:
                self._broken(seq, f"attempt {event['attempt']} of {run} after {before}")
            self.attempts[run] = event["attempt"]
        elif kind in RUN_ENDS:
            self._end(seq, kind, run)

    def _end(self, seq: int, kind: str, run: str) -> None:
        self.ended[run] = kind
        left = [m for m, of in self.messages.items() if of == run and m not in self.closed]
        left += [c for c, of in self.calls.items() if of == run and c not in self.completed]
        if left:
            self._broken(seq, f"{kind} of {run} leaves {', '.join(left)} open")

    def _message(self, seq: int, kind: str, event: Frame) -> None:
        message = event["message"]
        if kind in ("message.added", "message.started"):
            if message in self.messages:
                self._broken(seq, f"{message} begins twice")
            self.messages[message] = event.get("run", "")
            if kind == "message.added":
                self.closed[message] = "complete"
            return
        if message in self.closed:
            self._broken(seq, f"{kind} of {message}, which is {self.closed[message]}")
        elif message not in self.messages:
            self._broken(seq, f"{kind} of {message}, which never began")
        if kind == "message.completed":
            self.closed[message] = event["status"]

    def _call(self, seq: int, kind: str, event: Frame) -> None:
        call = event["call"]
        if kind == "tool_call.started":
            if call in self.calls:
                self._broken(seq, f"{call} begins twice")
            self.calls[call] = self.messages.get(event["message"], "")
        elif call in self.completed:
            self._broken(seq, f"{kind} of {call}, which is completed")
        if kind == "tool_call.completed":
            self.completed.add(call)
        elif kind == "tool_call.released":
            self.holders.pop(call, None)
        elif kind == "tool_call.claimed":
            holder = self.holders.setdefault(call, event["client"])
            if holder != event["client"]:
                self._broken(seq, f"{event['client']} claims {call}, which {holder} holds")
