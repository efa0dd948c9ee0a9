"""Client tools: what the wire says of them, the function behind them, and a builder for both.

    weather = (
        tool("weather", "Weather of a city")
        .param("city", string("Name of the city"))
        .handler(lambda args: lookup(args["city"]))
        .build()
    )

A tool without a handler is answered by hand: `pending_tool_calls`, `submit_tool_result`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

from msgspec import Struct, structs

from protocol.values import Tool

Handler: TypeAlias = Callable[..., Any | Awaitable[Any]]
"""Gets the arguments as a dict, and the `ToolRun` if it takes two; returns any JSON."""

Schema: TypeAlias = dict[str, Any]
"""The JSON Schema of one parameter; with `optional` it also says that it may be left out."""

_OPTIONAL = "x-optional"


class ClientTool(Struct, frozen=True):
    """A tool that this client executes; without a handler somebody else must answer."""

    spec: Tool
    handler: Handler | None = None

    @property
    def name(self) -> str:
        """As the agent calls it."""
        return self.spec.name


def string(description: str = "") -> Schema:
    """A text."""
    return _schema("string", description)


def number(description: str = "") -> Schema:
    """A number."""
    return _schema("number", description)


def integer(description: str = "") -> Schema:
    """A whole number."""
    return _schema("integer", description)


def boolean(description: str = "") -> Schema:
    """Yes or no."""
    return _schema("boolean", description)


def enum_of(values: Sequence[Any], description: str = "") -> Schema:
    """One of these values."""
    described = {"description": description} if description else {}
    return {"enum": list(values), **described}


def array(items: Schema, description: str = "") -> Schema:
    """A list."""
    return {**_schema("array", description), "items": _plain(items)}


def obj(properties: Mapping[str, Schema], description: str = "") -> Schema:
    """An object with these members."""
    return {**_schema("object", description), **_members(properties)}


def optional(schema: Schema) -> Schema:
    """The same, but it may be left out."""
    return {**schema, _OPTIONAL: True}


def _schema(kind: str, description: str) -> Schema:
    return {"type": kind, "description": description} if description else {"type": kind}


def _plain(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key != _OPTIONAL}


def _members(properties: Mapping[str, Schema]) -> Schema:
    required = [name for name, schema in properties.items() if not schema.get(_OPTIONAL)]
    named = {"required": required} if required else {}
    return {"properties": {name: _plain(s) for name, s in properties.items()}, **named}


class ToolBuilder(Struct, frozen=True):
    """What is said of a tool so far; every method gives a new builder and leaves this one."""

    spec: Tool
    params: dict[str, Schema] = {}
    function: Handler | None = None

    def describe(self, description: str) -> "ToolBuilder":
        """What it does, for the model."""
        return self._with(description=description)

    def param(self, name: str, schema: Schema) -> "ToolBuilder":
        """One more parameter."""
        return structs.replace(self, params={**self.params, name: schema})

    def input(self, parameters: Mapping[str, Schema]) -> "ToolBuilder":
        """All parameters at once."""
        return structs.replace(self, params=dict(parameters))

    def require_approval(self) -> "ToolBuilder":
        """A person must agree to every call."""
        return self._with(approval=True)

    def idempotent(self) -> "ToolBuilder":
        """Twice does no harm: another client may take over a call whose holder vanished."""
        return self._with(idempotent=True)

    def timeout_ms(self, timeout_ms: int) -> "ToolBuilder":
        """How long a call may take in all."""
        return self._with(timeout_ms=timeout_ms)

    def handler(self, handler: Handler) -> "ToolBuilder":
        """The function: plain ones run in a thread, coroutine functions in the loop."""
        return structs.replace(self, function=handler)

    def build(self) -> ClientTool:
        """The tool as said so far."""
        parameters = {"type": "object", **_members(self.params)}
        return ClientTool(structs.replace(self.spec, parameters=parameters), self.function)

    def _with(self, **fields: Any) -> "ToolBuilder":
        return structs.replace(self, spec=structs.replace(self.spec, **fields))


def tool(name: str, description: str = "") -> ToolBuilder:
    """Begin a tool."""
    return ToolBuilder(Tool(name=name, parameters={}, description=description or None))
