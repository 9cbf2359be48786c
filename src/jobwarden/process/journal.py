"""The outcomes of a pool seat that nobody has acknowledged yet, one line of JSON each, in one file that stays open.

One ``write`` to a file opened for appending takes the place of a file made, renamed and removed for each of thousands
of outcomes in a second. A line is there completely or it is no report, and a reader skips what is none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator

from jobwarden.domain.report import Report

_COMPACT_AT = 1_048_576


class Journal:
    """The writing side; made on the first outcome."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._size = 0

    def append(self, report: bytes) -> None:
        """Add one report; raises OSError, and then nothing was added."""
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        line = report + b"\n"
        written = os.write(self._fd, line)
        if written < len(line):
            os.ftruncate(self._fd, self._size)
            raise OSError(28, os.strerror(28), self._path)
        self._size += written

    def keep_only(self, reports: Iterable[bytes]) -> None:
        """What is not given is settled: forget it, at once if nothing is left, else when the file has grown."""
        left = b"".join(report + b"\n" for report in reports)
        if self._fd < 0 or not self._size or (left and self._size < _COMPACT_AT):
            return
        try:
            self._rewrite(left)
        except OSError:
            return

    @property
    def grown(self) -> bool:
        """Whether it is time to forget what is settled, although something is left."""
        return self._size >= _COMPACT_AT

    def _rewrite(self, left: bytes) -> None:
        if not left:
            os.ftruncate(self._fd, 0)
            self._size = 0
            return
        temporary = f"{self._path}.tmp"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(fd, left)
        os.rename(temporary, self._path)
        os.close(self._fd)
        self._fd, self._size = fd, len(left)


def read_journal(path: str) -> Iterator[Report]:
    """The reports in a journal, in order; a line that is none is skipped."""
    try:
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")
    except OSError:
        return
    for line in lines:
        try:
            yield Report.load(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
