"""Logs on stderr: text on a terminal, one JSON object a line otherwise; one line per event worth an operator's time."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from streamlstm.common import printable, without_secrets

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """What the caller passed as `extra=`, without secrets."""
    return {name: _open(value) for name, value in vars(record).items() if name not in _STANDARD}


def _open(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_open(item) for item in value]
    return without_secrets(str(value))  # an error, a path


class TextFormatter(logging.Formatter):
    """`12:00:00 INFO message key=value`, local time."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in _extra(record).items())
        message = without_secrets(record.getMessage())
        return printable(f"{self.formatTime(record, '%H:%M:%S')} {record.levelname} {message}{fields}")


class JsonFormatter(logging.Formatter):
    """One JSON object: time (UTC), level, message, and what the event carries."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        stamp = f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.msecs):03d}Z"
        line = {"time": stamp, "level": record.levelname.lower(), "message": without_secrets(record.getMessage())}
        line |= _extra(record)
        if record.exc_info:
            line["traceback"] = without_secrets(self.formatException(record.exc_info))
        return json.dumps(line)


def set_up(level: str = "INFO", worker: int | None = None) -> None:
    """Send the package's logs to stderr; of several processes that write there each gives its number, as `worker`."""

    def number(record: logging.LogRecord) -> bool:
        record.worker = worker
        return True

    handler = logging.StreamHandler(sys.stderr)
    if worker is not None:
        handler.addFilter(number)
    handler.setFormatter(TextFormatter() if sys.stderr.isatty() else JsonFormatter())
    root = logging.getLogger("streamlstm")
    root.handlers[:] = [handler]
    root.setLevel(level)
    root.propagate = False
