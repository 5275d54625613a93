"""The log: one JSON object a line on standard error, with request and report ids."""

from __future__ import annotations

import logging
import sys
from typing import Any

import msgspec

from coder_local._store.clock import instant

_EXTRA = ("report_id", "request_id", "plugin")
_encode = msgspec.json.Encoder().encode


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: time, level, logger, message, ids, and the trace of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": instant(int(record.created * 1000)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in _EXTRA:
            if value := getattr(record, name, None):
                line[name] = value
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return _encode(line).decode()


def configure(level: str) -> None:
    """Send the log to standard error at a level (`DEBUG`, `INFO`, `WARNING`, `ERROR`)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.raiseExceptions = False  # a closed standard error must not bring the daemon down
