"""A notebook: cells are compiled one by one, and run within the loop that the notebook has."""

import ast
import inspect
import json
from typing import Any

from tests.support.processes import GatewayProcess

BLOCKING = [
    "from gateway.client import Client, string, tool",
    "shout = tool('shout').param('text', string()).handler(lambda a: a['text'].upper()).build()",
    "client = Client(url)",
    "agent = client.agent({'agent': 'scripted', 'tools': [shout]})",
    "texts = [reply.text for reply in agent.send_message(script, stream=True)]",
    "again = agent.send_message(script).text",
    "client.close()",
]
AWAITING = [
    "from gateway.client import AsyncClient, string, tool",
    "shout = tool('shout').param('text', string()).handler(lambda a: a['text'].upper()).build()",
    "client = AsyncClient(url)",
    "agent = client.agent({'agent': 'scripted', 'tools': [shout]})",
    "texts = [reply.text async for reply in agent.send_message(script, stream=True)]",
    "again = (await agent.send_message(script)).text",
    "await client.close()",
]


async def run(cells: list[str], url: str) -> dict[str, Any]:
    """What the cells leave behind."""
    steps = [{"call_tool": {"name": "shout", "arguments": {"text": "hi"}}}, {"say": "{last}"}]
    names: dict[str, Any] = {"url": url, "script": json.dumps(steps)}
    for cell in cells:
        code = compile(cell, "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, names)
        if inspect.isawaitable(result):
            await result
    return names


async def test_the_blocking_client_works_beside_the_notebook_s_loop(served: GatewayProcess) -> None:
    names = await run(BLOCKING, served.http_url)
    assert names["texts"][-1] == names["again"] == '"HI"'


async def test_the_other_one_works_in_it(served: GatewayProcess) -> None:
    names = await run(AWAITING, served.http_url)
    assert names["texts"][-1] == names["again"] == '"HI"'
