"""The gate: of which kind each piece of a model step's text is (docs/agents.md).

Sans-I/O: text pieces, the provider's own reasoning, and "a call begins" go in, in the order the
model sent them; what to show comes out. Nothing here knows of messages, events or models.

A model step is one message, and its text is of three kinds. Between a pair of `tags` it is
`thinking`; tags are found anywhere in the step, the first close tag closes, an unclosed one lasts
until the end, and the tags themselves vanish. A close tag that nothing opened, where the step has
shown nothing but text, was opened by the prompt: what came before it was thinking, by a `Replace`;
right after reasoning that came in a field of its own it just vanishes. The rest is `text` if the
step ends without a call, else `commentary`, and that is known only later:

- `preamble="show"`: text goes out at once as `text`; when a call begins, what was shown becomes
  `commentary` by a `Replace`, and text after the call is `commentary` from the start.
- `preamble="hold"`: text is kept back until the step ends (then `text`) or a call begins (then
  `commentary`). Thinking does not wait for it, so it may get a lower part index than text that
  came before it.

With a `marker` (ReAct's "Final Answer:") text before its first occurrence is `commentary` and goes
out at once under either setting; the marker vanishes; what follows it is text as above. A step that
ends without a call and without the marker was the last one all the same: its commentary becomes
`text` by a `Replace`.

The outcome does not depend on where the pieces are cut: when the end of a piece may be the
beginning of a tag or the marker, that much, and no more, waits for the next piece.
"""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from protocol.values import Kind

Preamble = Literal["show", "hold"]
Tags = Sequence[tuple[str, str]]
THINK_TAGS: Tags = (("<think>", "</think>"),)


class Text(Struct, frozen=True):
    """Text to add to the part with this index; a part begins where kind or index changes."""

    part: int
    kind: Kind
    text: str


class Replace(Struct, frozen=True):
    """The part with this index, shown before, is of another kind; `text` is the whole of it."""

    part: int
    kind: Kind
    text: str


Shown = Text | Replace


class Gate:
    """Classifies one model step; make a new one for each.

    Part indexes count what the step's message gets through this gate: one for every change of
    kind, and one for every call. `opened` is for models whose prompt ends with the open tag, so
    that the step begins in thinking.

    Raises:
        ValueError: a tag or the marker is empty, or one is the beginning of another.
    """

    def __init__(
        self,
        *,
        preamble: Preamble = "show",
        tags: Tags = THINK_TAGS,
        marker: str | None = None,
        opened: bool = False,
    ) -> None:
        tokens = [opening for opening, _ in tags] + ([] if marker is None else [marker])
        _check(tokens, tags)
        self._hold = preamble == "hold"
        self._closing = dict(tags)  # open tag -> its close tag
        self._tokens = tokens  # what ends a stretch of text
        self._marker = marker
        self._until = tags[0][1] if opened and tags else None  # the close tag awaited, in thinking
        # Whether a close tag may still come whose open tag stands in the prompt.
        self._unopened = not opened
        self._closers = [
            closing
            for _, closing in tags
            if not any(t.startswith(closing) or closing.startswith(t) for t in tokens)
        ]
        self._starts = self._first_characters()  # nothing to find in a piece without them
        self._pending = ""  # the beginning of a tag or of the marker, perhaps
        self._held: list[str] = []  # text that waits for the end of the step
        self._parts: list[tuple[Kind, list[str]] | None] = []  # None is a call
        self._called = False
        # Of the part that the last piece went to, as long as another such piece goes there too.
        self._flow: list[str] | None = None

    @property
    def pending(self) -> str:
        """What waits because it may be the beginning of a tag or of the marker."""
        return self._pending

    def flows(self, piece: str) -> bool:
        """Takes a piece that only goes on with the last one's part, as nearly all do; else False.

        It does what `feed` would, which says where the piece belongs.
        """
        flow = self._flow
        if flow is None:
            return False
        for start in self._starts:
            if start in piece:
                return False
        flow.append(piece)
        return True

    def feed(self, piece: str) -> list[Shown]:
        """The next piece of the step's text, cut anywhere."""
        self._flow = None
        if self._pending:
            return self._scan(self._pending + piece, last=False)
        for start in self._starts:
            if start in piece:
                return self._scan(piece, last=False)
        shown: list[Shown] = []
        self._show(shown, piece)
        if shown and (part := self._parts[-1]) is not None:
            self._flow = part[1]
        return shown

    def think(self, piece: str) -> list[Shown]:
        """Reasoning that came in a field of its own; no tags are looked for in it."""
        self._flow = None
        return [self._add("thinking", piece)] if piece else []

    def call(self) -> list[Shown]:
        """A call begins: show what this returns before it. The call takes the next index."""
        self._flow = None
        shown = self._scan(self._pending, last=True)  # no tag spans a call
        self._unopened = False
        if not self._called:
            self._called = True
            shown += self._release("commentary")
            shown += self._replace("text", "commentary")
        self._parts.append(None)
        return shown

    def end(self) -> list[Shown]:
        """The step is over: the rest of what there is to show."""
        self._flow = None
        shown = self._scan(self._pending, last=True)
        if not self._called:
            shown += self._release("text")
            if self._marker is not None:
                shown += self._replace("commentary", "text")
        return shown

    def _scan(self, text: str, *, last: bool) -> list[Shown]:
        """Shows `text`; `last` says that nothing follows which could complete a token."""
        self._pending = ""
        shown: list[Shown] = []
        while text:
            start, token = _first(text, self._awaited(), last=last)
            self._show(shown, text[:start])
            if token is None:
                self._pending = text[start:]
                break
            text = text[start + len(token) :]
            if self._until is None and self._unopened and token in self._closers:
                shown += self._was_thinking()
            else:
                self._pass(token)
        return shown

    def _awaited(self) -> list[str]:
        """What ends the present stretch."""
        if self._until is not None:
            return [self._until]
        return [*self._tokens, *self._closers] if self._unopened else self._tokens

    def _was_thinking(self) -> list[Shown]:
        """A close tag that nothing opened: whatever was shown so far is thinking."""
        self._unopened = False
        shown = self._release("thinking")
        shown += self._replace("text", "thinking")
        shown += self._replace("commentary", "thinking")
        self._starts = self._first_characters()
        return shown

    def _pass(self, token: str) -> None:
        self._unopened = False
        if token == self._marker and self._until is None:
            self._marker = None
            self._tokens = list(self._closing)
        else:
            self._until = self._closing[token] if self._until is None else None
        self._starts = self._first_characters()

    def _first_characters(self) -> str:
        return "".join({token[0] for token in self._awaited()})

    def _show(self, shown: list[Shown], text: str) -> None:
        if not text:
            return
        if self._until is not None:
            shown.append(self._add("thinking", text))
        elif self._called or self._marker is not None:
            shown.append(self._add("commentary", text))
        elif self._hold:
            self._held.append(text)
        else:
            shown.append(self._add("text", text))

    def _add(self, kind: Kind, text: str) -> Text:
        last = self._parts[-1] if self._parts else None
        if last is not None and last[0] == kind:
            last[1].append(text)
        else:
            self._parts.append((kind, [text]))
        return Text(len(self._parts) - 1, kind, text)

    def _release(self, kind: Kind) -> list[Shown]:
        text = "".join(self._held)
        self._held.clear()
        return [self._add(kind, text)] if text else []

    def _replace(self, old: Kind, new: Kind) -> list[Shown]:
        replaced: list[Shown] = []
        for index, part in enumerate(self._parts):
            if part is not None and part[0] == old:
                self._parts[index] = (new, part[1])
                replaced.append(Replace(index, new, "".join(part[1])))
        return replaced


def _check(tokens: list[str], tags: Tags) -> None:
    if not all(tokens) or not all(closing for _, closing in tags):
        raise ValueError("an empty tag or marker would be everywhere; use tags=() or marker=None")
    for one in tokens:
        if sum(other.startswith(one) for other in tokens) > 1:
            raise ValueError(f"{one!r} is also the beginning of another tag or of the marker")


def _first(text: str, tokens: Sequence[str], *, last: bool) -> tuple[int, str | None]:
    """Where the first token stands; without one, where the first possible beginning of one does.

    A beginning that stands before a whole token goes first: completed, it would win.
    """
    found = min(((i, t) for t in tokens if (i := text.find(t)) >= 0), default=(len(text), None))
    if last:
        return found
    longest = max(map(len, tokens), default=1) - 1
    for start in range(max(0, len(text) - longest), found[0]):
        rest = len(text) - start
        if any(len(t) > rest and t.startswith(text[start:]) for t in tokens):
            return start, None
    return found
