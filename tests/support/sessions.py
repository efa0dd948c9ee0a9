"""A Hypothesis strategy of whole sessions: `plausible()` draws a log that keeps the rules.

What must not leave the server at a detail carries a `secret`, so that a test can look for it in
whatever left. Logs that keep no rule are `soups()` of `tests.support.values`.
"""

import re
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from protocol import events as ev
from protocol.values import (
    CommentaryPart,
    DataPart,
    ErrorInfo,
    FilePart,
    Part,
    SourcePart,
    TextPart,
    ThinkingPart,
    Tool,
    Usage,
    time_text,
)

Log = list[tuple[int, ev.Event]]
ANSWER, STEPS, FULL, NEVER = 0, 1, 2, 3
CLIENT_TOOLS = ("pick", "scan")
SERVER_TOOLS = ("fetch", "weigh")
_SECRET = re.compile(r"secret\((\d),(\w*)\)")
_KINDS = {"text": ANSWER, "commentary": STEPS, "thinking": FULL}
_PARTS = {"text": TextPart, "commentary": CommentaryPart, "thinking": ThinkingPart}


def secret(level: int, tool: str = "") -> str:
    """A text that only details from `level` on may see, or who declared the client tool."""
    return f"secret({level},{tool})"


def secrets(text: str) -> set[tuple[int, str]]:
    """The secrets in a text: level and tool."""
    return {(int(level), tool) for level, tool in _SECRET.findall(text)}


class Producer:
    """Appends what producers may append next; `choose` draws."""

    def __init__(self, choose: Callable[[Any], Any]) -> None:
        self.log: Log = []
        self._choose = choose
        self._ids = 0
        self._live: str | None = None
        self._open: str | None = None  # the message that streams
        self._kinds: list[str] = []  # of the open message's parts
        self._calls: dict[str, tuple[str, str, str]] = {}  # not completed: name, target, status
        self._asked: dict[str, str | None] = {}  # open approvals -> their calls
        self._children = 0
        self._attempt = 0
        self._queue: list[tuple[str, list[Part] | None, str]] = []
        self._messages: list[str] = []
        self._append(ev.SessionCreated, agent="cook", metadata={"title": "t"}, tools=[_tool()])

    def step(self) -> None:
        """One of the appends that are possible now."""
        self._choose(st.sampled_from(self._possible()))()

    def _possible(self) -> list[Callable[[], None]]:
        steps = [self.enqueue]
        if self._live is None:
            steps += [self.update, self.send, self.rewind]
            steps += [self.start] * 4 if self._queue else []
            return steps
        steps += [self.steer, self.aside, self.take_over, self.child, self.end]
        if self._queue:
            steps.append(self.cancel_queued)
        if self._open is None:
            steps += [self.open, self.open, self.call_outside, self.ask, self.resume]
        else:
            steps += [self.delta, self.delta, self.delta, self.part, self.call, self.complete]
        steps += [self.arguments] if any(c[2] == "streaming" for c in self._calls.values()) else []
        steps += [self.tab, self.result, self.result] if self._offered() else []
        steps += [self.answer, self.answer] if self._asked else []
        return steps

    # --- commands

    def update(self) -> None:
        self._append(ev.SessionUpdated, metadata={"n": len(self.log)})

    def send(self) -> None:
        message, run = self._id("m"), self._id("r")
        self._said(message)
        self._append(ev.RunQueued, run=run, client="tab_1", trigger=message)
        self._queue.append((run, None, message))

    def enqueue(self) -> None:
        message, run = self._id("m"), self._id("r")
        content: list[Part] | None = [TextPart("Next"), FilePart("https://x.test/", "a/b")]
        fields: dict[str, Any] = {"trigger": message, "content": content, "by": "mia"}
        if self._choose(st.booleans()):
            content, fields = None, {"input": {"order": secret(FULL)}}
        self._append(ev.RunQueued, run=run, client="tab_1", **fields)
        self._queue.append((run, content, message))

    def start(self) -> None:
        run, content, message = self._queue.pop(0)
        if content is not None:
            self._said(message)
        self._append(ev.RunStarted, run=run)
        self._live, self._attempt = run, 1

    def steer(self) -> None:
        self._said(self._id("m"))

    def cancel_queued(self) -> None:
        run, _, _ = self._queue.pop()
        self._append(ev.RunCancelled, run=run, by="mia")

    def rewind(self) -> None:
        if self._messages:
            at = self._choose(st.integers(0, len(self._messages) - 1))
            del self._messages[at + 1 :]
            self._append(ev.SessionRewound, after=self._messages[at])

    # --- the worker

    def open(self) -> None:
        self._open, self._kinds = self._id("m"), []
        self._messages.append(self._open)
        self._append(ev.MessageStarted, message=self._open, run=self._live)

    def delta(self) -> None:
        kind = self._choose(st.sampled_from(sorted(_KINDS)))
        if not self._kinds or self._kinds[-1] != kind:
            self._kinds.append(kind)
        self._append(
            ev.MessageDelta,
            message=self._open,
            part=len(self._kinds) - 1,
            kind=kind,
            delta=secret(_KINDS[kind]),
        )

    def part(self) -> None:
        part = self._choose(st.sampled_from(_whole_parts()))
        again = self._kinds and self._kinds[-1] in _KINDS and self._choose(st.booleans())
        if not again:
            self._kinds.append("")
        self._kinds[-1] = next((k for k, v in _PARTS.items() if type(part) is v), "")
        self._append(ev.MessagePart, message=self._open, part=len(self._kinds) - 1, content=part)

    def call(self) -> None:
        name, target = self._choose(st.sampled_from(_tools()))
        call = self._id("c")
        self._kinds.append("")
        self._calls[call] = (name, target, "streaming")
        self._append(
            ev.ToolCallStarted,
            message=self._open,
            part=len(self._kinds) - 1,
            call=call,
            name=name,
            target=target,
            provider=self._choose(st.sampled_from([None, {"signature": secret(NEVER)}])),
        )

    def arguments(self) -> None:
        call, (name, target, _) = next(
            (k, c) for k, c in self._calls.items() if c[2] == "streaming"
        )
        self._append(ev.ToolCallDelta, call=call, delta=secret(FULL, _own(name, target)))

    def complete(self) -> None:
        self._completed("complete")
        for call in [k for k, c in self._calls.items() if c[2] == "streaming"]:
            if self._choose(st.booleans()):
                name, target, _ = self._calls[call]
                self._calls[call] = (name, target, "asked")
                self._ask(call, name)
            else:
                self._offer(call)
        self._wait()

    def call_outside(self) -> None:
        self.open()
        self.call()
        self.complete()

    def ask(self) -> None:
        self._ask(None, "May I?")
        self._wait()

    def child(self) -> None:
        ended = self._children > 0 and self._choose(st.booleans())
        self._children += -1 if ended else 1
        if self._open is not None:
            self.complete()
        self._append(
            ev.RunChild,
            run=self._live,
            child_session="s_9",
            child_run="r_9",
            agent=secret(FULL),
            status="completed" if ended else "started",
        )
        self._wait()

    def aside(self) -> None:
        """What a run says about itself."""
        run = self._live
        kind, fields = self._choose(
            st.sampled_from(
                [
                    (ev.RunActivity, {"run": run, "activity": secret(STEPS)}),
                    (ev.RunProgress, {"run": run, "current": 1, "text": secret(STEPS)}),
                    (ev.RunLog, {"run": run, "level": "info", "text": secret(FULL)}),
                    (ev.RunOutput, {"run": run, "output": {"so": "far"}}),
                    (ev.Custom, {"name": "mood", "value": secret(FULL), "keep": True}),
                ]
            )
        )
        self._append(kind, **fields)

    def take_over(self) -> None:
        self._attempt += 1
        self._append(ev.RunRetrying, run=self._live, attempt=self._attempt, reason="worker.lost")
        if self._open is not None:
            self._messages.remove(self._open)
            self._completed("discarded")
            for call in [k for k, c in self._calls.items() if c[2] == "streaming"]:
                del self._calls[call]
        self._wait()

    def resume(self) -> None:
        self._attempt += 1
        self._append(ev.RunResumed, run=self._live, attempt=self._attempt)
        self._wait()

    def end(self) -> None:
        run = self._live
        how = self._choose(st.sampled_from(["completed", "failed", "cancelled"]))
        if self._open is not None:
            self._completed("failed" if how == "failed" else "interrupted")
        for call in list(self._calls):
            self._close(call, error=ErrorInfo("tool.cancelled", "The run was cancelled."))
        for approval in list(self._asked):
            del self._asked[approval]
            self._append(ev.ApprovalResolved, approval=approval, decision="cancelled")
        self._live, self._children = None, 0
        if how == "completed":
            usage = Usage(7, 7)
            self._append(ev.RunCompleted, run=run, output=[1], finish_reason="stop", usage=usage)
        elif how == "failed":
            self._append(ev.RunFailed, run=run, error=ErrorInfo("agent.failed", secret(FULL)))
        else:
            self._append(ev.RunCancelled, run=run, by="mia", reason="enough")

    # --- tabs and people

    def tab(self) -> None:
        call = self._choose(st.sampled_from(self._offered()))
        name, target, status = self._calls[call]
        own = _own(name, target)
        if target == "server":
            self._append(ev.ToolCallProgress, call=call, current=1, text=secret(STEPS, own))
        elif status == "claimed" and self._choose(st.booleans()):
            self._calls[call] = (name, target, "requested")
            self._append(ev.ToolCallReleased, call=call, reason="lease_expired")
        elif status == "requested" and self._choose(st.booleans()):
            self._append(ev.ToolCallReleased, call=call, reason="unclaimed")
        else:
            self._calls[call] = (name, target, "claimed")
            until = time_text(2000.0 + len(self.log))
            self._append(ev.ToolCallClaimed, call=call, client="tab_1", lease_until=until)
            self._append(ev.ToolCallProgress, call=call, text=secret(STEPS, own))

    def result(self) -> None:
        call = self._choose(st.sampled_from(self._offered()))
        own = _own(*self._calls[call][:2])
        if self._choose(st.booleans()):
            self._close(call, error=ErrorInfo("tool.failed", secret(FULL, own)))
        else:
            files = [FilePart(f"https://x.test/{secret(FULL, own)}", "a/b")]
            self._close(call, output={"is": secret(FULL, own)}, files=files)
        self._wait()

    def answer(self) -> None:
        approval = self._choose(st.sampled_from(sorted(self._asked)))
        call = self._asked.pop(approval)
        decision = self._choose(st.sampled_from(["approve", "deny", "expired"]))
        self._append(
            ev.ApprovalResolved,
            approval=approval,
            decision=decision,
            arguments={"edited": 1} if decision == "approve" else None,
            by="mia",
            remember=True if self._choose(st.booleans()) else None,
        )
        if call is not None and decision == "approve":
            self._offer(call)
        elif call is not None:
            self._close(call, error=ErrorInfo("tool.denied", "The call was denied."))
        self._wait()

    # --- pieces

    def _said(self, message: str) -> None:
        self._messages.append(message)
        parts = [TextPart("Hello"), DataPart("n", 1)]
        self._append(ev.MessageAdded, message=message, role="user", parts=parts, by="mia")

    def _completed(self, status: str) -> None:
        message, self._open = self._open, None
        usage = Usage(7, 7) if status == "complete" else None
        self._append(ev.MessageCompleted, message=message, status=status, usage=usage)

    def _offer(self, call: str) -> None:
        name, target, _ = self._calls[call]
        self._calls[call] = (name, target, "requested")
        self._append(
            ev.ToolCallRequested,
            call=call,
            run=self._live,
            message=self._message_of(call),
            name=name,
            arguments={"is": secret(FULL, _own(name, target))},
            target=target,
            deadline=time_text(3000.0),
            client="tab_1" if target == "client" else None,
            lease_ms=15_000 if target == "client" else None,
        )

    def _ask(self, call: str | None, title: str) -> None:
        approval = self._id("ap")
        self._asked[approval] = call
        self._append(
            ev.ApprovalRequested,
            approval=approval,
            run=self._live,
            call=call,
            title=title,
            arguments={"to": "approve"},
            deadline=time_text(4000.0),
        )

    def _close(self, call: str, **outcome: Any) -> None:
        del self._calls[call]
        self._append(ev.ToolCallCompleted, call=call, **outcome)

    def _wait(self) -> None:
        """Says what the run waits for, if nothing else can move it."""
        asked = [c for c in self._asked.values() if c is not None]
        on = [*self._asked, *(k for k in self._calls if k not in asked)]
        moved_by_server = any(self._calls[k][1] == "server" for k in self._calls if k not in asked)
        if on and self._open is None and not moved_by_server and not self._children:
            self._append(ev.RunWaiting, run=self._live, on=on)

    def _offered(self) -> list[str]:
        return [k for k, c in self._calls.items() if c[2] in ("requested", "claimed")]

    def _message_of(self, call: str) -> str:
        started = (e for _, e in self.log if isinstance(e, ev.ToolCallStarted))
        return next(e.message for e in started if e.call == call)

    def _append(self, event: Any, /, **fields: Any) -> None:
        seq = len(self.log) + 1
        self.log.append((seq, event(time=time_text(1000.0 + seq), **fields)))

    def _id(self, prefix: str) -> str:
        self._ids += 1
        return f"{prefix}_{self._ids}"


def _own(name: str, target: str) -> str:
    """The tool's name, if a tab can declare it."""
    return name if target == "client" else ""


def _tool() -> Tool:
    return Tool("pick", {"type": "object"}, description="Picks")


def _tools() -> list[tuple[str, str]]:
    return [*((n, "client") for n in CLIENT_TOOLS), *((n, "server") for n in SERVER_TOOLS)]


def _whole_parts() -> list[Part]:
    private = {"id": secret(NEVER)}
    return [
        TextPart("public", private),
        CommentaryPart(secret(STEPS), private),
        ThinkingPart(secret(FULL), private),
        FilePart("https://x.test/", "image/png", "a.png"),
        SourcePart("https://x.test/", "X"),
        DataPart("n", {"v": 1}),
    ]


@st.composite
def plausible(draw: st.DrawFn, max_steps: int = 40) -> Log:
    """The log of a session whose producers kept the rules; seq 1 first."""
    producer = Producer(draw)
    producer.send()
    producer.start()
    for _ in range(draw(st.integers(0, max_steps))):
        producer.step()
    return producer.log
