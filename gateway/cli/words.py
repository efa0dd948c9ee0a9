"""The commands of `agent-gateway`: where each one is, and what a person reads about it.

Text and places only: help and usage errors must not load what a gateway is made of.
"""

from msgspec import Struct

HELP = """Carries AI agent sessions to browsers over one WebSocket per client.

Every option of `serve`, `demo` and `worker` is also an environment variable, AGENT_GATEWAY_PORT
for --port, and a key of agent-gateway.toml in the working folder. A flag wins over the
environment, the environment over the file."""


class Command(Struct, frozen=True):
    """One word after `agent-gateway`."""

    name: str
    place: str
    """`module:function`, loaded when the command is used."""
    help: str
    configured: bool = False
    """Whether its options come from the environment and the file as well."""
    reads_file: bool = False
    """Whether they come from the file as well; its variables it names itself."""


_SERVE = """Serve clients, and run agents unless told not to.

SIGHUP reads agent-gateway.toml again and applies what a running process can change.

**Examples**

    agent-gateway serve --agents research:researcher

    agent-gateway serve --broker redis://127.0.0.1:6379/0 --no-runs --port 8001

    AGENT_GATEWAY_AUTH_SECRET=… agent-gateway serve --host 0.0.0.0 --auth jwt
"""

_DEMO = """Serve the demo page with the agents demo, echo and scripted, and print its URL.

**Examples**

    agent-gateway demo

    agent-gateway demo --port 9000 --agents demo,research:researcher
"""

_WORKER = """Run agents for gateways that share its broker; listens nowhere.

**Examples**

    agent-gateway worker --broker redis://127.0.0.1:6379/0 --agents research:researcher
"""

_MINT = """Mint a token for `serve --auth jwt` and print it.

**Examples**

    export AGENT_GATEWAY_AUTH_SECRET=$(openssl rand -hex 32)

    agent-gateway token --sub ann --tenant acme --detail full --ttl 3600

    agent-gateway token --sub ann --tenant acme --agents research --sessions s_1

    agent-gateway token --sub root --tenant acme --scope admin
"""

_REVOKE = """Revoke tokens on all gateways of a broker: one, those of a subject, or of a tenant.

Tokens issued later are good; connections of those that are revoked end within 2 s.

**Examples**

    agent-gateway revoke --broker redis://127.0.0.1:6379/0 --tenant acme --sub ann

    agent-gateway revoke --broker redis://127.0.0.1:6379/0 --tenant acme --token-id 5f0c3d

    agent-gateway revoke --broker redis://127.0.0.1:6379/0 --tenant acme
"""

_SCHEMA = """Print the JSON Schema of the protocol, or the OpenAPI document of the HTTP routes.

**Examples**

    agent-gateway schema > schema.json

    agent-gateway schema --openapi > openapi.json
"""

_CHAT = """Talk to an agent in the terminal; in a pipe, say one message and print the answer.

Ctrl-C stops the run, Ctrl-D leaves, /help lists what else can be typed.

**Examples**

    agent-gateway chat

    agent-gateway chat --agent echo --session notes

    agent-gateway chat "What is on this page?" --tool read_heading

    echo hi | agent-gateway chat --agent echo

    AGENT_GATEWAY_TOKEN=… agent-gateway chat --url wss://gateway.example.com
"""

COMMANDS = (
    Command("serve", "gateway.cli.serve:serve", _SERVE, configured=True),
    Command("demo", "gateway.cli.serve:demo", _DEMO, configured=True),
    Command("worker", "gateway.cli.serve:worker", _WORKER, configured=True),
    Command("chat", "gateway.cli.chat:chat", _CHAT),
    Command("token", "gateway.cli.offline:token", _MINT),
    Command("revoke", "gateway.cli.revoke:revoke", _REVOKE, reads_file=True),
    Command("schema", "gateway.cli.offline:schema", _SCHEMA),
)
