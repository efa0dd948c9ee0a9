"""What the gateway says about itself: logs for people, metrics for Prometheus.

`Metrics` is a constructor argument of whoever counts; there is no global registry.
`configure_logging` sets up the process's loggers and belongs to the command: who embeds the
gateway has a logging of their own. No token, no query string and no text of a session is logged.
"""

import logging
import logging.handlers
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, MutableMapping
from io import TextIOWrapper
from typing import Any, Literal, TextIO, cast

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

from gateway.errors import ConfigurationError

EventDict = MutableMapping[str, Any]

# A round trip to a browser on loopback is below 10 ms, one through a person may take minutes.
TOOL_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
COMMAND_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2)
LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

_SECRETS = frozenset({"token", "secret", "auth_secret", "authorization", "cookie", "password"})
_QUERY = re.compile(r"\?[^\s\"']*")
_USERINFO = re.compile(r"(?<=://)[^\s/@]*@")
_NAMES = re.compile(r"[\w.:-]*\d[\w.:-]*")
LINES_PER_SECOND = 10
LOGGER_LINES_PER_SECOND = 100
KIND_CHARS = 32
MAX_KINDS = 1_000
AUDIT = "gateway.audit"
FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT

log = logging.getLogger("gateway.telemetry")


class Metrics:
    """Everything that is counted, with the labelled children looked up once and kept.

    `process` names this one among those that answer at the same address; it becomes a label.
    """

    def __init__(
        self, registry: CollectorRegistry | None = None, *, process: str | None = None
    ) -> None:
        self.registry = registry or CollectorRegistry()
        self._process = process
        self.connections = self._gauge("connections", "Open connections")
        self.subscriptions = self._gauge("subscriptions", "Subscriptions of open connections")
        self.feeds = self._gauge("feeds", "Sessions whose newest events are kept in memory")
        self.runs_active = self._gauge("runs_active", "Runs that this worker executes")
        frames = self._counter("frames", "Frames to (up) and from (down) the gateway", "direction")
        self.frames_up = frames.labels("up")
        self.frames_down = frames.labels("down")
        sizes = self._counter("bytes", "Bytes of these frames", "direction")
        self.bytes_up = sizes.labels("up")
        self.bytes_down = sizes.labels("down")
        self.events_appended = Tally("agent_gateway_events_appended", "Events stored by it")
        self.registry.register(self.events_appended)
        self.command_seconds = self._histogram(
            "command_seconds", "From a command's arrival to its answer", COMMAND_SECONDS
        )
        self.loop_lag_seconds = self._histogram(
            "loop_lag_seconds", "How late the event loop does what is due", LAG_SECONDS
        )
        self._tool_seconds = self._histogram(
            "tool_seconds", "From a tool call to its result at the agent", TOOL_SECONDS, "target"
        )
        self._closed = self._counter("connections_closed", "Closed connections", "code")
        self._refused = self._counter("handshakes_refused", "Connections not let in", "reason")
        self._commands = self._counter("commands", "Answered commands", "type", "code")
        self._runs = self._counter("runs", "Ended attempts of runs", "end")
        self._broker_errors = self._counter("broker_errors", "Verbs that failed", "error")
        # (metric, labels) -> child: `labels()` costs four times what `inc()` does
        self._children: dict[tuple[int, tuple[str, ...]], Any] = {}

    def closed(self, code: int) -> None:
        """A connection was closed with `code`."""
        self._child(self._closed, str(code)).inc()

    def refused(self, reason: str) -> None:
        """A handshake was answered 503."""
        self._child(self._refused, reason).inc()

    def command(self, command_type: str, code: str = "ok") -> None:
        """A command was answered; `code` is `ok` or the error's."""
        self._child(self._commands, command_type, code).inc()

    def run(self, end: str) -> None:
        """An attempt ended: completed, failed, cancelled, parked, fenced."""
        self._child(self._runs, end).inc()

    def tool(self, target: str, seconds: float) -> None:
        """A tool call of an agent was answered after so many seconds."""
        self._child(self._tool_seconds, target).observe(seconds)

    def broker_error(self, error: BaseException) -> None:
        """A verb of the broker raised this."""
        self._child(self._broker_errors, type(error).__name__).inc()

    def render(self) -> tuple[bytes, str]:
        """All of it in Prometheus' text format, and its content type."""
        shown = self.registry if self._process is None else OfProcess(self.registry, self._process)
        return generate_latest(shown), CONTENT_TYPE_LATEST

    def _child(self, metric: Counter | Histogram, *labels: str) -> Any:
        key = (id(metric), labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace="agent_gateway", registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, namespace="agent_gateway", registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            name,
            text,
            labels,
            namespace="agent_gateway",
            registry=self.registry,
            buckets=buckets,
        )


class Tally(Collector):
    """A counter for the hot path: a sum, without the lock and the checks of `Counter.inc`."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text
        self._sum = 0

    def inc(self, n: int) -> None:
        """So many more; on the event loop only."""
        self._sum += n

    def collect(self) -> Iterator[Metric]:
        """The sum as it is now."""
        yield CounterMetricFamily(self._name, self._text, value=self._sum)


class OfProcess(Collector):
    """Everything of a registry, with the label `process`."""

    def __init__(self, registry: CollectorRegistry, process: str) -> None:
        self._registry = registry
        self._process = process

    def collect(self) -> Iterator[Metric]:
        """Made anew each time, so it may be changed."""
        for metric in self._registry.collect():
            metric.samples = [
                sample._replace(labels={**sample.labels, "process": self._process})
                for sample in metric.samples
            ]
            yield metric


def configure_logging(
    level: Literal["debug", "info", "warning", "error"] = "info",
    log_format: Literal["auto", "console", "json"] = "auto",
    stream: TextIO = sys.stderr,
    *,
    audit_log: str | None = None,
) -> None:
    """Let everything that logs in this process write to `stream`, one line an event.

    Both structlog's and the standard library's loggers, uvicorn's included. The audit log, of which
    no level takes a line away, goes to the file `audit_log` instead, if there is one.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    pretty = log_format == "console" or (log_format == "auto" and stream.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        redact,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Never tracebacks with local variables: tokens are among them.
    json_lines: list[structlog.typing.Processor] = [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_json_text),
    ]
    render: list[structlog.typing.Processor] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if pretty
        else json_lines
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(stream)
    _set_up(handler, shared, render)
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    audit = logging.getLogger(AUDIT)
    audit.setLevel(logging.INFO)
    for old in audit.handlers[:]:
        audit.removeHandler(old)
        old.close()
    audit.propagate = audit_log is None
    if audit_log is not None:
        file = _appended(audit_log)
        _set_up(file, shared, json_lines)
        audit.addHandler(file)
    # The HTTP client of the openai agent names every request, with its URL; uvicorn every
    # connection.
    for chatty in ("httpx2", "httpcore2", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _set_up(
    handler: logging.Handler,
    shared: list[structlog.typing.Processor],
    render: list[structlog.typing.Processor],
) -> None:
    handler.addFilter(Throttle())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
            foreign_pre_chain=shared,
        )
    )


class AuditFile(logging.handlers.WatchedFileHandler):
    """A file that its owner alone may read; opened anew when it was moved away (logrotate).

    Never raises: a line that cannot be written is lost, and one of the process's log tells it.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line."""
        try:
            super().emit(record)
        except OSError:  # it could not be opened anew; the next line tries again
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Instead of a traceback on stderr."""
        del record
        log.error("the audit log %s cannot be written: %s", self.baseFilename, sys.exc_info()[1])

    def _open(self) -> TextIOWrapper:
        # not by Path, which knows no modes
        return os.fdopen(os.open(self.baseFilename, FLAGS, 0o600), "a", encoding="utf-8")


def _appended(path: str) -> logging.Handler:
    try:
        return AuditFile(path)
    except OSError as error:
        raise ConfigurationError(
            f"the audit log {path} cannot be written ({error.strerror}): "
            "choose another file by --audit-log."
        ) from error


def redact(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Take out what must not be in a log: secrets, query strings, passwords in URLs."""
    for key, value in event.items():
        if key in _SECRETS:
            event[key] = "…"
        elif isinstance(value, str):
            event[key] = _USERINFO.sub("…@", _QUERY.sub("?…", value))
    return event


class Throttle(logging.Filter):
    """Lets ten lines a second of one kind through; the next one says how many were dropped.

    A kind is the logger and the event's text without its values, so a flood of bad frames costs a
    few lines, and hides nothing else. Of one logger there are 100 lines a second, whatever they
    say. In the audit log a kind is the action of one principal, or of one address where nobody is
    known: nobody's flood takes away another's line.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._second = 0
        self._seen: dict[tuple[str, str], int] = {}  # kind -> lines in this second
        self._loggers: dict[str, int] = {}  # logger -> lines in this second
        self._dropped: dict[tuple[str, str], int] = {}  # kind -> lines dropped since the last one

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is written."""
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._seen.clear()
            self._loggers.clear()
            if len(self._dropped) > MAX_KINDS:
                self._dropped.clear()
        message = cast("object", record.msg)  # structlog's lines arrive as a dict
        fields = cast("EventDict", message) if isinstance(message, dict) else None
        text = str(record.msg if fields is None else fields["event"])
        audited = record.name == AUDIT and fields is not None
        what = _who_did(fields) if audited and fields else _NAMES.sub("#", text)[:KIND_CHARS]
        kind = (record.name, what)
        seen = self._seen[kind] = self._seen.get(kind, 0) + 1
        lines = 0 if audited else self._loggers.get(record.name, 0)
        if seen > LINES_PER_SECOND or lines >= LOGGER_LINES_PER_SECOND:
            self._dropped[kind] = self._dropped.get(kind, 0) + 1
            return False
        self._loggers[record.name] = lines + 1
        if dropped := self._dropped.pop(kind, 0):
            if fields is not None:
                fields["dropped"] = dropped
            else:
                record.msg = f"{text} ({dropped} more of these were dropped)"
        return True


def _who_did(fields: EventDict) -> str:
    who = (fields.get("tenant"), fields.get("subject")) if "subject" in fields else ()
    return repr((fields.get("action"), fields.get("outcome"), who or fields.get("address")))


def _json_text(value: object, **_options: object) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()
