"""The command `chat`: which face it shows, and the sentence and exit code when it cannot."""

import asyncio
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from gateway.cli.chat.opening import (
    ChatError,
    Wish,
    connect,
    declared,
    make_client,
    open_session,
    refused,
)
from gateway.cli.chat.plain import converse
from gateway.client import AsyncClient, GatewayError
from gateway.errors import ConfigurationError
from protocol.values import Detail

DEFAULT_URL = "ws://127.0.0.1:8000"


def chat(  # noqa: PLR0913 - a command's options
    message: str | None = None,
    /,
    *,
    url: Annotated[str, Parameter(env_var="AGENT_GATEWAY_URL", show_env_var=True)] = DEFAULT_URL,
    agent: str | None = None,
    session: str | None = None,
    stream: bool | None = None,
    detail: Detail | None = None,
    token: Annotated[
        str | None, Parameter(env_var="AGENT_GATEWAY_TOKEN", show_env_var=True)
    ] = None,
    token_file: Annotated[
        Path | None, Parameter(env_var="AGENT_GATEWAY_TOKEN_FILE", show_env_var=True)
    ] = None,
    tool: list[str] | None = None,
    tools: Path | None = None,
) -> int:
    """Talk to an agent in the terminal.

    Parameters
    ----------
    message
        What to say first; without a terminal it, or else standard input, is all that is said.
    url
        Where the gateway is.
    agent
        Who is talked to, by a name of `serve --agents`; without it and --session `echo`.
    session
        The session to go on with; with --agent it is begun if it does not exist.
    stream
        Show the answer while it is written; the default in a terminal.
    detail
        How much to see; default: the most that the token grants.
    token
        Who you are, for a gateway with --auth jwt; better in the environment.
    token_file
        A file with the token, read again at each connect.
    tool
        A tool that you execute yourself when the agent calls it; repeatable.
    tools
        A JSON file with a list of such tools, with descriptions and parameters.
    """
    specs = declared(tool or (), tools)
    client = make_client(url, token, token_file)
    wish = Wish(agent, session)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    try:
        if terminal:
            talk = _terminal().talk(
                client,
                url,
                wish,
                tools=specs,
                detail=detail,
                stream=stream is not False,
                first=message,
            )
            asyncio.run(talk)
        else:
            text = _said() if message is None else message
            asyncio.run(_plain(client, url, wish, detail, text, stream=stream is True))
    except ChatError as error:
        _tell(str(error))
        return 1
    return 0


def _said() -> str:
    """What is piped in."""
    try:
        text = sys.stdin.read()
        text.encode()  # some locales let bytes through that are no text
    except UnicodeError:
        raise ConfigurationError("what is piped in is no text: send it as UTF-8.") from None
    return text


def _terminal() -> Any:
    """The module that needs what `agent-gateway[chat]` brings."""
    try:
        return import_module("gateway.cli.chat.terminal")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("prompt_toolkit", "rich"):
            raise
        raise ConfigurationError(
            "a chat in the terminal needs prompt_toolkit and rich: "
            "pip install 'agent-gateway[chat]'"
        ) from None


async def _plain(
    client: AsyncClient, url: str, wish: Wish, detail: Detail | None, text: str, *, stream: bool
) -> None:
    if not text.strip():
        raise ChatError("nothing to say: give a message, or pipe one into it.")
    try:
        await connect(client, url)
        opened = await open_session(client, wish, detail=detail)
        await converse(opened, text, _write, _tell, stream=stream)
    except GatewayError as error:
        raise refused(error) from None
    finally:
        await client.close()


def _tell(text: str) -> None:
    print(f"agent-gateway: {text}", file=sys.stderr)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
