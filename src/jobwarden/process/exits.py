"""How one process ended, as the kernel told whoever reaped it: what a zygote tells, and leaves when nobody listens."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from jobwarden.domain.stamp import ProcessId


@dataclass(frozen=True, slots=True)
class Leftover:
    """A process that outlived the seat it descended from; ``ended`` is False if even SIGKILL did not end it."""

    pid: int
    command: str
    ended: bool = True
    start_time: int = 0


@dataclass(frozen=True, slots=True)
class Exit:
    """One seat's end: ``status`` as from wait4 (None: unknown), CPU in milliseconds, peak resident memory in bytes."""

    process: ProcessId
    nonce: str
    status: int | None
    user_ms: int | None = None
    system_ms: int | None = None
    peak_rss: int | None = None
    leftovers: tuple[Leftover, ...] = ()

    @property
    def code(self) -> int | None:
        """The exit code, or None if a signal ended it or nothing is known."""
        known = self.status is not None and os.WIFEXITED(self.status)
        return os.WEXITSTATUS(self.status or 0) if known else None

    @property
    def signal(self) -> int | None:
        """The number of the signal that ended it, or None."""
        known = self.status is not None and os.WIFSIGNALED(self.status)
        return os.WTERMSIG(self.status or 0) if known else None

    def dump(self) -> dict[str, Any]:
        """The record as JSON data."""
        return {
            "pid": self.process.pid,
            "start_time": self.process.start_time,
            "inode": self.process.inode,
            "nonce": self.nonce,
            "status": self.status,
            "user_ms": self.user_ms,
            "system_ms": self.system_ms,
            "peak_rss": self.peak_rss,
            "leftovers": [asdict(left) for left in self.leftovers],
        }

    @classmethod
    def load(cls, data: dict[str, Any]) -> Exit:
        """The record that `dump` gave; raises KeyError or TypeError on anything else."""
        return cls(
            process=ProcessId(data["pid"], data["start_time"], data.get("inode", 0)),
            nonce=data["nonce"],
            status=data["status"],
            user_ms=data.get("user_ms"),
            system_ms=data.get("system_ms"),
            peak_rss=data.get("peak_rss"),
            leftovers=tuple(Leftover(**left) for left in data.get("leftovers", ())),
        )
