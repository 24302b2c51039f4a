"""Logs on stderr: text on a terminal, one JSON object a line otherwise; one line per event worth an operator's time."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """What the caller passed as `extra=`."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _shown(value: object) -> str:
    """A value on one line, whatever is in it: names come from producers."""
    return str(value) if str(value).isprintable() else repr(value)


class TextFormatter(logging.Formatter):
    """`12:00:00 INFO message key=value`, local time."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields = "".join(f" {name}={_shown(value)}" for name, value in _extra(record).items())
        return f"{self.formatTime(record, '%H:%M:%S')} {record.levelname} {record.getMessage()}{fields}"


class JsonFormatter(logging.Formatter):
    """One JSON object: time (UTC), level, message, and what the event carries."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        stamp = f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.msecs):03d}Z"
        line = {"time": stamp, "level": record.levelname.lower(), "message": record.getMessage(), **_extra(record)}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up(level: str = "INFO") -> None:
    """Send the package's logs to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter() if sys.stderr.isatty() else JsonFormatter())
    root = logging.getLogger("streamlstm")
    root.handlers[:] = [handler]
    root.setLevel(level)
    root.propagate = False
