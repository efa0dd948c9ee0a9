"""Tools as they are built."""

from gateway.client.tool import (
    array,
    boolean,
    enum_of,
    integer,
    number,
    obj,
    optional,
    string,
    tool,
)
from protocol.values import Tool


def test_everything_that_can_be_said_of_a_tool() -> None:
    built = (
        tool("calculator")
        .describe("Do math")
        .param("expression", string("Expression"))
        .param("digits", optional(integer()))
        .require_approval()
        .idempotent()
        .timeout_ms(5_000)
        .handler(len)
        .build()
    )
    assert built.name == "calculator"
    assert built.handler is len
    assert built.spec == Tool(
        name="calculator",
        description="Do math",
        parameters={
            "type": "object",
            "properties": {
                "expression": {"type": "string", "description": "Expression"},
                "digits": {"type": "integer"},
            },
            "required": ["expression"],
        },
        approval=True,
        idempotent=True,
        timeout_ms=5_000,
    )


def test_schemas() -> None:
    place = obj({"x": number(), "label": optional(string())}, "Where")
    built = tool("draw", "Draws").input(
        {"places": array(place, "All"), "on": boolean(), "how": enum_of(["thin", "bold"])}
    )
    assert built.build().spec.parameters["properties"] == {
        "places": {
            "type": "array",
            "description": "All",
            "items": {
                "type": "object",
                "description": "Where",
                "properties": {"x": {"type": "number"}, "label": {"type": "string"}},
                "required": ["x"],
            },
        },
        "on": {"type": "boolean"},
        "how": {"enum": ["thin", "bold"]},
    }


def test_a_builder_can_be_the_beginning_of_many_tools() -> None:
    base = tool("read").param("what", string())
    asked = base.require_approval().param("why", string()).build()
    assert base.build().spec.approval is False
    assert list(base.build().spec.parameters["properties"]) == ["what"]
    assert list(asked.spec.parameters["properties"]) == ["what", "why"]
