"""The decider under random commands, steps, losses and time: what must hold whatever happens.

`LifeOfASession` plays clients, one worker at a time, timers and the broker's schedule. The rules of
the log are checked by `history`, wake-ups and deadlines here.
"""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.sessions import inputs
from gateway.sessions.by_time import next_deadline
from gateway.sessions.decide import decide_tick
from gateway.sessions.draft import Decision, RuleBrokenError
from gateway.sessions.session import copy, from_snapshot, new_session, to_snapshot
from protocol import commands as cmd
from protocol import events as ev
from protocol.errors import ProtocolError
from protocol.state import fold
from protocol.values import ErrorInfo, Tool
from tests.sessions.bench import OWNER, Bench
from tests.sessions.history import History

TOOLS = [
    Tool("read", {}, idempotent=True),
    Tool("write", {}, lease_ms=700),
    Tool("ask", {}, approval=True, timeout_ms=2000),
]
NAMES = ["read", "write", "ask", "unknown"]
TABS = ["tab_A", "tab_B", ""]
IF_BUSY = ["reject", "enqueue", "steer", "interrupt"]
ERROR = ErrorInfo("tool.failed", "x")
TTL_S = 200.0


class LifeOfASession(RuleBasedStateMachine):
    """One session and everybody around it."""

    @initialize()
    def create(self) -> None:
        self.bench = Bench(*TOOLS, ttl_s=TTL_S)
        self.history = History()
        self.checked = 0
        # the broker's schedule
        self.claimable_at: float | None = None
        self.timer: float | None = None
        self.held = False
        self.lost = False
        # what a parked run waits for
        self.parked: set[str] = set()

    # --- the broker's part

    def apply(self, decision: Decision) -> None:
        if not decision.events:
            return
        if decision.raise_fence:
            self.held = self.lost = False
            self.claimable_at = None
        if decision.claimable_at is not None and not self.held:
            assert decision.claimable_at <= self.bench.clock()
            self.claimable_at = decision.claimable_at
        self.timer = self.bench.deadline
        ends = (ev.RunCompleted, ev.RunFailed, ev.RunCancelled)
        ended = [x.run for x in decision.events if isinstance(x, ends)]
        assert len(set(ended)) == len(ended)
        live = self.bench.state.live_run
        if decision.raise_fence:
            assert live is None, "the fence is raised where a run ends"
        for run in ended:
            after = decision.events[[getattr(x, "run", None) for x in decision.events].index(run) :]
            last = max(i for i, x in enumerate(after) if getattr(x, "run", None) == run)
            assert isinstance(after[last], ends), "the end event is the run's last"

    def command(self, command: cmd.DecidedCommand, tab: str = "tab_A") -> None:
        try:
            decision = self.bench.command(command, tab)
        except ProtocolError:
            return
        self.apply(decision)

    def step(self, step: inputs.AnyStep) -> Decision | None:
        try:
            decision = self.bench.step(step)
        except RuleBrokenError:
            return None
        self.apply(decision)
        return decision

    def pick(self, data: st.DataObject, names: Any, other: str) -> str:
        return data.draw(st.sampled_from([*list(names)[-4:], other]))

    # --- clients

    @rule(
        tab=st.sampled_from(TABS),
        if_busy=st.sampled_from(IF_BUSY),
        start=st.sampled_from([True, True, True, False]),
        after=st.booleans(),
        data=st.data(),
    )
    def send(self, tab: str, if_busy: Any, start: bool, after: bool, data: st.DataObject) -> None:
        names = [m.id for m in self.bench.state.messages]
        command = cmd.MessageSend(
            id="k",
            session="s_1",
            content="x",
            if_busy=if_busy,
            start=start,
            after=self.pick(data, names, "m_none") if after and names else None,
        )
        self.command(command, tab)

    @rule(if_busy=st.sampled_from(IF_BUSY), data=st.data(), after=st.booleans())
    def run_start(self, if_busy: Any, data: st.DataObject, after: bool) -> None:
        names = [m.id for m in self.bench.state.messages]
        kept = self.pick(data, names, "m_none") if after and names else None
        self.command(cmd.RunStart(id="k", session="s_1", if_busy=if_busy, after=kept, input=1))

    @rule(data=st.data())
    def interrupt(self, data: st.DataObject) -> None:
        runs = [*self.history.runs]
        run = data.draw(st.sampled_from([None, *runs[-3:]]))
        self.command(cmd.RunInterrupt(id="k", session="s_1", run=run))

    @rule(
        kind=st.sampled_from(["claim", "renew", "result"]),
        tab=st.sampled_from(TABS),
        data=st.data(),
    )
    def tab(self, kind: str, tab: str, data: st.DataObject) -> None:
        call = self.pick(data, self.bench.state.calls, "c_none")
        bench = self.bench
        command: cmd.DecidedCommand = {
            "claim": bench.claiming,
            "renew": bench.renewing,
            "result": bench.resulting,
        }[kind](call)
        self.command(command, tab)

    @rule(decision=st.sampled_from(["approve", "deny"]), remember=st.booleans(), data=st.data())
    def respond(self, decision: Any, remember: bool, data: st.DataObject) -> None:
        approval = self.pick(data, self.bench.state.approvals, "ap_none")
        self.command(self.bench.responding(approval, decision, remember=remember))

    @rule(value=st.integers(0, 2))
    def update(self, value: int) -> None:
        self.command(cmd.SessionUpdate(id="k", session="s_1", metadata={"v": value or None}))

    # --- the worker

    @precondition(lambda self: not self.held and (self.claimable_at is not None or self.lost))
    @rule(resume=st.sampled_from(["replay", "history", "history", "none"]))
    def claim(self, resume: Any) -> None:
        lost, self.lost = self.lost, False
        self.held, self.claimable_at = True, None
        live = self.bench.state.live_run
        decision = self.step(inputs.ClaimRun(resume=resume, lost=lost))
        assert decision is not None, "a claim breaks no rule"
        assert decision.events, "what was claimable had something to run"
        if live is None:
            assert self.bench.state.live_run is not None

    @precondition(lambda self: self.held)
    @rule()
    def lose_the_worker(self) -> None:
        self.held, self.lost = False, True

    @precondition(
        lambda self: (
            self.held
            and self.bench.state.live_run is not None
            and self.bench.state.live_run.status == "waiting"
        )
    )
    @rule()
    def park(self) -> None:
        self.held = False
        self.parked = set(self.bench.state.run.on)

    @precondition(lambda self: self.held and self.bench.state.live_run is not None)
    @rule(data=st.data())
    def start_message(self, data: st.DataObject) -> None:
        read = data.draw(st.lists(st.sampled_from([*self.bench.session.ledger.unread, "m_none"])))
        self.step(inputs.StartMessage(message=self.bench.ids("m"), read=read))

    @precondition(lambda self: self.held and self.history.open)
    @rule(name=st.sampled_from(NAMES), where=st.sampled_from(["client", "server"]))
    def start_call(self, name: str, where: Any) -> None:
        part = len(self.bench.state.messages[-1].parts)
        self.step(inputs.StartCall(call=self.bench.ids("c"), part=part, name=name, target=where))

    @precondition(lambda self: self.held and self.history.open)
    @rule(status=st.sampled_from(["complete", "complete", "failed"]), data=st.data())
    def end_message(self, status: Any, data: st.DataObject) -> None:
        (message,) = self.history.open
        mine = {k: c for k, c in self.bench.state.calls.items() if c.message == message}
        bad = data.draw(st.sets(st.sampled_from([*mine, "c_none"]), max_size=2))
        whole = data.draw(st.lists(st.sampled_from([*mine]), unique=True)) if mine else []
        whole = [*mine] if data.draw(st.booleans()) else whole
        if data.draw(st.integers(0, 9)):
            bad -= {"c_none"}
        decision = self.step(
            inputs.EndMessage(
                message=message,
                status=status,
                calls=[
                    inputs.CallRequest(
                        call=c,
                        name=mine[c].name,
                        arguments={},
                        target=mine[c].target,
                        approval=mine[c].name == "ask",
                    )
                    for c in whole
                ],
                invalid=dict.fromkeys(bad, ERROR),
            )
        )
        unsettled = mine.keys() - {*whole} - bad
        right = "c_none" not in bad and (status == "failed" or not unsettled)
        assert (decision is not None) is right

    @precondition(lambda self: self.held and self.bench.state.live_run is not None)
    @rule(
        names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3),
        where=st.sampled_from(["client", "client", "server"]),
    )
    def call_tools(self, names: list[str], where: Any) -> None:
        requests = [
            inputs.CallRequest(
                call=self.bench.ids("c"), name=n, arguments={}, target=where, approval=n == "ask"
            )
            for n in names
        ]
        self.step(inputs.RequestCalls(message=self.bench.ids("m"), calls=requests))

    @precondition(lambda self: self.held and self.bench.state.live_run is not None)
    @rule(data=st.data())
    def server_result(self, data: st.DataObject) -> None:
        self.step(inputs.ServerResult(call=self.pick(data, self.bench.state.calls, "c_none")))

    @precondition(lambda self: self.held and self.bench.state.live_run is not None)
    @rule()
    def ask(self) -> None:
        self.step(inputs.AskApproval(approval=self.bench.ids("ap"), title="?"))

    @precondition(lambda self: self.held and self.bench.state.live_run is not None)
    @rule(status=st.sampled_from(["started", "completed", "cancelled"]), child=st.integers(1, 3))
    def child(self, status: Any, child: int) -> None:
        run = f"r_child_{child}"
        self.step(
            inputs.ChildStep(child_session=f"s_{run}", child_run=run, agent="a", status=status)
        )

    @precondition(lambda self: self.held and self.bench.state.live_run is not None)
    @rule(failed=st.booleans())
    def end(self, failed: bool) -> None:
        decision = self.step(inputs.FailRun(error=ERROR) if failed else inputs.CompleteRun())
        assert decision is not None
        assert decision.raise_fence

    @precondition(lambda self: self.held and self.history.open)
    @rule()
    def stream(self) -> None:
        (message,) = self.history.open
        self.bench.say(message, "x")

    @precondition(lambda self: not self.held)
    @rule(data=st.data())
    def a_step_without_a_run_is_refused(self, data: st.DataObject) -> None:
        if self.bench.state.live_run is None:
            self.bench.broken(inputs.StartMessage(message="m_none"))

    # --- time

    @rule(seconds=st.sampled_from([0.001, 0.7, 1.3, 5, 14.999, 15, 60, TTL_S]))
    def time_passes(self, seconds: float) -> None:
        self.bench.clock.pass_(seconds)

    @rule()
    def tick(self) -> None:
        self.apply(self.bench.tick())

    @precondition(lambda self: self.timer is not None)
    @rule()
    def timer_fires(self) -> None:
        assert self.timer is not None
        self.bench.clock.now = max(self.bench.clock(), self.timer)
        self.apply(self.bench.tick())

    # --- storing

    @rule()
    def another_replica_loads(self) -> None:
        session = self.bench.session
        again = from_snapshot(to_snapshot(session), OWNER)
        again.fence, again.snapshot_seq = session.fence, session.snapshot_seq
        assert again == session
        self.bench.session = again

    # --- what holds

    @invariant()
    def the_log_keeps_the_rules_and_the_state_agrees(self) -> None:
        self.history.check(self.bench.appends[self.checked :])
        self.checked = len(self.bench.appends)
        state = self.bench.state
        assert ([] if state.live_run is None else [state.live_run.id]) == self.history.live
        assert [r.id for r in state.queue] == [
            run for run, status in self.history.runs.items() if status == "queued"
        ]
        assert {m.id for m in state.messages if m.status == "open"} == self.history.open.keys()
        waits = state.live_run is not None and state.live_run.status == "waiting"
        assert waits == (self.history.waiting is not None)
        if waits:
            assert set(state.run.on) == self.history.open_things

    @invariant()
    def a_message_that_waits_is_invisible(self) -> None:
        for run in self.bench.state.queue:
            if run.content is not None:
                assert self.bench.state.message(run.trigger) is None

    @invariant()
    def steering_is_read_or_gets_a_run(self) -> None:
        state = self.bench.state
        if state.live_run is None and not state.queue:
            assert self.bench.session.ledger.unread == []

    @invariant()
    def no_wake_up_is_lost(self) -> None:
        state = self.bench.state
        if self.held or self.lost:
            return
        if state.live_run is None:
            assert bool(state.queue) == (self.claimable_at is not None)
        elif state.live_run.status != "waiting" or not self.parked <= set(state.live_run.on):
            assert self.claimable_at is not None, "something moved while it was parked"

    @invariant()
    def deadlines_are_neither_early_nor_late(self) -> None:
        now = self.bench.clock()
        due = next_deadline(self.bench.session, self.bench.rules, orphans=False)
        if due is None:
            moments = [now, now + 10 * TTL_S]
            assert not any(self.would_tick(at) for at in moments)
            return
        assert self.would_tick(max(now, due)), "a due deadline moves something"
        if due - 0.001 >= now:
            assert not self.would_tick(due - 0.001)

    def would_tick(self, at: float) -> bool:
        twin = copy(self.bench.session)
        ids = iter(range(1000))
        tick = decide_tick(
            twin, now=at, new_id=lambda p: f"{p}_x{next(ids)}", rules=self.bench.rules
        )
        return bool(tick.events)

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        log = self.bench.log
        fresh = new_session("s_1", "e_1", OWNER)
        assert fold(fresh.state, enumerate(log, 1)) == self.bench.state
        again = new_session("s_1", "e_1", OWNER)
        for seq, event in enumerate(log, 1):
            again.apply(event, seq)
        assert again == self.bench.session


TestLifeOfASession = LifeOfASession.TestCase
