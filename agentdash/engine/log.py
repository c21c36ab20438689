"""The log of a project: JSON lines, rotated, without secrets."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

from agentdash.clock import isoformat
from agentdash.secret import redact
from agentdash.text import without_middle

LOG_NAME = "agentdash.log"
LOGGER = logging.getLogger("agentdash")
_MAX_BYTES = 5 * 2**20
_BACKUPS = 3
_MOST_CHARS = 200_000
"""Of one line's message, and of its traceback: an exception may quote a whole answer."""
_OPEN_LOG = (
    os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
)


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"at": isoformat(record.created), "level": record.levelname.lower(), "pid": record.process}
        if action := getattr(record, "action", None):
            line["action"] = action
        line["message"] = redact(without_middle(record.getMessage(), _MOST_CHARS))
        if record.exc_info and record.exc_info[0]:
            line["error"] = redact(without_middle(self.formatException(record.exc_info), _MOST_CHARS))
        return json.dumps(line, ensure_ascii=True)


class _PrivateFile(RotatingFileHandler):
    """A rotating file that only its owner may read."""

    def _open(self):  # type: ignore[no-untyped-def]
        descriptor = os.open(self.baseFilename, _OPEN_LOG, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8")

    def close(self) -> None:
        self._drop_stream()
        super().close()

    def doRollover(self) -> None:  # noqa: N802 - the name is logging's
        self._drop_stream()
        super().doRollover()

    def _drop_stream(self) -> None:
        """Close the file, also where what is still to be written finds no room: that is lost, and the next is not."""
        stream, self.stream = self.stream, None
        if stream is not None:
            with suppress(OSError):
                stream.close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        """A full disk must not print a traceback over the screen; the run itself reports the disk."""


def open_log(state_dir: Path, level: str) -> logging.Handler:
    """Send agentdash's log to `agentdash.log` in the state folder; close it with `close_log`."""
    handler = _PrivateFile(state_dir / LOG_NAME, maxBytes=_MAX_BYTES, backupCount=_BACKUPS, delay=True)
    handler.setFormatter(_JsonLines())
    LOGGER.addHandler(handler)
    LOGGER.setLevel(level.upper())
    LOGGER.propagate = False
    return handler


def close_log(handler: logging.Handler) -> None:
    """Take the handler of `open_log` away again."""
    LOGGER.removeHandler(handler)
    LOGGER.propagate = not LOGGER.handlers
    handler.close()
