"""The message that an agent writes: parts, calls, and how it ends.

One model step is one message. Text goes through the gate, which says of which kind it is; what
the agent classified itself does not. Of a message that an earlier attempt committed nothing is
emitted again: its writer looks the same, returns what is stored, and writes nothing.
"""

from collections.abc import Sequence
from typing import Any, assert_never

import msgspec

from gateway.runtime.calls import CallResult, Calls
from gateway.runtime.failures import AgentError
from gateway.runtime.gate import Gate, Replace, Shown, Text
from gateway.runtime.keeper import Keeper
from gateway.runtime.plain import checked, clean, native, plain
from gateway.runtime.recorder import Recorder
from gateway.runtime.replay import Replay
from gateway.sessions import inputs
from gateway.sessions.draft import NewId
from protocol import events as ev
from protocol.model import Call, Message
from protocol.values import (
    CommentaryPart,
    DataPart,
    ErrorInfo,
    FilePart,
    Kind,
    SourcePart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    Usage,
)

_NOWHERE = (-1,)
MAX_PART = 65_535
"""The greatest index that `protocol.values.Index` allows."""

WholePart = TextPart | CommentaryPart | ThinkingPart | FilePart | SourcePart | DataPart
_PARTS: dict[Kind, type[TextPart | CommentaryPart | ThinkingPart]] = {
    "text": TextPart,
    "commentary": CommentaryPart,
    "thinking": ThinkingPart,
}


class CallWriter:
    """A call that the model is naming; its arguments come as pieces of JSON text."""

    def __init__(
        self, call: str, name: str, recorder: Recorder | None, place: tuple[str, int] = ("", 0)
    ) -> None:
        self.id = call
        self.name = name
        self._recorder = recorder
        self._message, self._part = place
        self._pieces: list[str] = []

    async def arguments(self, piece: str) -> None:
        """The next piece of the arguments' JSON text."""
        piece = native(piece)
        if not piece:
            return
        first = not self._pieces
        self._pieces.append(piece)
        if self._recorder is not None:
            if self._recorder.full:
                await self._recorder.room()
            self._recorder.delta(self.id, 0, None, piece, first=first)

    def repeat(self, text: str) -> None:
        """The whole arguments, said again: what came before counts no more.

        People see the pieces that came; the call is requested with these.
        """
        self._pieces = [native(text)]

    async def sign(self, provider: Any) -> None:
        """Private data of the model's provider that came after the call's name."""
        if self._recorder is None:
            return
        if self._recorder.full:
            await self._recorder.room()
        content = ToolCallPart(self.id, plain(provider, "provider"))
        self._recorder.fact(
            ev.MessagePart(time="", message=self._message, part=self._part, content=content)
        )

    @property
    def whole(self) -> bool:
        """Whether the arguments so far are a JSON object."""
        try:
            self.parsed()
        except ValueError:
            return False
        return True

    def parsed(self) -> dict[str, Any]:
        """The whole arguments; none at all are an empty object.

        Some models send `null` for none, or the object once more inside a string: both are taken
        as what they mean.

        Raises:
            ValueError: they are not a JSON object.
        """
        text = clean("".join(self._pieces))
        arguments: Any = plain(msgspec.json.decode(text), "arguments") if text.strip() else {}
        if isinstance(arguments, str):
            arguments = plain(msgspec.json.decode(arguments), "arguments")
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, dict):
            raise ValueError("Expected a JSON object")  # noqa: TRY004 - a value, not a type of ours
        return arguments  # pyright: ignore[reportUnknownVariableType] - any JSON object


class MessageWriter:
    """An open message. Verbs wait while the log is slower than the model."""

    def __init__(
        self,
        keeper: Keeper,
        calls: Calls,
        replay: Replay,
        gate: Gate,
        new_id: NewId,
        committed: Message | None,
    ) -> None:
        self.id = committed.id if committed is not None else new_id("m")
        self.ended = False
        self.used: Usage | None = None
        self.committed = committed is not None
        """An earlier attempt wrote it: nothing is emitted."""
        self._keeper = keeper
        self._recorder = keeper.recorder
        self._calls = calls
        self._replay = replay
        self._gate = gate
        self._new_id = new_id
        self._stored: list[Call] = replay.calls_of(committed) if committed is not None else []
        self._parts = 0
        # The gate's index of a part -> the message's, several if something came in between.
        self._places: dict[int, list[int]] = {}
        # Index of a part -> its text so far.
        self._texts: dict[int, list[str]] = {}
        # Of the part being written, the last one; None if it is not text.
        self._kind: Kind | None = None
        # Its text so far; None also if nothing more may be written to it.
        self._growing: list[str] | None = None
        # The same, if it is where the gate's last piece went.
        self._flowing: list[str] | None = None
        self._named: list[CallWriter] = []

    # --- text

    async def write(self, text: str) -> None:
        """Model text, cut anywhere; the gate tells answer, commentary and thinking apart."""
        flowing, recorder = self._flowing, self._recorder
        if (
            flowing is not None
            and flowing is self._growing
            and not recorder.full
            and text
            and type(text) is str
            and self._gate.flows(text)
        ):
            flowing.append(text)
            recorder.delta(self.id, self._parts - 1, self._kind, text)
            return
        self._flowing = None
        await self._show(self._gate.feed(native(text)))
        self._flowing = self._growing

    async def think(self, text: str) -> None:
        """Reasoning that the model sent in a field of its own."""
        await self._show(self._gate.think(native(text)))

    async def text(self, text: str) -> None:
        """A piece of the answer, as it is."""
        if not self._append("text", text):
            await self._add("text", text)

    async def commentary(self, text: str) -> None:
        """What is said on the way to the answer."""
        if not self._append("commentary", text):
            await self._add("commentary", text)

    async def thinking(self, text: str) -> None:
        """Thinking, as it is."""
        if not self._append("thinking", text):
            await self._add("thinking", text)

    async def part(self, content: WholePart, *, index: int | None = None) -> int:
        """Adds a whole part, or replaces the one at `index`; returns its index."""
        content = checked(content, "part")
        if index is None:
            index = self._next_part()
        await self._place(index, content)
        return index

    async def sign(self, provider: Any) -> None:
        """Private data of the model's provider about the text part written last."""
        if self._kind is not None:
            text = clean("".join(self._texts[self._parts - 1]))
            content = _PARTS[self._kind](text, plain(provider, "provider"))
            await self._place(self._parts - 1, content)
            self._kind = self._growing = None  # a signed part is whole

    def usage(self, usage: Usage) -> None:
        """The model tokens of this step."""
        self.used = checked(inputs.EndMessage(message=self.id, usage=usage), "usage").usage

    # --- calls

    async def call(self, name: str, *, provider: Any = None) -> CallWriter:
        """The model names a tool; its arguments follow piece by piece."""
        self._check_open()
        name = clean(name)
        private = plain(provider, "provider")
        await self._show(self._gate.call())
        part = self._next_part()
        if self.committed:
            return self._stored_call(name)
        call = CallWriter(self._new_id("c"), name, self._recorder, (self.id, part))
        self._named.append(call)
        await self._recorder.step(
            inputs.StartCall(
                call=call.id,
                part=part,
                name=name,
                target=self._calls.target(name),
                provider=private,
            )
        )
        return call

    async def call_tools(self) -> list[CallResult]:
        """Ends the message and requests its calls; returns when each has a result."""
        await self.end()
        return await self._calls.results([c.id for c in self._named])

    async def end(self) -> None:
        """Ends the message; its calls are requested in the same append. Idempotent."""
        if self.ended:
            return
        await self._show(self._gate.end())
        self.ended, self._growing = True, None
        requests: list[inputs.CallRequest] = []
        invalid: dict[str, ErrorInfo] = {}
        for call in self._named:
            arguments, error = self._arguments(call)
            requests.append(self._calls.request(call.id, call.name, arguments))
            if error is not None:
                invalid[call.id] = error
        if self.committed:
            self._replay.compare(self._stored, [(r.name, r.arguments) for r in requests])
            return
        await self._calls.ask(
            inputs.EndMessage(message=self.id, usage=self.used, calls=requests, invalid=invalid)
        )

    async def fail(self) -> None:
        """Ends the message as failed: its model step came to nothing."""
        if self.ended:
            return
        self.ended, self._growing = True, None
        if not self.committed:
            failed = {
                c.id: ErrorInfo("tool.cancelled", "The model step failed.") for c in self._named
            }
            requests = [self._calls.request(c.id, c.name, {}) for c in self._named]
            await self._recorder.step(
                inputs.EndMessage(
                    message=self.id,
                    status="failed",
                    usage=self.used,
                    calls=requests,
                    invalid=failed,
                )
            )

    # --- parts

    async def _show(self, shown: Sequence[Shown]) -> None:
        for piece in shown:
            match piece:
                case Text():
                    if not self._append(piece.kind, piece.text, piece.part):
                        await self._add(piece.kind, piece.text, piece.part)
                case Replace():
                    for index in self._places[piece.part]:
                        text = clean("".join(self._texts[index]))
                        await self._place(index, _PARTS[piece.kind](text))
                case _:
                    assert_never(piece)

    def _append(self, kind: Kind, text: str, gate_part: int | None = None) -> bool:
        """Adds to the part being written, if nothing stands in the way: as nearly all text goes."""
        part = self._parts - 1
        if (
            kind != self._kind
            or type(text) is not str
            or not text
            or self._growing is None
            or self._recorder.full
            or (gate_part is not None and self._places.get(gate_part, _NOWHERE)[-1] != part)
        ):
            return False
        self._growing.append(text)
        self._recorder.delta(self.id, part, kind, text)
        return True

    async def _add(self, kind: Kind, text: str, gate_part: int | None = None) -> None:
        self._check_open()
        text = native(text)
        if not text:
            return
        places = self._places.setdefault(gate_part, []) if gate_part is not None else None
        first = self._kind != kind or (
            places is not None and (not places or places[-1] != self._parts - 1)
        )
        if first:
            index = self._next_part()
            self._kind = kind
            self._texts[index] = []
            self._growing = None if self.committed else self._texts[index]
            if places is not None:
                places.append(index)
        self._texts[self._parts - 1].append(text)
        if self.committed:
            return
        if self._recorder.full:
            await self._recorder.room()
        self._recorder.delta(self.id, self._parts - 1, kind, text, first=first)

    async def _place(self, index: int, content: WholePart) -> None:
        self._check_open()
        if self.committed:
            return
        if self._recorder.full:
            await self._recorder.room()
        self._recorder.fact(ev.MessagePart(time="", message=self.id, part=index, content=content))

    def _next_part(self) -> int:
        if self._parts > MAX_PART:
            raise AgentError("agent.failed", f"A message has at most {MAX_PART + 1} parts.")
        self._kind = self._growing = None
        self._parts += 1
        return self._parts - 1

    def _check_open(self) -> None:
        if self.ended:
            raise AgentError(
                "agent.failed", "The message has ended; open another one with run.message()."
            )

    # --- calls

    def _stored_call(self, name: str) -> CallWriter:
        at = len(self._named)
        stored = self._stored[at].id if at < len(self._stored) else ""
        call = CallWriter(stored, name, None)
        self._named.append(call)
        return call

    def _arguments(self, call: CallWriter) -> tuple[dict[str, Any], ErrorInfo | None]:
        """The arguments, and why the call cannot be offered, if so."""
        refusal = self._calls.refusal(call.name)
        try:
            return call.parsed(), refusal
        except ValueError as error:
            text = f"The arguments of {call.name} are not valid: {error}."
            return {}, refusal or ErrorInfo("tool.failed", text)
