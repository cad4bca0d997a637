"""Logging: one JSON object a line where programs read it, plain text for a person at a terminal."""

import logging
import sys
from datetime import UTC, datetime

import orjson

from service.model.files.plain_files import to_printable
from service.settings import LogFormat


class JsonLines(logging.Formatter):
    """time, level, logger, message, the record's `fields` if it has some, and the trace of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str).decode()
        except TypeError:  # text with a file name that is no UTF-8
            printable = {key: to_printable(value) if isinstance(value, str) else value for key, value in line.items()}
            return orjson.dumps(printable, default=str).decode()


def configure_logging(log_format: LogFormat) -> None:
    """Log to stderr; `auto`: text if that is a terminal, else JSON."""
    handler = logging.StreamHandler()
    if log_format == "json" or (log_format == "auto" and not sys.stderr.isatty()):
        handler.setFormatter(JsonLines())
    else:
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
