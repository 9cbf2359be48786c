"""The daemons' own log: lines for people on standard error, or one JSON object a line for machines."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from jobwarden.config import LogFormat


class JsonLines(logging.Formatter):
    """One object a line: when (UTC), level, role and id of the daemon, the event's name, and the message."""

    def __init__(self, role: str, daemon_id: str) -> None:
        super().__init__()
        self._who = {"role": role, "daemon": daemon_id}

    def format(self, record: logging.LogRecord) -> str:
        """The line; the event is the narrator's method, so its name is stable where the wording is not."""
        told = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            **self._who,
            "event": record.funcName,
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["trace"] = self.formatException(record.exc_info)
        return json.dumps(told)


def configure(form: LogFormat, role: str, daemon_id: str) -> None:
    """Send this process's log to standard error in that form."""
    handler = logging.StreamHandler(sys.stderr)
    if form is LogFormat.JSON:
        handler.setFormatter(JsonLines(role, daemon_id))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
