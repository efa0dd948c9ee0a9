"""Every option, once: name, unit, default, range and what it is for.

`cli` makes flags, environment variables (`AGENT_GATEWAY_…`) and keys of `agent-gateway.toml` of
it; who embeds the gateway passes a `Settings` to `create_app`. Durations are integer milliseconds,
sizes bytes. A `Settings` that exists can work: what cannot is a `ConfigurationError` that names
the remedy. Nothing here reads a file, the environment or a clock.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Annotated, Generic, Literal, TypeAlias, TypeVar, get_type_hints
from urllib.parse import urlsplit

import msgspec
from cyclopts import Group, Parameter
from msgspec import Meta, Struct

from gateway.errors import ConfigurationError
from protocol.values import Detail

Auth: TypeAlias = Literal["none", "jwt", "own"]
Algorithm: TypeAlias = Literal["RS256", "PS256", "ES256", "EdDSA"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
LogFormat: TypeAlias = Literal["auto", "console", "json"]

Port = Annotated[int, Meta(ge=0, le=65_535)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Bytes = Annotated[int, Meta(ge=1_024, le=2**40)]
Rss = Annotated[int, Meta(ge=0, le=2**50)]
Millis = Annotated[int, Meta(ge=1, le=30 * 86_400_000)]
MillisOrNever = Annotated[int, Meta(ge=0, le=10 * 366 * 86_400_000)]
Claim = Annotated[str, Meta(min_length=1, max_length=256)]

# The order of `--help`.
LISTEN = Parameter(group=Group("Listening", sort_key=1))
AUTH = Parameter(group=Group("Who may connect", sort_key=2))
RUNS = Parameter(group=Group("Runs", sort_key=3))
STORE = Parameter(group=Group("Sessions", sort_key=4))
DELIVERY = Parameter(group=Group("Delivery and limits", sort_key=5))
PROCESS = Parameter(group=Group("Process", sort_key=6))
LIST = Parameter(show_default=",".join)

DEFAULT_PORT = 8000
CHANGEABLE = frozenset(
    {
        *("auth_secret", "auth_secret_previous", "auth_audience", "auth_issuer", "auth_leeway_ms"),
        *("auth_tenant_claim", "auth_detail_claim", "auth_at_handshake", "detail"),
        *("allowed_origins",),
        *("heartbeat_ms", "hello_ms", "max_subscriptions", "command_queue"),
        *("write_timeout_ms", "ack_timeout_ms", "log_level"),
    }
)
"""What a running process reads at each use; everything else is built in at its start."""
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
"""As browsers write it: in small letters, without a default port."""
MIN_SECRET_BYTES = 32  # RFC 7518 section 3.2: a key at least as long as the hash
AUDIENCE = "agent-gateway"
MAX_AGE_MS = 30 * 86_400_000
LEEWAY_MS = 30_000
MAX_HEARTBEAT_MS = 40_000


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What a process that executes runs needs."""

    broker: Annotated[str, STORE] = "memory://"
    """Where sessions live: `memory://` (this process alone) or `redis://host:port/0`."""

    agents: Annotated[tuple[str, ...], RUNS, LIST] = ("echo",)
    """Built-in names or `package.module:attribute`; comma-separated, repeatable."""

    max_runs: Annotated[Count, RUNS] = 100
    """How many runs one worker executes at a time."""

    park_after_ms: Annotated[Millis, RUNS] = 10_000
    """A run that waits longer for a tool or a person gives its worker free, if its agent can."""

    coalesce_ms: Annotated[int, Meta(ge=0, le=10_000), RUNS] = 20
    """Neighbouring deltas are merged for at most so long."""

    run_ttl_ms: Annotated[Millis, RUNS] = 86_400_000
    """A run, and an approval, older than this fails with `run.expired`."""

    lease_ms: Annotated[Millis, RUNS] = 15_000
    """A worker that does not renew its lease for so long loses the run to another."""

    lease_renew_ms: Annotated[Millis, RUNS] = 5_000
    """How often a lease is renewed."""

    lease_stop_ms: Annotated[Millis, RUNS] = 10_000
    """So long after its last renewal a worker starts no model or tool call any more."""

    cancel_ms: Annotated[Millis, RUNS] = 10_000
    """How long a stopped agent may clean up before it is abandoned."""

    snapshot_events: Annotated[Count, STORE] = 500
    """A snapshot is written every so many events, and at the end of each run."""

    keep_events: Annotated[Count, STORE] = 2_000
    """So many events before the snapshot are kept for clients that resume."""

    keep_bytes: Annotated[Bytes, STORE] = 4 * 2**20
    """The same in bytes; whichever keeps less."""

    keep_ms: Annotated[Millis, STORE] = 86_400_000
    """The same by age; whichever keeps less."""

    session_ttl_ms: Annotated[MillisOrNever, STORE] = 7 * 86_400_000
    """A session without a run in which nothing happens for so long is deleted; 0: never."""

    max_queued_runs: Annotated[Count, STORE] = 100
    """Runs that wait in one session."""

    max_metadata_bytes: Annotated[Bytes, STORE] = 65_536
    """The metadata of one session."""

    max_tools_bytes: Annotated[Bytes, STORE] = 262_144
    """The declarations of one session's tools, together."""

    max_session_bytes: Annotated[Bytes, STORE] = 64 * 2**20
    """The events that one session ever had; beyond it takes no more messages."""

    state_cache_bytes: Annotated[Bytes, STORE] = 64 * 2**20
    """Memory for folded states of sessions, the least recently used leave first."""

    drain_ms: Annotated[Millis, PROCESS] = 20_000
    """How long a process that was told to end may take for it."""

    stall_ms: Annotated[int, Meta(ge=0, le=3_600_000), PROCESS] = 10_000
    """A process whose event loop stands still for so long ends, to be started again; 0: never."""

    log_level: Annotated[LogLevel, PROCESS] = "info"
    """The least severe level that is logged."""

    log_format: Annotated[LogFormat, PROCESS] = "auto"
    """`console`, `json`, or `auto`: console on a terminal."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigurationError: one is out of its range, or two do not go together.
        """
        object.__setattr__(self, "agents", _split(self.agents))
        for name, kind in get_type_hints(type(self), include_extras=True).items():
            try:
                msgspec.convert(getattr(self, name), kind)
            except msgspec.ValidationError as error:
                raise _out_of_range(name, str(error)) from None
        self._check()

    def _check(self) -> None:
        if not self.lease_renew_ms < self.lease_stop_ms < self.lease_ms:
            raise ConfigurationError(
                f"lease_renew_ms ({self.lease_renew_ms}) < lease_stop_ms ({self.lease_stop_ms}) "
                f"< lease_ms ({self.lease_ms}) must hold: a lease is renewed well before its "
                "holder stops, and the holder stops before the lease is free."
            )


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Settings(WorkerSettings):
    """What a process that serves clients needs, and a worker's, since it executes runs too."""

    host: Annotated[str, LISTEN] = "127.0.0.1"
    """The address to listen on."""

    port: Annotated[Port | None, LISTEN] = None
    """The port to listen on; 0 takes any free one [default: 8000]."""

    processes: Annotated[int, Meta(ge=1, le=256), LISTEN] = 1
    """How many processes share the port; more than one needs `redis://`."""

    admin_port: Annotated[Port | None, LISTEN] = None
    """A port of its own for `/metrics`, `/healthz` and `/readyz`; with several processes the
    first of as many; 0 takes any free one [default: `/metrics` is beside the API]."""

    admin_host: Annotated[str, LISTEN] = "127.0.0.1"
    """The address of the admin port."""

    trusted_proxies: Annotated[tuple[str, ...], LISTEN, LIST] = ()
    """Addresses and networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed;
    comma-separated, repeatable."""

    runs: Annotated[bool, RUNS] = True
    """Whether this process executes runs itself."""

    auth: Annotated[Auth, AUTH] = "none"
    """`none`: everyone is local/dev and sees everything. `jwt`: tokens, signed with a shared secret
    or with a key of a key set. `own`: the authenticator that `create_app` was given."""

    auth_secret: Annotated[str | None, AUTH] = None
    """The secret of the tokens (HS256), 32 bytes or more; better as AGENT_GATEWAY_AUTH_SECRET."""

    auth_secret_previous: Annotated[str | None, AUTH] = None
    """A secret that is accepted as well, while the one before is replaced."""

    auth_jwks_url: Annotated[str | None, AUTH] = None
    """Instead of a secret: where the key set (JWKS) of the tokens' issuer is, by https."""

    auth_algorithm: Annotated[Algorithm, AUTH] = "RS256"
    """The one algorithm of tokens signed with a key of the key set."""

    auth_audience: Annotated[Claim, AUTH] = AUDIENCE
    """The `aud` that a token must have."""

    auth_issuer: Annotated[Claim | None, AUTH] = None
    """The `iss` that a token must have [default: any]."""

    auth_tenant_claim: Annotated[Claim, AUTH] = "tenant"
    """The claim that names the tenant."""

    auth_detail_claim: Annotated[Claim, AUTH] = "detail"
    """The claim that says the most its holder may see."""

    auth_leeway_ms: Annotated[int, Meta(ge=0, le=600_000), AUTH] = LEEWAY_MS
    """How far the clock that made a token may be off."""

    auth_max_age_ms: Annotated[int, Meta(ge=60_000, le=10 * 366 * 86_400_000), AUTH] = MAX_AGE_MS
    """A token issued longer ago has ended, whatever it says; revocations are kept until then."""

    auth_at_handshake: Annotated[bool, Parameter(negative=()), AUTH] = False
    """Refuse a WebSocket without a ticket or an Authorization header before it opens."""

    detail: Annotated[Detail, AUTH] = "steps"
    """The most that a token without a `detail` claim may see."""

    allowed_origins: Annotated[tuple[str, ...], AUTH] = ()
    """Origins of pages that may connect, beside the gateway's own; comma-separated, repeatable."""

    insecure: Annotated[bool, Parameter(negative=()), AUTH] = False
    """Allow `--auth none` on addresses that others can reach."""

    heartbeat_ms: Annotated[Millis, DELIVERY] = 25_000
    """How often a connection is pinged; 40000 at most."""

    hello_ms: Annotated[Millis | None, DELIVERY] = None
    """How long a client may take to say hello [default: 5000; 60000 with `--auth none`]."""

    max_frame_bytes: Annotated[Bytes, DELIVERY] = 2**20
    """The largest WebSocket message or HTTP body that is accepted."""

    max_subscriptions: Annotated[Count, DELIVERY] = 64
    """Subscriptions of one connection."""

    command_queue: Annotated[Count, DELIVERY] = 64
    """Commands of one connection that wait for one session; more are `rate.limited`."""

    max_connections: Annotated[Count | None, DELIVERY] = None
    """Connections of one process; more are closed with 4480 [default: what descriptors allow]."""

    max_subject_connections: Annotated[Count | None, DELIVERY] = None
    """Connections of one subject to one process [default: 200; any with `--auth none`]."""

    max_address_connections: Annotated[Count | None, DELIVERY] = None
    """Connections of one address [default: 1000 of a public one with `--auth jwt`]."""

    max_strangers: Annotated[Count | None, DELIVERY] = None
    """Connections that have not said hello [default: 2000 with `--auth jwt`]."""

    max_address_strangers: Annotated[Count | None, DELIVERY] = None
    """The same of one address [default: 100 of a public one with `--auth jwt`]."""

    address_requests_per_s: Annotated[Count | None, DELIVERY] = None
    """HTTP requests of one address in a second, handshakes among them, in the long run
    [default: 200 of a public one with `--auth jwt`]."""

    address_requests_burst: Annotated[Count | None, DELIVERY] = None
    """The same at once [default: 1000 of a public one with `--auth jwt`]."""

    address_failures_per_min: Annotated[Count | None, DELIVERY] = None
    """Bad tokens of one address in a minute; then none is looked at for a while [default: 60 of a
    public one with `--auth jwt`]."""

    requests_per_s: Annotated[Count | None, DELIVERY] = None
    """HTTP requests of one subject in a second, in the long run
    [default: 200 with `--auth jwt`]."""

    requests_burst: Annotated[Count | None, DELIVERY] = None
    """HTTP requests of one subject at once [default: 400 with `--auth jwt`]."""

    max_subject_runs: Annotated[Count | None, DELIVERY] = None
    """Sessions of one subject with a queued or live run, on all replicas together
    [default: 100; any with `--auth none`]."""

    max_subject_sessions: Annotated[Count | None, DELIVERY] = None
    """Sessions of one subject [default: 10000; any with `--auth none`]."""

    max_shares: Annotated[Count, DELIVERY] = 64
    """Others with whom one session is shared."""

    handshakes_per_s: Annotated[Count, DELIVERY] = 500
    """Connections that are let in in a second, in the long run; more are answered 503."""

    handshakes_burst: Annotated[Count, DELIVERY] = 1_000
    """Connections that are let in at once."""

    max_rss_bytes: Annotated[Rss | None, DELIVERY] = None
    """Above so much memory nobody is let in and slow connections are closed with 1013; 0: any
    [default: 80 % of the container's or machine's, shared by `processes`]."""

    frames_per_s: Annotated[Count, DELIVERY] = 1_000
    """Frames that a client may send in a second, in the long run."""

    frames_burst: Annotated[Count, DELIVERY] = 2_000
    """Frames that a client may send at once."""

    feed_events: Annotated[Count, DELIVERY] = 2_048
    """The newest events of one session kept in memory for its connections."""

    feed_bytes: Annotated[Bytes, DELIVERY] = 4 * 2**20
    """The same in bytes; whichever is reached first."""

    write_timeout_ms: Annotated[Millis, DELIVERY] = 10_000
    """A client that takes nothing for so long is disconnected."""

    ack_timeout_ms: Annotated[Millis, DELIVERY] = 30_000
    """A client that acknowledges nothing for so long, its window full, is disconnected."""

    audit_log: Annotated[str | None, PROCESS] = None
    """A file for the audit log, as JSON lines; it is appended to [default: with the other logs]."""

    @property
    def hello_timeout_ms(self) -> int:
        """How long a client may take to say hello; a person who types it gets a minute."""
        return self.hello_ms or (60_000 if self.auth == "none" else 5_000)

    @property
    def revoked_for_ms(self) -> int:
        """How long a revocation is kept: no token of before is taken after it.

        The leeway counts twice: as late as a token is taken, so early may it have been issued.
        """
        return self.auth_max_age_ms + 2 * self.auth_leeway_ms

    @property
    def most_of_a_subject(self) -> int | None:
        """Connections of one subject; None: any number."""
        return self.max_subject_connections or (None if self.auth == "none" else 200)

    @property
    def most_runs_of_a_subject(self) -> int | None:
        """Sessions of one subject with a run; None: any number."""
        return self.max_subject_runs or (None if self.auth == "none" else 100)

    @property
    def most_sessions_of_a_subject(self) -> int | None:
        """Sessions of one subject; None: any number."""
        return self.max_subject_sessions or (None if self.auth == "none" else 10_000)

    def __post_init__(self) -> None:
        origins = tuple(_origin(entry) for entry in _split(self.allowed_origins))
        object.__setattr__(self, "allowed_origins", origins)
        object.__setattr__(self, "trusted_proxies", _split(self.trusted_proxies))
        super().__post_init__()

    def _check(self) -> None:
        super()._check()
        if self.processes > 1 and self.broker.startswith("memory:"):
            raise ConfigurationError(
                f"--processes {self.processes} cannot share memory://: use --processes 1, "
                "or a broker that processes share, --broker redis://127.0.0.1:6379/0."
            )
        if self.auth == "none" and not self.insecure and not is_loopback(self.host):
            raise ConfigurationError(
                f"--auth none on {self.host} lets everyone in: use --auth jwt, "
                "--host 127.0.0.1, or --insecure if something in front protects it."
            )
        if self.heartbeat_ms > MAX_HEARTBEAT_MS:
            raise ConfigurationError(
                f"heartbeat_ms is {MAX_HEARTBEAT_MS} at most: clients take 45 s of silence as "
                "dead, so the idle ones would be cut off again and again."
            )
        if self.auth == "jwt":
            self._check_keys()
        for origin in self.allowed_origins:
            if origin != "null" and not ORIGIN.fullmatch(origin):
                raise ConfigurationError(
                    f"allowed_origins: {origin!r} is no origin; write it as "
                    "https://app.example.com, without a path or a wildcard."
                )
        for proxy in self.trusted_proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError:
                raise ConfigurationError(
                    f"trusted_proxies: {proxy!r} is no address and no network; write it as "
                    "10.0.0.7 or 10.0.0.0/24."
                ) from None

    def _check_keys(self) -> None:
        if self.auth_secret is not None and self.auth_jwks_url is not None:
            raise ConfigurationError(
                "auth_secret and auth_jwks_url exclude each other: tokens are signed with a shared "
                "secret or with a key of the key set, never with both."
            )
        if self.auth_jwks_url is not None:
            self._check_jwks_url(self.auth_jwks_url)
        elif self.auth_secret is None:
            raise ConfigurationError(
                "--auth jwt needs the secret of the tokens: set AGENT_GATEWAY_AUTH_SECRET "
                "to 32 random bytes or more, for example of `openssl rand -hex 32`; or the key set "
                "of their issuer, --auth-jwks-url."
            )
        for name in ("auth_secret", "auth_secret_previous"):
            secret = getattr(self, name)
            if secret is not None and not is_secret(secret):
                raise ConfigurationError(
                    f"{name} is shorter than {MIN_SECRET_BYTES} bytes, or no text: "
                    "take 32 random bytes or more, for example of `openssl rand -hex 32`."
                )

    def _check_jwks_url(self, text: str) -> None:
        try:
            url = urlsplit(text)
            host = url.hostname or ""
            safe = url.scheme == "https" or (url.scheme == "http" and is_loopback(host))
        except ValueError:
            safe, host = False, ""
        if not safe or not host or "@" in text:
            raise ConfigurationError(
                "auth_jwks_url: keys that anybody on the way could replace let anybody in: use "
                "https://issuer.example.com/.well-known/jwks.json, without a name or a password."
            )
        if self.auth_secret_previous is not None:
            raise ConfigurationError(
                "auth_secret_previous goes with auth_secret alone, not with auth_jwks_url."
            )


S = TypeVar("S", bound=WorkerSettings)


class Taken(Struct, Generic[S], frozen=True):
    """The settings of a running process after its configuration was read again."""

    settings: S
    changed: list[str]
    needs_restart: list[str]


def taken_over(old: S, new: S) -> Taken[S]:
    """What a process with the settings `old` can take of `new` while it runs.

    Raises:
        ConfigurationError: what it can take does not go with what it keeps.
    """
    differ = [f.name for f in fields(new) if getattr(new, f.name) != getattr(old, f.name)]
    changed = [name for name in differ if name in CHANGEABLE]
    settings = replace(old, **{name: getattr(new, name) for name in changed})
    return Taken(settings, changed, [name for name in differ if name not in CHANGEABLE])


def is_secret(text: str) -> bool:
    """Whether it is long enough, and a text: raw bytes in a variable are none."""
    try:
        return len(text.encode()) >= MIN_SECRET_BYTES
    except UnicodeEncodeError:
        return False


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _origin(entry: str) -> str:
    """An origin as a browser would write it, if it is one."""
    origin = entry.rstrip("/").lower()
    for scheme, port in (("http", ":80"), ("https", ":443")):
        if origin.startswith(f"{scheme}://"):
            origin = origin.removesuffix(port)
    return origin


def _split(entries: Iterable[str]) -> tuple[str, ...]:
    """The entries, each of which may be several joined by commas, once each."""
    parts = [part.strip() for entry in entries for part in str(entry).split(",")]
    return tuple(dict.fromkeys(part for part in parts if part))


def _out_of_range(name: str, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name}: {problem[:1].lower()}{problem[1:].replace('`', '')}; set it by "
        f"--{name.replace('_', '-')}, AGENT_GATEWAY_{name.upper()} or in agent-gateway.toml."
    )
