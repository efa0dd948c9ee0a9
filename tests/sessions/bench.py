"""One session on a bench: decided and folded without a broker, by a clock and ids of its own.

Every decision is made twice on copies of the session, must come out the same, and leaves the
session as it was when it is refused. Ids count per prefix (`m_1`, `m_2`, `r_1` …) as in the
protocol's examples.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from gateway.auth import Grant
from gateway.sessions import inputs
from gateway.sessions.by_time import next_deadline
from gateway.sessions.decide import decide_command, decide_step, decide_tick
from gateway.sessions.draft import Decision, Origin, RuleBrokenError, Rules
from gateway.sessions.session import Session, copy, new_session, to_snapshot
from protocol import commands as cmd
from protocol import events as ev
from protocol.errors import ProtocolError
from protocol.values import ErrorInfo, Principal, Tool, time_seconds, time_text

MIDNIGHT = "2026-01-01T00:00:00.000Z"
E = TypeVar("E", bound=Exception)
OWNER = "local:dev"
DEV = Grant(Principal("local", "dev"), "full")

READ = Tool("read_heading", {"type": "object"}, idempotent=True)
WRITE = Tool("scan_page", {"type": "object"})
ASK = Tool("rename_page", {"type": "object"}, approval=True)


class ManualClock:
    """Seconds since the epoch that pass when the test says so."""

    def __init__(self, start: str = MIDNIGHT) -> None:
        self.now = time_seconds(start)

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


class CountedIds:
    """`new_id` that counts per prefix."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __call__(self, prefix: str) -> str:
        self.counts[prefix] += 1
        return f"{prefix}_{self.counts[prefix]}"


def origin(client: str = "tab_A", subject: str = "dev") -> Origin:
    return Origin(Grant(Principal("local", subject), "full"), client)


def e(type_: str, **fields: Any) -> dict[str, Any]:
    """An expected event without its time."""
    return {"type": type_, **fields}


def text(content: str) -> list[dict[str, Any]]:
    """The parts of a plain text message, on the wire."""
    return [{"kind": "text", "text": content}]


def wire(events: list[ev.Event]) -> list[dict[str, Any]]:
    """Events as they go out, without their times."""
    shown = [msgspec.to_builtins(event) for event in events]
    for one in shown:
        del one["time"]
    return shown


class Bench:
    """A session, what happened in it, and the time."""

    def __init__(self, *tools: Tool, rules: Rules | None = None, ttl_s: float = 86_400) -> None:
        self.clock = ManualClock()
        self.ids = CountedIds()
        self.rules = rules or Rules(run_ttl_s=ttl_s)
        self.session: Session = new_session("s_1", "e_1", OWNER)
        # the log, an append each
        self.appends: list[list[ev.Event]] = []
        self.tools = list(tools)
        self.fold(ev.SessionCreated(time=self.time, agent="scripted", tools=self.tools or None))

    # --- looking

    @property
    def time(self) -> str:
        return time_text(self.clock())

    @property
    def state(self) -> Any:
        return self.session.state

    @property
    def log(self) -> list[ev.Event]:
        return [event for append in self.appends for event in append]

    @property
    def deadline(self) -> float | None:
        return next_deadline(self.session, self.rules)

    def at(self, clock: str) -> None:
        """Sets the time, as `00:01:15.020` or with a day, `2T00:00:08.000`."""
        day, _, time = clock.rpartition("T")
        self.clock.now = time_seconds(f"2026-01-{int(day or 1):02d}T{time}Z")

    # --- deciding

    def fold(self, *events: ev.Event) -> None:
        """What somebody else stored."""
        for event in events:
            self.session.apply(event, self.session.state.seq + 1)
        self.appends.append(list(events))

    def _decide(self, decide: Callable[[Session, CountedIds], Decision]) -> Decision:
        before = to_snapshot(self.session)
        twins = copy(self.session), copy(self.session)
        counts = self.ids.counts.copy()
        try:
            first = decide(twins[0], self.ids)
        except ProtocolError:
            if twins[0].state.seq == self.session.state.seq:  # a store keeps such a copy
                assert to_snapshot(twins[0]) == before
            raise
        after, self.ids.counts = self.ids.counts, counts
        assert decide(twins[1], self.ids) == first, "a decision depends on nothing else"
        assert self.ids.counts == after
        assert to_snapshot(self.session) == before
        self.session = twins[0]
        if first.events:
            self.appends.append(first.events)
        assert self.session.state.seq == len(self.log)
        control = [event for event in self.log if isinstance(event, ev.ControlEvent)]
        assert self.session.version == len(control)
        return first

    def command(
        self, command: cmd.DecidedCommand, client: str = "tab_A", subject: str = "dev"
    ) -> Decision:
        who = origin(client, subject)
        return self._decide(
            lambda session, ids: decide_command(
                session, command, who, now=self.clock(), new_id=ids, rules=self.rules
            )
        )

    def step(self, step: inputs.AnyStep) -> Decision:
        return self._decide(
            lambda session, ids: decide_step(
                session, step, now=self.clock(), new_id=ids, rules=self.rules
            )
        )

    def tick(self) -> Decision:
        return self._decide(
            lambda session, ids: decide_tick(
                session, now=self.clock(), new_id=ids, rules=self.rules
            )
        )

    def refused(
        self, command: cmd.DecidedCommand, client: str = "tab_A", subject: str = "dev"
    ) -> str:
        """The code a command is refused with; nothing has changed then."""
        return self._unchanged(lambda: self.command(command, client, subject), ProtocolError).code

    def broken(self, step: inputs.AnyStep) -> str:
        """The text of the rule that a step would break; nothing has changed then."""
        return str(self._unchanged(lambda: self.step(step), RuleBrokenError))

    def _unchanged(self, act: Callable[[], object], kind: type[E]) -> E:
        before, appends = to_snapshot(self.session), len(self.appends)
        counts = self.ids.counts.copy()
        try:
            act()
        except kind as error:
            self.ids.counts = counts
            assert to_snapshot(self.session) == before
            assert len(self.appends) == appends
            return error
        raise AssertionError("it was not refused")

    # --- the usual

    def send(self, content: str = "Hi", *, client: str = "tab_A", **fields: Any) -> Decision:
        command = cmd.MessageSend(id=self.ids("k"), session="s_1", content=content, **fields)
        return self.command(command, client)

    def send_refused(self, content: str = "Hi", **fields: Any) -> str:
        return self.refused(
            cmd.MessageSend(id=self.ids("k"), session="s_1", content=content, **fields)
        )

    def run_start(self, **fields: Any) -> Decision:
        return self.command(cmd.RunStart(id=self.ids("k"), session="s_1", **fields))

    def interrupt(self, run: str | None = None, reason: str | None = None) -> Decision:
        return self.command(
            cmd.RunInterrupt(id=self.ids("k"), session="s_1", run=run, reason=reason)
        )

    def interrupt_refused(self, run: str | None = None) -> str:
        return self.refused(cmd.RunInterrupt(id=self.ids("k"), session="s_1", run=run))

    def claim(self, call: str, client: str = "tab_A", **fields: Any) -> Decision:
        return self.command(self.claiming(call, **fields), client)

    def claiming(self, call: str, **fields: Any) -> cmd.ToolClaim:
        return cmd.ToolClaim(id=self.ids("k"), session="s_1", call=call, **fields)

    def renewing(self, call: str, **fields: Any) -> cmd.ToolRenew:
        return cmd.ToolRenew(id=self.ids("k"), session="s_1", call=call, **fields)

    def resulting(self, call: str, **fields: Any) -> cmd.ToolResult:
        return cmd.ToolResult(id=self.ids("k"), session="s_1", call=call, **fields)

    def result(self, call: str, client: str = "tab_A", **fields: Any) -> Decision:
        return self.command(self.resulting(call, **fields), client)

    def responding(self, approval: str, decision: Any, **fields: Any) -> cmd.ApprovalRespond:
        return cmd.ApprovalRespond(
            id=self.ids("k"), session="s_1", approval=approval, decision=decision, **fields
        )

    def respond(self, approval: str, decision: Any, **fields: Any) -> Decision:
        return self.command(self.responding(approval, decision, **fields))

    def claim_run(self, resume: inputs.Resume = "replay", *, lost: bool = False) -> Decision:
        return self.step(inputs.ClaimRun(resume=resume, lost=lost))

    def running(self, content: str = "Hi", **fields: Any) -> str:
        """A run that has just started."""
        self.send(content, **fields)
        run = self.claim_run().ok["run"]
        assert isinstance(run, str)
        return run

    def message(self, **fields: Any) -> str:
        """An open message of the live run."""
        message = self.ids("m")
        self.step(inputs.StartMessage(message=message, **fields))
        return message

    def end_message(self, message: str, **fields: Any) -> Decision:
        return self.step(inputs.EndMessage(message=message, **fields))

    def say(self, message: str, delta: str, *, part: int = 0, kind: Any = "text") -> None:
        self.fold(
            ev.MessageDelta(time=self.time, message=message, part=part, kind=kind, delta=delta)
        )

    def call(self, name: str, arguments: Any = None, **fields: Any) -> str:
        """A call outside a model step, in a message of its own."""
        self.calls((name, arguments), **fields)
        return f"c_{self.ids.counts['c']}"

    def calls(self, *wanted: tuple[str, Any], target: Any = "client", **fields: Any) -> Decision:
        requests = [
            inputs.CallRequest(
                call=self.ids("c"), name=name, arguments=arguments, target=target, **fields
            )
            for name, arguments in wanted
        ]
        return self.step(inputs.RequestCalls(message=self.ids("m"), calls=requests))

    def ask(self, title: str = "Sure?", arguments: Any = None) -> str:
        approval = self.ids("ap")
        self.step(inputs.AskApproval(approval=approval, title=title, arguments=arguments))
        return approval

    def complete(self, **fields: Any) -> Decision:
        return self.step(inputs.CompleteRun(**fields))

    def fail(self, code: str = "agent.failed") -> Decision:
        return self.step(inputs.FailRun(error=ErrorInfo(code, "It failed.")))
