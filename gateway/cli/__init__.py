"""The command `agent-gateway`: what its words and options are, and how errors reach a person.

An error is one sentence on stderr that names the remedy, and exit code 2; never a traceback for
what a person can repair. The commands themselves are in this package's modules.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Env

from gateway import __version__
from gateway.cli.offline import schema, token
from gateway.cli.options import FILE, PREFIX, TomlFile, misspelt
from gateway.cli.serve import demo, serve, worker
from gateway.errors import GatewayError

USAGE_ERROR = 2
INTERRUPTED = 130

HELP = """Carries AI agent sessions to browsers over one WebSocket per client.

Every option of `serve`, `demo` and `worker` is also an environment variable, AGENT_GATEWAY_PORT
for --port, and a key of agent-gateway.toml in the working folder. A flag wins over the
environment, the environment over the file."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code of the process."""
    # Agents are modules of the folder one works in, as `python -m` finds them.
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, folder)
    for warning in misspelt(os.environ):
        _tell(warning)
    try:
        return int(_build()(sys.argv[1:] if arguments is None else arguments) or 0)
    except (CycloptsError, GatewayError) as error:
        _tell(_sentence(error))
        return USAGE_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `agent-gateway schema | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _build() -> App:
    app = App(
        name="agent-gateway",
        help=HELP,
        help_format="markdown",
        version=f"agent-gateway {__version__}",
        # The variables' names follow one rule, which the help begins with.
        default_parameter=Parameter(negative_iterable=(), show_env_var=False),
        print_error=False,
        exit_on_error=False,
        result_action="return_value",
    )
    sources = [Env(PREFIX, command=False), TomlFile(Path(FILE))]
    for command in (serve, demo, worker):
        app.command(command, config=sources)
    app.command(token)
    app.command(schema)
    return app


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    if f"{PREFIX}PORT" in text and "tcp://" in text:
        # Kubernetes names variables after services, and one of them is this option's.
        text += (
            " Kubernetes set it for a service named agent-gateway: use enableServiceLinks: false."
        )
    if isinstance(error, CycloptsError):
        text += " See agent-gateway --help, or that of the command."
    return text


def _tell(text: str) -> None:
    print(f"agent-gateway: {text}", file=sys.stderr)
