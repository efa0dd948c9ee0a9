"""Connecting and opening a session for a chat, with errors that name the remedy."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gateway import __version__
from gateway.client import AsyncClient, ClientTool, GatewayError, Session
from gateway.errors import ConfigurationError
from protocol.commands import App
from protocol.values import Detail, Tool

AGENT = "echo"
"""Who is talked to if nobody is named: `serve` and `demo` both have it."""
WELCOME_SECONDS = 10.0
_AUTH = re.compile(r"\b440[13]\b")  # the close codes about who one is


class Wish(Struct, frozen=True):
    """Which session: an agent for a new one, an id for one that exists, or both."""

    agent: str | None = None
    session: str | None = None


class ChatError(Exception):
    """The chat cannot go on; its text is one sentence that names the remedy."""


async def connect(client: AsyncClient, url: str) -> None:
    """Connect; a gateway that cannot be reached is told at once, not after tries.

    Raises:
        ChatError: there is no gateway, or it refused.
    """
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def listen(change: Any) -> None:
        if change.status in ("connecting", "offline") and change.reason and not lost.done():
            lost.set_result(change.reason)

    client.on_status(listen)
    try:
        async with asyncio.TaskGroup() as group:
            connecting = group.create_task(client.connect(WELCOME_SECONDS))
            lost.add_done_callback(lambda _: connecting.cancel())
    except* GatewayError as errors:
        raise refused(errors.exceptions[0]) from None
    if client.status != "open":
        raise ChatError(
            f"no gateway at {url} ({lost.result()}): start one with `agent-gateway demo`, "
            "or say where it is with --url ws://host:port."
        )
    lost.cancel()


def refused(error: BaseException) -> ChatError:
    """What a person is told of a refusal."""
    if not isinstance(error, GatewayError):
        return ChatError(str(error))
    match error.code:
        case "session.not_found":
            remedy = "`/sessions` in a chat lists yours; without --session a new one begins."
        case "session.exists":
            remedy = "Choose another --session, or leave --agent out to go on with it."
        case "client.closed" if not _AUTH.search(error.message):
            remedy = ""
        case "client.closed" | "auth.invalid" | "auth.expired" | "auth.required":
            remedy = "Give a token with --token or AGENT_GATEWAY_TOKEN: `agent-gateway token`."
        case _:
            remedy = ""
    return ChatError(f"{error.message.rstrip('.')}. {remedy}".rstrip())


async def open_session(
    client: AsyncClient,
    wish: Wish,
    *,
    declared: Sequence[Tool] = (),
    handler: Any = None,
    detail: Detail | None = None,
) -> Session:
    """Open it with the `declared` tools and, if there is a handler, all that it has already.

    Raises:
        GatewayError: it was refused.
    """
    tools = [ClientTool(spec, handler) for spec in declared]
    agent = wish.agent or (AGENT if wish.session is None else None)
    session = await client.session(wish.session, agent=agent, tools=tools, detail=detail)
    ours = {tool.name for tool in declared}
    others = [spec for spec in session.state.tools if spec.name not in ours]
    if handler is None or not others:
        return session
    session.close()
    tools += [ClientTool(spec, handler) for spec in others]
    return await client.session(session.id, tools=tools, detail=detail)


def make_client(url: str, token: str | None, token_file: Path | None) -> AsyncClient:
    """A client that is not connected; a token file is read again at each connect.

    Raises:
        ConfigurationError: the URL is none.
    """

    def read() -> str:
        assert token_file is not None
        try:
            return token_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"--token-file {token_file} cannot be read: {error}") from None

    if token is None and token_file is not None:
        read()  # a mistake is told now
    source = token if token is not None or token_file is None else read
    try:
        return AsyncClient(url, token=source, app=App("agent-gateway chat", __version__))
    except ValueError as error:
        raise ConfigurationError(f"--url: {error}.") from None


def declared(names: Sequence[str], file: Path | None) -> list[Tool]:
    """The tools of `--tool` and `--tools`.

    Raises:
        ConfigurationError: the file is no JSON list of tools.
    """
    tools = [Tool(name=name, parameters={"type": "object"}) for name in names]
    if file is None:
        return tools
    try:
        return [*tools, *msgspec.json.decode(file.read_bytes(), type=list[Tool])]
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigurationError(
            f'--tools {file} is no JSON list of tools, such as [{{"name": "read_heading", '
            f'"parameters": {{"type": "object"}}}}]: {error}'
        ) from None
