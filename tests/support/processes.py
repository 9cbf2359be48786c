"""Looking at and ending the processes that the tests themselves started, never any other.

Standard library only. A process is named by pid and start time, so that a reused pid is never taken for ours.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

#: The variable that marks all that a test run starts, except its servers.
MARK = "TEST_SESSION_MARK"


@dataclass(frozen=True, slots=True)
class Proc:
    """One process as the kernel names it: pid and start time (clock ticks since boot)."""

    pid: int
    start_time: int

    @classmethod
    def of(cls, pid: int) -> Proc | None:
        """The live process with this pid; None if there is none (a zombie is none)."""
        fields = _stat(pid)
        return None if fields is None or fields[0] in "ZX" else cls(pid, int(fields[19]))

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return Proc.of(self.pid) == self

    @property
    def command(self) -> str:
        """Its command line, for messages."""
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{self.pid}/cmdline").read_bytes().replace(b"\0", b" ")
            return words.decode(errors="replace").strip() or "?"
        return "?"

    def signal(self, number: int) -> None:
        """Send a signal if it is still the same process."""
        with contextlib.suppress(ProcessLookupError, OSError):
            pidfd = os.pidfd_open(self.pid)
            try:
                if self.alive:
                    signal.pidfd_send_signal(pidfd, number)
            finally:
                os.close(pidfd)


def everyone() -> list[int]:
    """All pids of this PID namespace."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def descendants(root: int) -> list[Proc]:
    """Every live process below ``root``, nearest first."""
    children: dict[int, list[int]] = {}
    for pid in everyone():
        if fields := _stat(pid):
            children.setdefault(int(fields[1]), []).append(pid)
    found, queue = [], [root]
    while queue:
        for pid in children.get(queue.pop(0), []):
            queue.append(pid)
            if proc := Proc.of(pid):
                found.append(proc)
    return found


def kill_tree(root: Proc) -> list[Proc]:
    """SIGKILL a process and everything below it; gives what was signalled."""
    root.signal(signal.SIGSTOP)  # it cannot start anything more while its tree is read
    doomed = [*descendants(root.pid), root] if root.alive else []
    for proc in doomed:
        proc.signal(signal.SIGKILL)
    return doomed


def carries(pid: int, name: str, value: str) -> bool:
    """Whether the process was started with this variable in its environment."""
    with contextlib.suppress(OSError):
        return f"{name}={value}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False


def unmarked_environment() -> dict[str, str]:
    """Our environment without what would make a process one of the tests' own."""
    return {key: value for key, value in os.environ.items() if key != MARK and not key.startswith("JOBWARDEN_")}


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on: state, ppid, ..., start time at index 19."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return None
