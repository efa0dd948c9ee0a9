"""The other products: how each is started, subscribed to and published to.

One server process each, in the settings that its own documentation recommends for production.
Server programs are in servers/; nothing of the products is imported here.
"""

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import redis

from loadtest.errors import LoadError
from loadtest.peers.install import NCHAN_MODULE, NGINX, SERVERS, Kit
from loadtest.peers.publisher import Spec, room_name, text_of

Name = Literal["socketio-python", "channels", "socketio-node", "nchan"]
PUBLISH_S = 20.0


class Place(msgspec.Struct, frozen=True):
    """Where one server runs."""

    kit: Kit
    redis_port: int
    port: int

    @property
    def redis(self) -> str:
        """The URL of its Redis."""
        return f"redis://127.0.0.1:{self.redis_port}"


class Product(msgspec.Struct, frozen=True):
    """One peer. Commands of `publish` take a room and a text; without it messages are posted."""

    title: str
    path: str  # of its WebSocket; `{rooms}` are the rooms to join
    engine: bool  # speaks Engine.IO
    serve: Callable[[Place], Sequence[str | Path]]
    publish: Callable[[Place], Sequence[str | Path]] | None
    versions: Callable[[Kit], dict[str, str]]
    children: int = 0  # processes that the server starts


def _python(program: str, verb: str) -> Callable[[Place], Sequence[str | Path]]:
    return lambda place: [place.kit.python, SERVERS / program, verb, place.redis]


def _serve_python(program: str) -> Callable[[Place], Sequence[str | Path]]:
    return lambda place: [*_python(program, "serve")(place), str(place.port)]


def _node(place: Place, verb: str) -> list[str | Path]:
    return [place.kit.node, place.kit.node_folder / "socketio_node.mjs", verb, place.redis]


def _nginx(place: Place) -> list[str | Path]:
    filled = (
        (SERVERS / "nginx.conf")
        .read_text()
        .format(module=place.kit.debian(NCHAN_MODULE), redis=place.redis, port=place.port)
    )
    # Into the folder of the process, which goes with it.
    begin = 'printf %s "$1" > nginx.conf && exec "$0" -p "$PWD" -c nginx.conf -e stderr'
    return ["sh", "-c", begin, place.kit.debian(NGINX), filled]


def _packages(*names: str) -> Callable[[Kit], dict[str, str]]:
    code = "import json, sys; from importlib.metadata import version as v; "
    code += "print(json.dumps({n: v(n) for n in sys.argv[1:]}))"
    return lambda kit: json.loads(_output([kit.python, "-c", code, *names]))


def _node_versions(kit: Kit) -> dict[str, str]:
    found = {"node": _output([kit.node, "--version"]).strip()}
    for name in ("socket.io", "@socket.io/redis-adapter", "ioredis"):
        package = kit.node_folder / "node_modules" / name / "package.json"
        found[name] = json.loads(package.read_text())["version"]
    return found


def _nchan_versions(kit: Kit) -> dict[str, str]:
    said = subprocess.run(  # noqa: S603 - nginx
        [kit.debian(NGINX), "-v"], capture_output=True, text=True, check=True
    )
    policy = _output(["apt-cache", "policy", "libnginx-mod-nchan"]).split()
    return {
        "nginx": said.stderr.strip().rpartition("/")[2],
        "libnginx-mod-nchan": policy[policy.index("Candidate:") + 1],
    }


def _output(command: Sequence[str | Path]) -> str:
    return subprocess.run(  # noqa: S603 - programs of the kit
        command, capture_output=True, text=True, check=True, timeout=PUBLISH_S
    ).stdout


PRODUCTS: dict[Name, Product] = {
    "socketio-python": Product(
        title="python-socketio",
        path="/socket.io/?EIO=4&transport=websocket&rooms={rooms}",
        engine=True,
        serve=_serve_python("socketio_python.py"),
        publish=_python("socketio_python.py", "publish"),
        versions=_packages("python-socketio", "python-engineio", "uvicorn", "redis"),
    ),
    "channels": Product(
        title="Django channels",
        path="/?rooms={rooms}",
        engine=False,
        serve=_serve_python("channels_python.py"),
        publish=_python("channels_python.py", "publish"),
        versions=_packages("channels", "channels-redis", "Django", "uvicorn"),
    ),
    "socketio-node": Product(
        title="Socket.IO (Node)",
        path="/socket.io/?EIO=4&transport=websocket&rooms={rooms}",
        engine=True,
        serve=lambda place: [*_node(place, "serve"), str(place.port)],
        publish=lambda place: _node(place, "publish"),
        versions=_node_versions,
    ),
    "nchan": Product(
        title="Nchan",
        path="/sub?rooms={rooms}",
        engine=False,
        serve=_nginx,
        publish=None,
        versions=_nchan_versions,
        children=1,
    ),
}


def publish_request(product: Product, place: Place) -> bytes:
    """The Redis command that the product's own publisher sends for one message.

    Raises:
        LoadError: it published nothing that holds the text.
    """
    assert product.publish is not None, "asked of those that publish through Redis only"
    room, text = room_name(0), text_of(0)
    with redis.Redis(port=place.redis_port) as client, client.pubsub() as watcher:  # pyright: ignore[reportUnknownMemberType] - redis-py's **kwargs have no types
        watcher.psubscribe("*")
        watcher.get_message(timeout=PUBLISH_S)
        _output([*product.publish(place), room, text])
        while told := cast("dict[str, Any] | None", watcher.get_message(timeout=1)):
            if told["type"] == "pmessage" and text.encode() in told["data"]:
                return _command(b"PUBLISH", told["channel"], told["data"])
    raise LoadError(f"{product.title} published nothing that Redis saw.")


def _command(*words: bytes) -> bytes:
    head = b"*%d\r\n" % len(words)
    return head + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def publish_spec(product: Product, place: Place, rooms: int, publisher_port: int) -> Spec:
    """How `publisher` publishes to this product; `publisher_port` is Nchan's second nginx."""
    if product.publish:
        request = publish_request(product, place)
        return Spec(port=place.redis_port, connections=1, rooms=rooms, template=request)
    text = text_of(0)
    lines = [f"POST /pub?room={room_name(0)} HTTP/1.1", "Host: nchan"]
    lines += [f"Content-Length: {len(text)}", "", text]
    return Spec(
        port=publisher_port,
        connections=16,
        rooms=rooms,
        template="\r\n".join(lines).encode(),
    )
