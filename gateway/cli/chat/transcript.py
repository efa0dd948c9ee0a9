"""What of a session was shown, and what is to be shown next.

The difference between the state and what was shown, not the events, decides: so a state that
replaces events, another detail and a resume show nothing twice and leave nothing out. No I/O; the
clock and the terminal must not enter.
"""

from typing import Any

import msgspec
from msgspec import structs

from gateway.cli.chat.blocks import Blocks
from gateway.cli.chat.items import Called, Item, Live, Note, Remarked, Said, Thought, Typed
from protocol import events as ev
from protocol.model import Approval, Call, Message, Run
from protocol.state import State
from protocol.values import (
    CommentaryPart,
    DataPart,
    FilePart,
    Part,
    SourcePart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)

_ACTIVITIES = {"waiting_for_worker": "no worker has this agent yet"}
_DECISIONS = {"approve": "Approved", "deny": "Denied", "expired": "Nobody decided in time"}


def encoded(value: Any) -> str:
    """Any JSON on one line."""
    return msgspec.json.encode(value).decode()


class Transcript:
    """Of one session. With `stream` an answer is shown as it grows, else when it is whole.

    `me` is who sits here: the name that needs not be said.
    """

    def __init__(self, *, stream: bool = True, me: str = "") -> None:
        self.stream = stream
        self._me = me
        self.thoughts: list[str] = []
        self._messages: dict[str, _Shown] = {}  # of the messages that are not done
        self._done: set[str] = set()  # messages, runs and approvals that were shown to their end

    def typed(self, message: str) -> None:
        """A message of one's own that is on the screen already."""
        self._done.add(message)

    def begin(self, state: State, last: int) -> list[Item]:
        """Everything counts as shown but the `last` messages, which are given."""
        cut = max(0, len(state.messages) - last)
        self._done |= {message.id for message in state.messages[:cut]}
        self._done |= {a.id for a in state.approvals.values() if a.decision is not None}
        if state.run is not None and not state.run.live and state.run.status != "queued":
            self._done.add(state.run.id)
        earlier = f"{cut} earlier messages" if cut > 1 or state.more else "1 earlier message"
        notes = [Note(f"({earlier}{' and more' if state.more else ''})")] if cut else []
        return [*notes, *self.reset(state)]

    def reset(self, state: State) -> list[Item]:
        """What is new in a state that came in place of events."""
        items = self.update(state)
        return items if state.run is None else [*items, *self._run(state.run)]

    def update(self, state: State) -> list[Item]:
        """What has become complete since the last call."""
        items: list[Item] = self._gone(state)
        for approval in state.approvals.values():
            items += self._approval(approval)
        for message in state.messages:
            if message.id not in self._done:
                items += self._message(message, state)
        return items

    def heard(self, event: ev.Event) -> list[Item]:
        """What only an event tells; call `update` before."""
        match event:
            case ev.RunFailed(run=run, error=error):
                return self._failed(run, error.message)
            case ev.RunCancelled(run=run, by=by, reason=reason):
                return self._once(run, Note(_stopped(self._other(by), reason), "warning"))
            case ev.RunCompleted(run=run, output=output):
                return self._completed(run, output)
            case ev.RunLog(level=level, text=text):
                return [Note(f"{level}: {text}")]
            case ev.SessionRewound():
                return [Note("The later messages were removed.", "warning")]
            case _:
                return []

    def live(self, state: State) -> Live:
        """What is going on."""
        run = state.live_run
        live = Live(
            busy=run is not None or bool(state.queue),
            calls=tuple(call for call in state.calls.values() if _going_on(call, run)),
            activity=_activity(run or next(iter(state.queue), None)),
        )
        growing = [m for m in state.messages if m.status == "open" and m.parts]
        return self._growing(growing[-1], live) if growing else live

    def _growing(self, message: Message, live: Live) -> Live:
        """`live` with the part that is being written."""
        match message.parts[-1]:
            case TextPart(text=text) if self.stream:
                shown = self._messages.get(message.id, _Shown())
                rest = shown.blocks(len(message.parts) - 1).rest(text)
                return structs.replace(live, text=rest)
            case TextPart():
                texts = (part.text for part in message.parts if isinstance(part, TextPart))
                return structs.replace(live, hidden=sum(map(len, texts)))
            case CommentaryPart(text=text):
                return structs.replace(live, remark=text)
            case ThinkingPart(text=text):
                return structs.replace(live, thought=text)
            case _:
                return live

    def _message(self, message: Message, state: State) -> list[Item]:
        if message.role != "assistant":
            self._done.add(message.id)
            text = "\n".join(_plain(part) for part in message.parts)
            return [Typed(text, by=self._other(message.by))] if message.role == "user" else []
        over = message.status != "open"
        shown = self._messages.setdefault(message.id, _Shown())
        items: list[Item] = []
        complete = over
        for index, part in enumerate(message.parts):
            closed = over or index < len(message.parts) - 1
            items += self._part(shown, index, part, closed=closed, over=over, state=state)
            if isinstance(part, ToolCallPart) and part.call not in shown.calls:
                complete = False
        if complete:
            self._done.add(message.id)
            self._messages.pop(message.id, None)
        return items

    def _other(self, by: str | None) -> str | None:
        return None if by == self._me else by

    def _part(
        self, shown: "_Shown", index: int, part: Part, *, closed: bool, over: bool, state: State
    ) -> list[Item]:
        if isinstance(part, TextPart):
            if not (self.stream or over):
                return []
            text = shown.blocks(index).take(part.text, closed=closed)
            return [Said(text)] if text.strip() else []
        if isinstance(part, ToolCallPart):
            return _outcome(shown, state.calls.get(part.call), part.call)
        if not closed or index in shown.parts:
            return []
        shown.parts.add(index)
        match part:
            case CommentaryPart(text=text):
                # a text that turned out to be none was shown as far as it had come
                rest = shown.blocks(index).take(text, closed=True)
                return [Remarked(rest)] if rest.strip() else []
            case ThinkingPart(text=text):
                self.thoughts.append(text)
                return [Thought(text)] if text.strip() else []
            case FilePart() | SourcePart() | DataPart():
                return [Note(_plain(part), "plain")]
            case _:
                return []

    def _gone(self, state: State) -> list[Item]:
        """Messages that were begun and are no more."""
        known = {message.id for message in state.messages}
        gone = [message for message in self._messages if message not in known]
        begun = [message for message in gone if self._messages[message].begun]
        for message in gone:
            del self._messages[message]
        if not begun:
            return []
        return [Note("Its worker was lost: that answer begins again.", "warning")]

    def _approval(self, approval: Approval) -> list[Item]:
        if approval.decision not in _DECISIONS:
            return []
        word = _DECISIONS[approval.decision]
        by = f" by {approval.by}" if self._other(approval.by) else ""
        reason = f" ({approval.reason})" if approval.reason else ""
        tone = "dim" if approval.decision == "approve" else "warning"
        return self._once(approval.id, Note(f"{word}{by}: {approval.title}{reason}", tone))

    def _run(self, run: Run) -> list[Item]:
        if run.status == "failed":
            return self._failed(run.id, run.error.message if run.error else "")
        if run.status == "cancelled":
            return self._once(run.id, Note(_stopped(None, None), "warning"))
        return self._completed(run.id, run.output) if run.status == "completed" else []

    def _completed(self, run: str, output: Any) -> list[Item]:
        if output is None:
            return self._once(run)
        return self._once(run, Note(f"Output: {encoded(output)}", "plain"))

    def _failed(self, run: str, text: str) -> list[Item]:
        return self._once(run, Note(f"The run failed: {text}", "error"))

    def _once(self, key: str, *items: Item) -> list[Item]:
        if key in self._done:
            return []
        self._done.add(key)
        return list(items)


class _Shown:
    """What of a message was shown."""

    def __init__(self) -> None:
        self.parts: set[int] = set()
        self.calls: set[str] = set()
        self._blocks: dict[int, Blocks] = {}  # text part -> where it was cut

    def blocks(self, index: int) -> Blocks:
        return self._blocks.setdefault(index, Blocks())

    @property
    def begun(self) -> bool:
        return bool(self.parts or self.calls or self._blocks)


def _outcome(shown: _Shown, call: Call | None, call_id: str) -> list[Item]:
    if call_id in shown.calls or (call is not None and call.status != "completed"):
        return []
    shown.calls.add(call_id)
    return [] if call is None else [Called(call)]


def _going_on(call: Call, run: Run | None) -> bool:
    return run is not None and call.run == run.id and call.status != "completed"


def _activity(run: Run | None) -> str:
    if run is None:
        return ""
    activity = run.activity or ""
    words = [_ACTIVITIES.get(activity, activity.replace("_", " "))]
    if run.progress is not None:
        done, total = run.progress.current, run.progress.total
        words.append(f"{done:g}/{total:g}" if total and done is not None else f"{done or ''}")
        words.append(run.progress.text or "")
    return " ".join(word for word in words if word)


def _stopped(by: str | None, reason: str | None) -> str:
    return f"Stopped{f' by {by}' if by else ''}{f': {reason}' if reason else ''}."


def _plain(part: Part) -> str:
    match part:
        case TextPart(text=text):
            return text
        case FilePart(url=url, name=name):
            return f"[file {name or ''}] {_short(url)}"
        case SourcePart(url=url, title=title):
            return f"[source] {title or ''} {url}"
        case DataPart(name=name, value=value):
            return f"[{name}] {encoded(value)}"
        case _:
            return ""


def _short(url: str) -> str:
    return f"{url[:60]}…" if url.startswith("data:") and len(url) > 60 else url
