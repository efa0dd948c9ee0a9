"""Where options come from besides flags: `AGENT_GATEWAY_…` and `agent-gateway.toml`.

A flag wins over the environment, the environment over the file. One file serves all commands, so
a worker ignores the keys that only `serve` knows; a key that nothing knows is an error.
"""

import difflib
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

from cyclopts import App, ArgumentCollection, Parameter
from cyclopts.config import Dict

from gateway.errors import ConfigurationError
from gateway.settings import Settings, WorkerSettings

PREFIX = "AGENT_GATEWAY_"
FILE = "agent-gateway.toml"
NAMES = frozenset(field.name for field in fields(Settings))

OF_CHAT = ("url", "token", "token_file")
"""Those of `chat`, which runs beside no gateway and reads no file."""

S = TypeVar("S", bound=WorkerSettings)
Read: TypeAlias = Annotated[Callable[[], S | None] | None, Parameter(parse=False)]
"""An argument of a command that is no option: reads the same options once more, as they are by
then; None: they are the defaults."""
READ = "read"
"""The name of that argument."""

# What Kubernetes sets in every pod beside a service that is called agent-gateway.
_KUBERNETES = ("_SERVICE_", "_TCP", "_UDP")


class TomlFile:
    """The options of a TOML file, if it is there: top-level keys, `lease_ms` or `lease-ms`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Fill in what no flag and no variable has given.

        Raises:
            ConfigurationError: the file cannot be read, or has a key that is no option.
        """
        values = self._read()
        for name in values:
            if name not in NAMES:
                raise ConfigurationError(f"{self._path}: {name} is no option{_hint(name, NAMES)}")
        known = {argument.field_info.name for argument in arguments}
        mine = {name.replace("_", "-"): values[name] for name in values if name in known}
        source = Dict(mine, source=str(self._path), use_commands_as_keys=False)
        source(app, commands, arguments)

    def _read(self) -> dict[str, Any]:
        try:
            text = self._path.read_text("utf-8")
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{self._path} cannot be read: {error}") from error
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"{self._path} is no TOML: {error}") from error
        return {key.replace("-", "_"): value for key, value in values.items()}


def reader(app: App, arguments: Sequence[str]) -> Callable[[], Any]:
    """What `Read` promises, for a command that was called with `arguments`."""

    def read() -> Any:
        _, given, _ = app.parse_args(arguments)
        return given.arguments.get("settings")

    return read


def misspelt(environment: Mapping[str, str]) -> list[str]:
    """What to tell about variables that look like options and are none."""
    known = [PREFIX + name.upper() for name in (*NAMES, *OF_CHAT)]
    strangers = [
        name
        for name in environment
        if name.startswith(PREFIX)
        and name not in known
        and not any(part in name for part in _KUBERNETES)
    ]
    return [f"{name} is no option and is ignored{_hint(name, known)}" for name in strangers]


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else "."
