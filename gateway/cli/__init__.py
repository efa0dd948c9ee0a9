"""The command `agent-gateway`: how its words become a call, and how errors reach a person.

An error is one sentence on stderr that names the remedy, and exit code 2; never a traceback for
what a person can repair. The commands themselves are in this package's modules, and loaded when
they are used.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Env

from gateway import __version__
from gateway.cli.options import FILE, PREFIX, READ, TomlFile, misspelt, reader
from gateway.cli.words import COMMANDS, HELP
from gateway.errors import GatewayError

USAGE_ERROR = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code of the process."""
    # Agents are modules of the folder one works in, as `python -m` finds them.
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, folder)
    for warning in misspelt(os.environ):
        _tell(warning)
    try:
        return _run(sys.argv[1:] if arguments is None else list(arguments))
    except (CycloptsError, GatewayError) as error:
        _tell(_sentence(error))
        return USAGE_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `agent-gateway schema | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(arguments: list[str]) -> int:
    app = _build()
    command, given, unparsed = app.parse_args(arguments)
    more = {READ: reader(app, arguments)} if READ in unparsed else {}
    return int(command(*given.args, **given.kwargs, **more) or 0)


def _build() -> App:
    app = App(
        name="agent-gateway",
        help=HELP,
        help_format="markdown",
        version=f"agent-gateway {__version__}",
        version_format="plaintext",
        # The variables' names follow one rule, which the help begins with.
        default_parameter=Parameter(negative_iterable=(), show_env_var=False),
        print_error=False,
        exit_on_error=False,
        result_action="return_value",
    )
    environment, file = Env(PREFIX, command=False), TomlFile(Path(FILE))
    for command in COMMANDS:
        config = [environment] if command.configured else []
        config += [file] if command.configured or command.reads_file else []
        app.command(command.place, name=command.name, help=command.help, config=config)
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
