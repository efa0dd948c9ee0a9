"""The OpenAPI document: a row for each route and a route for each row, made from our types."""

from collections.abc import Iterator
from typing import Any

import jsonschema
import msgspec
import pytest
from starlette.routing import Mount, Route, WebSocketRoute

from gateway.app import Gateway
from gateway.settings import Settings
from gateway.transports.openapi import OPERATIONS, documented, openapi
from protocol.codec import decode_session_command
from protocol.codes import ERRORS
from tests.support.values import builtins

DOCUMENT = openapi()
METHODS = {"DELETE", "GET", "PATCH", "POST", "PUT"}


def routes() -> Iterator[str]:
    """`METHOD path` of everything that the gateway answers by HTTP, its pages apart."""
    for route in Gateway(Settings()).app.routes:
        if isinstance(route, WebSocketRoute):
            continue
        assert isinstance(route, Route), f"{route} cannot be described by a row"
        assert not isinstance(route, Mount)
        for method in (route.methods or {"GET"}) & METHODS:  # else it looks at the method itself
            yield f"{method} {route.path}"


async def test_every_route_has_a_row_and_every_row_a_route() -> None:
    assert sorted(routes()) == sorted(OPERATIONS)


def test_every_row_is_in_the_document() -> None:
    assert {
        f"{method.upper()} {path}" for path, item in DOCUMENT["paths"].items() for method in item
    } == set(map(documented, OPERATIONS))


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    if isinstance(node, list):
        for item in node:
            yield from references(item)


def test_nothing_is_missing_and_nothing_left_over() -> None:
    named = {ref.rpartition("/")[2] for ref in references(DOCUMENT)}
    assert named == set(DOCUMENT["components"]["schemas"])


def test_nothing_that_never_leaves_the_server_is_in_it() -> None:
    text = msgspec.json.encode(DOCUMENT).decode()
    assert '"provider"' not in text
    assert r"\\Z" not in text


@pytest.mark.parametrize("at", OPERATIONS)
def test_answers_are_named_with_their_codes(at: str) -> None:
    method, path = documented(at).split(" ")
    described = DOCUMENT["paths"][path][method.lower()]
    responses = described["responses"]
    for code in OPERATIONS[at].refusals:
        assert f"`{code}`" in responses[str(ERRORS[code].http_status)]["description"]
    assert bool(described["security"]) == ("401" in responses) == path.startswith("/v1/")


def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({**DOCUMENT, "$ref": f"#/components/schemas/{name}"})


def test_a_command_by_http_needs_neither_id_nor_session() -> None:
    command = {"type": "message.send", "content": "hi", "client": "tab_1"}
    validator("MessageSend").validate(command)
    with pytest.raises(jsonschema.ValidationError):
        validator("MessageSend").validate({"type": "message.send"})
    whole = decode_session_command(msgspec.json.encode({**command, "id": "k", "session": "s"}))
    validator("MessageSend").validate(builtins(whole))


def test_a_new_session_need_not_say_that_it_is_one() -> None:
    validator("NewSession").validate({"agent": "echo"})
    with pytest.raises(jsonschema.ValidationError):
        validator("NewSession").validate({"session": "s_1"})


def test_each_call_makes_a_new_one() -> None:
    assert openapi() == DOCUMENT
    assert openapi()["paths"] is not DOCUMENT["paths"]
