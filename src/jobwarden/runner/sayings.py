"""What an attempt said, on its way from the spool to the database: lines numbered from 1, progress and artifacts.

The supervisor keeps one for each attempt it watches; a seat that settles alone makes one from what is recorded.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from jobwarden.lifecycle.record import Record, Saying
from jobwarden.process.spool import Line

_ARTIFACT = ("id", "name", "type", "path", "size_bytes", "checksum", "content_type", "meta")


class Sayings:
    """Gathers lines; `record` gives what came since the last record. ``seq`` is the number of the last line."""

    def __init__(self, seq: int = 0) -> None:
        self.seq = seq
        self._lines: list[Saying] = []
        self._artifacts: list[dict[str, Any]] = []
        self._progress: dict[str, Any] | None = None

    def say(self, level: str, text: str, step: str) -> None:
        """Add a line of the supervisor's own."""
        self.seq += 1
        self._lines.append(Saying(self.seq, level, text, "supervisor", step))

    def take_lines(self) -> list[Saying]:
        """The lines since the last record, for somebody else to number."""
        taken, self._lines = self._lines, []
        return taken

    def take(self, lines: Iterable[Line]) -> None:
        """Take up lines of the spool."""
        for line in lines:
            context = line.context
            if line.source == "progress":
                self._progress = {**(context or {}), "message": line.message or None}
                continue
            if line.source == "artifact" and context is not None:
                context = self._keep(context)
            self.seq += 1
            self._lines.append(Saying(self.seq, line.level, line.message, line.source, line.step, context))

    def record(self, job_id: str, attempt_id: str, token: int, cursor: dict[str, int]) -> Record | None:
        """What came since the last record, if anything; ``cursor`` is how far the spool was read."""
        if not (self._lines or self._artifacts or self._progress):
            return None
        said = Record(job_id, attempt_id, token, self._lines, self._progress, self._artifacts, cursor)
        self._lines, self._artifacts, self._progress = [], [], None
        return said

    def _keep(self, context: dict[str, Any]) -> dict[str, Any]:
        """Note an artifact, and give what its log line tells of it: everything but the content."""
        artifact = {key: context.get(key) for key in _ARTIFACT}
        if (content := context.get("content")) is not None:
            artifact["content"] = base64.b64decode(content)
        self._artifacts.append(artifact)
        return {key: value for key, value in context.items() if key != "content"}
