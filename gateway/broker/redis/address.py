"""Which servers a broker's URL names: one, a service that Sentinels know, a Cluster. No I/O."""

from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from msgspec import Struct

Kind: TypeAlias = Literal["single", "sentinel", "cluster"]
Place: TypeAlias = tuple[str, int]
"""Host and port."""

PORTS: dict[Kind, int] = {"single": 6379, "sentinel": 26379, "cluster": 6379}


class Address(Struct, frozen=True):
    """A URL, taken apart."""

    kind: Kind
    url: str
    """What redis-py reads: of one server, with user, password, database and options."""
    hosts: tuple[Place, ...] = ()
    """The Sentinels, or some nodes of the Cluster."""
    service: str = ""
    """What the Sentinels call it."""

    @property
    def place(self) -> str:
        """Where that is, without a password; of several the first."""
        parts = urlsplit(self.url)
        if parts.scheme == "unix":
            return parts.path
        if self.hosts:
            return "{}:{}".format(*self.hosts[0])
        return f"{parts.hostname or 'localhost'}:{parts.port or PORTS['single']}"


def read_url(url: str) -> Address:
    """`redis://`, `rediss://` or `unix://`, for several servers `redis+…://host:port,host:port`.

    `redis+sentinel://[[user]:password@]host[:port],…/service[/db]`,
    `redis+cluster://[[user]:password@]host[:port],…`; with TLS `rediss+…`.
    Raises `ValueError`.
    """
    scheme, _, rest = url.partition("://")
    protocol, _, kind = scheme.partition("+")
    if not kind:
        return Address("single", url)
    if protocol not in ("redis", "rediss") or kind not in ("sentinel", "cluster"):
        raise ValueError(f"{scheme}:// is not known")
    rest, question, options = rest.partition("?")
    authority, _, path = rest.partition("/")
    user, at, places = authority.rpartition("@")
    hosts = tuple(_place(text, PORTS[kind]) for text in places.split(","))
    service, database = "", path
    if kind == "sentinel":
        service, _, database = path.partition("/")
        if not service:
            raise ValueError("it does not say which service: redis+sentinel://host:port/service")
    if kind == "cluster" and database not in ("", "0"):
        raise ValueError("a Cluster has only database 0")
    if not (database or "0").isdecimal():
        raise ValueError(f"{database!r} is no database")
    one = f"{protocol}://{user}{at}{hosts[0][0]}:{hosts[0][1]}/{database}{question}{options}"
    return Address(kind, one, hosts, service)


def _place(text: str, port: int) -> Place:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(f"{text!r} is no host")
    return parts.hostname, parts.port or port
