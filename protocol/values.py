"""Values that several frames share: ids, times, parts, tools, usage.

Frozen structs without behaviour; a value with rules belongs to `state`.
"""

from datetime import UTC, datetime
from functools import lru_cache
from math import floor
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from protocol import MAX_SEQ

Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z", max_length=64)]
"""A session, run, message, call, approval, client or command id."""

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:/@-]{1,128}\Z", max_length=128)]
"""The name of an agent or a tool."""

Seq = Annotated[int, Meta(ge=0, le=MAX_SEQ)]
Index = Annotated[int, Meta(ge=0, le=65_535)]
"""The place of a part; bounded, because the fold fills the places before it."""

Number = Annotated[int, Meta(ge=-MAX_SEQ, le=MAX_SEQ)] | float
Detail = Literal["answer", "steps", "full"]
IfBusy = Literal["reject", "enqueue", "interrupt", "steer"]
Kind = Literal["text", "commentary", "thinking"]
Target = Literal["client", "server"]
FinishReason = Literal["stop", "length", "content_filter", "other"]
Metadata = dict[str, Any]


def time_text(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 UTC with milliseconds; sorts as text."""
    whole = floor(seconds)
    microseconds = round((seconds - whole) * 1_000_000)
    if microseconds == 1_000_000:
        whole, microseconds = whole + 1, 0
    return f"{_second_text(whole)}{microseconds // 1000:03d}Z"


@lru_cache(maxsize=256)  # an event's time is nearly always of the same second as the last one's
def _second_text(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}."


def time_seconds(text: str) -> float:
    """The inverse of `time_text`, in seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


# `provider`, in the parts that have it: a model provider's own ids and signatures. It never
# leaves the server and goes back to the provider verbatim.


class TextPart(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="text"):
    """A piece of the answer."""

    text: str
    provider: Any = None


class CommentaryPart(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="commentary"):
    """What an agent says on the way to the answer."""

    text: str
    provider: Any = None


class ThinkingPart(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="thinking"):
    """Reasoning; only `full` sees it."""

    text: str
    provider: Any = None


class ToolCallPart(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="tool_call"):
    """The place of a call in its message; the call itself is in `state.calls`."""

    call: str
    provider: Any = None


class FilePart(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="file"):
    """A file by its URL (`https:` or `data:`)."""

    url: str
    media_type: str
    name: str | None = None


class SourcePart(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="source"):
    """Where a statement comes from."""

    url: str
    title: str | None = None


class DataPart(Struct, frozen=True, tag_field="kind", tag="data"):
    """Any JSON under a name."""

    name: str
    value: Any


class HiddenPart(Struct, frozen=True, tag_field="kind", tag="hidden"):
    """Keeps the index of a part that the subscription may not see."""


Part = (
    TextPart
    | CommentaryPart
    | ThinkingPart
    | ToolCallPart
    | FilePart
    | SourcePart
    | DataPart
    | HiddenPart
)
ContentPart = TextPart | FilePart | DataPart
HIDDEN = HiddenPart()


class Tool(Struct, frozen=True, omit_defaults=True):
    """A client tool: a function of the page. `parameters` is a JSON Schema of an object."""

    name: Name
    parameters: dict[str, Any]
    description: str | None = None
    approval: bool = False
    lease_ms: Annotated[int, Meta(ge=100, le=600_000)] = 15_000
    timeout_ms: Annotated[int, Meta(ge=100, le=86_400_000)] = 120_000
    idempotent: bool = False


class ErrorInfo(Struct, frozen=True):
    """Why a call or a run failed: a stable `code` and a text for people."""

    code: Annotated[str, Meta(max_length=64)]
    message: str


class Usage(Struct, frozen=True):
    """Model tokens of a message or a run."""

    input_tokens: int
    output_tokens: int


class Progress(Struct, frozen=True, omit_defaults=True):
    """How far something is; `current` of `total` in any unit."""

    current: Number | None = None
    total: Number | None = None
    text: str | None = None


class Principal(Struct, frozen=True):
    """Who is connected, from the token."""

    tenant: str
    subject: str
