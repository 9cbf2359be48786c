"""Limits that a process sets itself: what it may add to its data, and how many files it may have open.

A memory limit, for a process without a control group of its own, leaves as much headroom as the process is below the
limit now, so that it hits MemoryError and can report it. A daemon holds several descriptors for each seat, so it takes
what the hard limit allows; what it starts gets the limit that the daemon was given, since some programs go by it.
"""

from __future__ import annotations

import functools
import resource

_PAGE = resource.getpagesize()


class MemoryLimit:
    """A limit in bytes that is set for the length of a ``with`` block and lifted after it."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._before: tuple[int, int] | None = None

    def __enter__(self) -> None:
        resident, data = _use()
        self._before = resource.getrlimit(resource.RLIMIT_DATA)
        self._set(data + max(0, self._memory - resident))

    def __exit__(self, *raised: object) -> None:
        if self._before is not None:
            self._set(self._before[0])

    def _set(self, soft: int) -> None:
        hard = self._before[1] if self._before else resource.RLIM_INFINITY
        if hard != resource.RLIM_INFINITY and (soft > hard or soft == resource.RLIM_INFINITY):
            soft = hard
        try:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
        except (OSError, ValueError):
            return


def _use() -> tuple[int, int]:
    """Resident memory and private writable memory of this process, in bytes."""
    with open("/proc/self/statm", "rb") as file:
        fields = file.read().split()
    return int(fields[1]) * _PAGE, int(fields[5]) * _PAGE


@functools.cache
def raise_open_files() -> int:
    """Let this process open as many files as its hard limit allows; the soft limit that it was started with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit_open_files(hard)
    return soft


def limit_open_files(soft: int, pid: int = 0) -> bool:
    """Set a process's soft limit, within its hard one; False if that is not allowed or the process is gone."""
    try:
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        within = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (within, hard))
    except (OSError, ValueError):
        return False
    return True
