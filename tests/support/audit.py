"""The audit log of gateways in the test's own process, as the command would write it."""

import json
import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from gateway.telemetry import AUDIT, configure_logging


def lines_of(file: Path) -> list[dict[str, Any]]:
    """What an audit log says so far."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@contextmanager
def audit_log(file: Path) -> Generator[Path]:
    """Lines go to this file while the block runs; logging is then as it was before."""
    root, uvicorn, audit = (logging.getLogger(name) for name in ("", "uvicorn", AUDIT))
    handlers, levels = root.handlers[:], (root.level, uvicorn.level)
    root.handlers.clear()
    configure_logging(audit_log=str(file))
    root.handlers[:] = handlers
    try:
        yield file
    finally:
        root.level, uvicorn.level = levels
        for handler in audit.handlers[:]:
            audit.removeHandler(handler)
            handler.close()
        audit.propagate = True
        audit.setLevel(logging.NOTSET)
        structlog.reset_defaults()
