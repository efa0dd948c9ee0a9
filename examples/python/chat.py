"""The chat of examples/react as a program: the same agent, and a tool that asks before it runs.

agent-gateway demo      # in one terminal
python chat.py          # in another; an empty line ends it
"""

from typing import Any

from gateway.client import Agent, Client, Reply, string, tool


def rename(arguments: dict[str, Any]) -> dict[str, Any]:
    """Does what the agent may ask for; it runs here, in this process."""
    print(f"\n=== {arguments['title']} ===")
    return arguments


def talk(agent: Agent, line: str) -> None:
    """Prints an answer while it grows, and asks what the agent asks."""
    reply = Reply("", False, None)
    for newer in agent.send_message(line, stream=True):
        print(newer.text[len(reply.text) :], end="", flush=True)
        reply = newer
    for approval in reply.pending_approvals:
        agreed = input(f"May it do this? {approval.title} {approval.arguments} [y/n] ") == "y"
        answer = agent.approve if agreed else agent.deny
        print(answer(approval.id).text, end="")
    print(f"\n{reply.error.message}" if reply.error else "")


rename_page = (
    tool("rename_page", "Gives this program another title")
    .param("title", string("The new title"))
    .require_approval()
    .handler(rename)
    .build()
)

with Client("http://127.0.0.1:8000") as client:
    agent = client.agent({"agent": "demo", "tools": [rename_page]})
    while line := input("> "):
        talk(agent, line)
