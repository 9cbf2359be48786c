"""The stamp: the proof that names exactly one operating-system process.

A pid alone names nothing, because it is used again. A process is named by its pid scope (machine, boot and PID
namespace), its pid, its kernel start time (field 22 of ``/proc/PID/stat``, compared for equality only), on kernels
that have it the inode of its pidfd (unique for a boot, Linux 6.9), and a nonce that we gave it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    """How sure a verdict about a process can be on a host.

    A: pidfd inodes and an own cgroup for each seat. B: pidfd inodes, own session and subreaper.
    C: pid, start time and nonce. D: pid only, on which nothing is decided for jobs that are not idempotent.
    """

    A = "A"
    B = "B"
    C = "C"
    D = "D"


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process inside a pid scope: pid, start time in clock ticks since boot, and pidfd inode (0 where unknown)."""

    pid: int
    start_time: int
    inode: int = 0

    def same_process(self, other: ProcessId | None) -> bool:
        """Whether both name the same process; an unknown inode on either side leaves pid and start time to decide."""
        if other is None or self.pid != other.pid or self.start_time != other.start_time:
            return False
        return not (self.inode and other.inode) or self.inode == other.inode


@dataclass(frozen=True, slots=True)
class Host:
    """Where a daemon runs: ``machine`` is H(machine-id, boot id), ``pid_scope`` adds the PID namespace's inode."""

    machine: str
    pid_scope: str
    hostname: str


@dataclass(frozen=True, slots=True)
class Stamp:
    """The complete stamp of an attempt: where, under which supervisor, in which child, and the nonce it was given."""

    host: Host
    supervisor: ProcessId
    child: ProcessId
    nonce: str
