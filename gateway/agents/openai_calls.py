"""Which call of a model's step each piece of `tool_calls` belongs to.

Sans-I/O. Endpoints count calls from 0, from 1 or not at all; give an id once, in each piece, a
fresh one in each piece, or never; send arguments in pieces, whole, or both. The rule that tells
them apart: arguments that are no whole JSON object yet go on, whatever the piece is called; once
they are whole, a piece that begins another object is a new call, or the same one said again.
"""

import json
from collections.abc import Iterator
from typing import Any, cast

from msgspec import Struct

JsonObject = dict[str, Any]

MAX_CALLS = 256
"""Calls of one step; a model that names more is out of control."""
_KNOWN = frozenset({"index", "id", "type", "function", "custom", "name", "arguments", "input"})


class CallStarted(Struct, frozen=True):
    """The model calls a tool. `index` counts 0, 1, 2 … in one response; `id` may be empty.

    `extra` is what else the provider put beside the call (signatures); it wants it back.
    """

    index: int
    id: str
    name: str
    extra: JsonObject


class CallArguments(Struct, frozen=True):
    """A piece of the JSON text of a call's arguments."""

    index: int
    text: str


class CallRepeated(Struct, frozen=True):
    """The arguments came again, as a whole: what was sent before counts no more."""

    index: int
    text: str


class CallExtra(Struct, frozen=True):
    """Private data of the provider that came after the call had started."""

    index: int
    extra: JsonObject


CallDelta = CallStarted | CallArguments | CallRepeated | CallExtra


class TooManyCalls(ValueError):
    """The step has more calls than `MAX_CALLS`."""

    def __str__(self) -> str:
        return f"The model called more than {MAX_CALLS} tools in one step."


class _Call:
    """A call while its pieces come; its start is told once its name is known."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.index: int | None = None  # the provider's own
        self.id = ""
        self.name = ""
        self.extra: JsonObject = {}
        self.text = ""

    @property
    def whole(self) -> bool:
        """Whether the arguments so far are one JSON object."""
        return self.text.rstrip().endswith("}") and is_object(self.text)


class CallAssembly:
    """The calls of one response: pieces in, deltas out."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    @property
    def started(self) -> bool:
        """Whether a call with a name has begun."""
        return any(call.name for call in self._calls)

    @property
    def nameless(self) -> bool:
        """Whether arguments came for a call that never got a name."""
        return any(call.text and not call.name for call in self._calls)

    def feed(self, piece: JsonObject) -> Iterator[CallDelta]:
        """The next piece.

        Raises:
            TooManyCalls: the step has more calls than `MAX_CALLS`.
        """
        name, arguments = _said(piece)
        id_ = piece.get("id")
        id_ = id_ if isinstance(id_, str) else ""
        call = self._which(piece.get("index"), id_, name, arguments)
        extra = {key: value for key, value in piece.items() if key not in _KNOWN}
        repeated = bool(arguments) and arguments.lstrip()[:1] == "{" and call.whole
        was_named = bool(call.name)
        call.id = call.id or id_
        call.name = call.name or name
        call.extra |= extra
        before = call.text
        call.text = arguments if repeated else before + arguments
        if not call.name:
            return
        if not was_named:
            yield CallStarted(call.number, call.id, call.name, call.extra)
            arguments = call.text
        elif extra:
            yield CallExtra(call.number, call.extra)
        if repeated and was_named:
            if arguments != before:
                yield CallRepeated(call.number, arguments)
        elif arguments:
            yield CallArguments(call.number, arguments)

    def _which(self, index: Any, id_: str, name: str, arguments: str) -> _Call:
        """The call that a piece belongs to; a new one if it cannot be one that is known."""
        number = index if isinstance(index, int) and not isinstance(index, bool) else None
        call = self._known(number, id_, name)
        if call is not None and self._is_another(call, id_, name, arguments):
            call = None
        if call is None:
            if len(self._calls) >= MAX_CALLS:
                raise TooManyCalls
            call = _Call(len(self._calls))
            self._calls.append(call)
        if number is not None:
            call.index = number
        return call

    def _known(self, index: int | None, id_: str, name: str) -> _Call | None:
        newest = self._calls[::-1]
        if index is not None:
            found = next((call for call in newest if call.index == index), None)
            if found is not None:
                return found
            # The first piece came without its number.
            unnumbered = [call for call in newest if call.index is None]
            same = next((call for call in unnumbered if id_ and call.id == id_), None)
            return same or (None if name or not unnumbered else unnumbered[0])
        if id_:
            same = next((call for call in newest if call.id == id_), None)
            if same is not None or name:
                return same
        return newest[0] if newest else None

    @staticmethod
    def _is_another(call: _Call, id_: str, name: str, arguments: str) -> bool:
        """Whether the piece begins a new call in the place of a known one."""
        if not name or not call.name:
            return False
        if id_ and id_ == call.id:
            return False
        if name != call.name:
            return True
        if not call.whole:
            return False
        return call.text.strip() != "{}" or bool(id_) or not arguments


def is_object(text: str) -> bool:
    """Whether a text is one JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _said(piece: JsonObject) -> tuple[str, str]:
    """The name and the piece of the arguments, wherever they stand."""
    function = piece.get("function")
    custom = piece.get("custom")
    inner = cast("Any", function if isinstance(function, dict) else custom)
    place = cast("JsonObject", inner) if isinstance(inner, dict) else piece
    name = place.get("name")
    arguments = place.get("arguments", place.get("input"))
    if arguments is None:
        arguments = ""
    elif not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return name if isinstance(name, str) else "", arguments
