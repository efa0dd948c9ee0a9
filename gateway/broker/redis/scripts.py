"""The Lua scripts as they are sent: `scripts/*.lua`, with the shared part put in where wanted."""

from hashlib import sha1
from importlib.resources import files

from msgspec import Struct

SHARED = "session.lua"
WANTS_SHARED = f"-- needs {SHARED}\n"


class Script(Struct, frozen=True):
    name: str
    source: str
    sha: str


def load_scripts() -> dict[str, Script]:
    """Every script by its name."""
    folder = files("gateway.broker").joinpath("scripts")
    sources = {
        file.name: file.read_text() for file in folder.iterdir() if file.name.endswith(".lua")
    }
    shared = sources.pop(SHARED)
    scripts: dict[str, Script] = {}
    for file_name, text in sources.items():
        name = file_name.removesuffix(".lua")
        # Behind the first line: that is the shebang.
        source = text.replace(WANTS_SHARED, shared, 1)
        digest = sha1(source.encode(), usedforsecurity=False).hexdigest()
        scripts[name] = Script(name, source, digest)
    return scripts
