"""The external journal: what jobs did, written by them outside the database, one fsynced line at a time.

A line is one append of less than a page, so lines of many processes never mix. Times are CLOCK_BOOTTIME, which every
process of the machine shares and nobody can set. Standard library only: handlers and their grandchildren write here.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATH_VARIABLE, HOST_VARIABLE = "CHAOS_JOURNAL", "CHAOS_HOST"
_LONGEST = 4000


@dataclass(frozen=True, slots=True)
class Line:
    """One line: ``event`` is start, effect, alive, end, reconcile or acted; ``at`` is CLOCK_BOOTTIME in nanoseconds."""

    at: int
    event: str
    job: str
    attempt: str = ""
    number: int = 0
    token: int = 0
    pid: int = 0
    start_time: int = 0
    scope: int = 0
    kind: str = ""
    host: str = ""
    grandchild: bool = False
    more: dict[str, Any] = field(default_factory=dict)


def boottime() -> int:
    """CLOCK_BOOTTIME in nanoseconds."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def myself() -> dict[str, Any]:
    """Which process this is: pid, start time, and the inode of its PID namespace."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return {"pid": os.getpid(), "start_time": int(fields[19]), "scope": os.stat("/proc/self/ns/pid").st_ino}


def write(event: str, path: str | None = None, **facts: Any) -> None:
    """Append one line and wait until it is stored."""
    text = json.dumps({"at": boottime(), "event": event, **facts}, separators=(",", ":"))
    line = text.encode() + b"\n"
    if len(line) > _LONGEST:
        raise ValueError(f"a line of {len(line)} bytes is too long for the journal: say less")
    fd = os.open(path or os.environ[PATH_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        os.write(fd, line)
        os.fsync(fd)
    finally:
        os.close(fd)


def read(path: Path) -> list[Line]:
    """Every line, in the order of time."""
    return sorted(_lines(path), key=lambda line: line.at)


def of(attempt: str) -> list[Line]:
    """The lines of one attempt, for a handler that looks back."""
    with open(os.environ[PATH_VARIABLE], "rb") as file:
        found = [Line(**json.loads(raw)) for raw in file if attempt.encode() in raw]
    return [line for line in found if line.attempt == attempt]


def _lines(path: Path) -> Iterator[Line]:
    with path.open("rb") as file:
        for raw in file:
            yield Line(**json.loads(raw))
