"""The HTTP routes for machines: an OpenAPI document, made from the types that the routes use.

`agent-gateway schema --openapi` prints it; a running gateway does not serve it. A route is one row
of `OPERATIONS`, and a test holds the rows and the routes of the app against each other.
Nothing is validated with it here. The files of the demo page are not in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from msgspec import Struct

from gateway import __version__
from gateway.transports.access import Revoked, Ticket, Wanted
from gateway.transports.agents import Agents
from gateway.transports.health import Health
from gateway.transports.http import (
    Client,
    Look,
    Messages,
    Page,
    Sessions,
    Shared,
    Shares,
    Sharing,
    Subject,
    Unshared,
)
from gateway.transports.sse import Wish
from protocol import commands as cmd
from protocol import frames as down
from protocol.codes import ERRORS
from protocol.schema import Schema, components
from protocol.state import State
from protocol.values import Id

JSON, STREAM, TEXT = "application/json", "text/event-stream", "text/plain"
REFS = "#/components/schemas/{name}"

ALWAYS = (
    *("auth.required", "auth.invalid", "auth.expired", "auth.forbidden"),
    *("auth.unavailable", "rate.limited", "broker.unavailable", "server.draining", "internal"),
)
"""What every route with a token may refuse with."""

OF_COMMANDS = (
    *("frame.malformed", "frame.unknown_type", "frame.too_large", "command.conflict"),
    *("limit.exceeded", "session.not_found", "session.exists", "session.busy"),
    *("agent.not_found", "message.unknown", "run.not_active", "tool.unknown", "tool.held"),
    *("tool.closed", "approval.unknown", "approval.closed"),
)
"""What a command may be refused with besides."""


class Operation(Struct, frozen=True, kw_only=True):
    """One method of one path."""

    does: str
    answers: Mapping[int, Any]
    """Status -> the type of its body; of what is not JSON its media type."""
    refusals: Sequence[str] = ()
    """Codes of errors, beside those of `ALWAYS`."""
    query: type[Struct] | None = None
    header: tuple[str, str] | None = None
    """A header that counts, and what it says."""
    body: Any = None
    guarded: bool = True
    """Needs a token, unless the gateway has no authentication."""


OPERATIONS: dict[str, Operation] = {
    "POST /v1/sessions": Operation(
        does="Make a session.",
        body=cmd.SessionCreate,
        answers={201: down.Ok, 200: down.Ok},
        refusals=OF_COMMANDS,
    ),
    "GET /v1/sessions": Operation(
        does="List one's own sessions, the newest first.",
        query=Page,
        answers={200: Sessions},
        refusals=["frame.malformed"],
    ),
    "GET /v1/sessions/{session}": Operation(
        does="The state of a session.",
        query=Look,
        answers={200: State},
        refusals=["frame.malformed", "session.not_found"],
    ),
    "DELETE /v1/sessions/{session}": Operation(
        does="Delete a session.",
        answers={200: down.Ok},
        refusals=["session.not_found"],
    ),
    "GET /v1/sessions/{session}/messages": Operation(
        does="A page of its messages, the oldest first.",
        query=Page,
        answers={200: Messages},
        refusals=["frame.malformed", "session.not_found", "message.unknown"],
    ),
    "POST /v1/sessions/{session}/commands": Operation(
        does="Any command to a session.",
        body=cmd.AnySessionCommand,
        answers={200: down.Ok},
        refusals=OF_COMMANDS,
    ),
    "GET /v1/sessions/{session}/events": Operation(
        does="A subscription as Server-Sent Events; an event's data is a frame of the protocol.",
        query=Wish,
        header=("Last-Event-ID", "The `id` of the last event received: go on after it."),
        answers={200: STREAM, 503: TEXT},
        refusals=["frame.malformed", "session.not_found", "limit.exceeded"],
    ),
    "GET /v1/sessions/{session}/shares": Operation(
        does="With whom it is shared; for its owner.",
        answers={200: Shares},
        refusals=["session.not_found"],
    ),
    "PUT /v1/sessions/{session}/shares/{subject:path}": Operation(
        does="Share it with a subject of the same tenant; for its owner.",
        body=Sharing,
        answers={200: Shared},
        refusals=["frame.malformed", "frame.too_large", "session.not_found", "limit.exceeded"],
    ),
    "DELETE /v1/sessions/{session}/shares/{subject:path}": Operation(
        does="Share it with this subject no more; for its owner.",
        answers={200: Unshared},
        refusals=["frame.malformed", "session.not_found"],
    ),
    "GET /v1/agents": Operation(
        does="The agents that the token may use, and whether somebody has them now.",
        answers={200: Agents},
    ),
    "POST /v1/tickets": Operation(
        does="A ticket for one WebSocket handshake with the Origin of this request.",
        answers={200: Ticket},
    ),
    "POST /v1/revocations": Operation(
        does="End a token, or those of a subject or the tenant; for tokens with the scope `admin`.",
        body=Wanted,
        answers={200: Revoked},
        refusals=["frame.malformed", "frame.too_large"],
    ),
    "GET /healthz": Operation(
        does="Whether the process is alive.", answers={200: Health}, guarded=False
    ),
    "GET /readyz": Operation(
        does="Whether new clients may come.", answers={200: Health, 503: Health}, guarded=False
    ),
    "GET /metrics": Operation(
        does="For Prometheus; to who may not see it, it is not there.",
        answers={200: TEXT, 404: TEXT},
        guarded=False,
    ),
}
"""Method and path, as the router has it -> what it is."""


def documented(at: str) -> str:
    """Method and path as the document has it: there parameters have no converters."""
    return at.replace(":path}", "}")


def openapi() -> Schema:
    """The document, in version 3.1 of the OpenAPI Specification."""
    types: list[Any] = [down.Error, Id, Subject, Client]
    for operation in OPERATIONS.values():
        named = (operation.query, operation.body, *operation.answers.values())
        types += (t for t in named if t is not None and not isinstance(t, str))
    schemas, defs = components(types, REFS)
    _as_bodies(defs)
    known = _Known(dict(zip(map(repr, types), schemas, strict=True)), defs)
    paths: dict[str, Schema] = {}
    for at, operation in OPERATIONS.items():
        method, path = documented(at).split(" ")
        paths.setdefault(path, {})[method.lower()] = _described(at, operation, known)
    unused = {"Client", *(o.query.__name__ for o in OPERATIONS.values() if o.query is not None)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Agent Gateway",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": {k: v for k, v in sorted(defs.items()) if k not in unused},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


class _Known(Struct):
    """The schema of every type that an operation names, and those that they refer to."""

    schemas: dict[str, Schema]
    defs: dict[str, Schema]

    def of(self, wanted: Any) -> Schema:
        return self.schemas[repr(wanted)]

    def fields(self, struct: type[Struct]) -> dict[str, Schema]:
        return self.defs[struct.__name__]["properties"]


def _as_bodies(defs: dict[str, Schema]) -> None:
    """Commands as HTTP takes them: the session is in the path, an id may be left out.

    Each may name the tab that it comes from. `POST /v1/sessions` has no session in its path, and
    its body need not say that it makes one.
    """
    client = defs["Client"]["properties"]["client"]
    tab = {"client": {k: v for k, v in client.items() if k != "default"}}
    defs["NewSession"] = _without(defs["SessionCreate"], {"type"}, {"id"}, tab)
    defs["NewSession"]["title"] = "NewSession"
    for command in cmd.AnySessionCommand.__args__:
        name = command.__name__
        defs[name] = _without(defs[name], {"session"}, {"id"}, tab)


def _without(schema: Schema, fields: set[str], needed: set[str], more: Schema) -> Schema:
    """Of an object: without these fields, these not required any more, and with more of them."""
    required = [name for name in schema["required"] if name not in fields | needed]
    known = {k: v for k, v in schema["properties"].items() if k not in fields}
    return {**schema, "required": required, "properties": {**known, **more}}


def _described(at: str, operation: Operation, known: _Known) -> Schema:
    described: Schema = {
        "operationId": _name(at),
        "summary": operation.does,
        "parameters": list(_parameters(at, operation, known)),
        "responses": _responses(operation, known),
        "security": [{"token": []}] if operation.guarded else [],
    }
    if operation.body is not None:
        new = operation.body is cmd.SessionCreate
        schema = {"$ref": REFS.format(name="NewSession")} if new else known.of(operation.body)
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
    return described


def _name(at: str) -> str:
    """`GET /v1/sessions/{session}` is `get_v1_sessions_session`."""
    words = documented(at).lower().replace("{", "").replace("}", "").replace("/", " ")
    return "_".join(words.split())


def _parameters(at: str, operation: Operation, known: _Known) -> Iterator[Schema]:
    if "{session}" in at:
        yield {"name": "session", "in": "path", "required": True, "schema": known.of(Id)}
    if "{subject:path}" in at:
        yield {"name": "subject", "in": "path", "required": True, "schema": known.of(Subject)}
    fields = {} if operation.query is None else known.fields(operation.query)
    for name, schema in fields.items():
        yield {"name": name, "in": "query", "schema": schema}
    if operation.header is not None:
        name, says = operation.header
        yield {"name": name, "in": "header", "description": says, "schema": {"type": "string"}}


def _responses(operation: Operation, known: _Known) -> Schema:
    """By status, in order; errors name their codes."""
    codes: dict[int, list[str]] = {}
    for code in (*(ALWAYS if operation.guarded else ()), *operation.refusals):
        codes.setdefault(ERRORS[code].http_status, []).append(code)
    responses: Schema = {}
    for status in sorted({*operation.answers, *codes}):
        content: Schema = {}
        answer = operation.answers.get(status)
        if isinstance(answer, str):
            content[answer] = {"schema": {"type": "string"}}
        elif answer is not None:
            content[JSON] = {"schema": known.of(answer)}
        if status in codes:
            content[JSON] = {"schema": known.of(down.Error)}
        said = [HTTPStatus(status).phrase, *(f"`{code}`" for code in codes.get(status, ()))]
        responses[str(status)] = {"description": " ".join(said), "content": content}
        if answer is down.Ok and operation.body is cmd.SessionCreate:
            responses[str(status)]["links"] = _links()
    return responses


def _links() -> Schema:
    """What may be asked about a session that was made."""
    of_it = {"session": "$response.body#/session"}
    about = (_name(at) for at in OPERATIONS if "{session}" in at)
    return {name: {"operationId": name, "parameters": of_it} for name in about}
